"""Features kept on disk: the same prompts, the same answers, and nothing stale."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from traced_collectives import collectives

from mer_jax.data.clips import read_manifest
from mer_jax.data.stage import stage
from mer_jax.models.omni import perceive, read_prompts
from mer_jax.run.feature_cache import fingerprint, keep_features, open_cache, weight_sum
from mer_jax.run.setting import Setting
from mer_jax.sharding import make_mesh, named

look = jax.jit(perceive)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=3, seed=5, split='train', sheet=False)
    return read_manifest(folder / 'manifest.jsonl')


@pytest.fixture(scope='module')
def shared(module_config):
    module_config.data.audio_in_video = False
    return Setting(small.shrink(module_config))


@pytest.fixture
def setting(shared, tmp_path, monkeypatch):
    monkeypatch.setitem(shared.config.data, 'cache', str(tmp_path / 'cache'))
    return shared


@pytest.fixture(scope='module')
def policy(shared):
    return small.random_policy(shared)


def perceived(setting, policy, examples):
    """Prompts of examples and their features."""
    prompts = setting.batcher.collate(examples)
    return prompts, look(policy, prompts.media)


def kept(setting, policy, *clips):
    """A cache that holds these clips."""
    cache = open_cache(setting, policy)
    examples = [setting.writer.example(clip, cache) for clip in clips]
    keep_features(cache, examples, *perceived(setting, policy, examples))
    return cache


def test_a_kept_prompt_gives_the_same_keys_as_its_media(setting, policy, clips):
    cache = open_cache(setting, policy)
    examples = [setting.writer.example(clip, cache) for clip in clips]
    assert [example.prompt.feature for example in examples] == [None] * 3
    prompts, features = perceived(setting, policy, examples)
    keep_features(cache, examples, prompts, features)
    again = [setting.writer.example(clip, cache) for clip in clips]
    kept, kept_features = perceived(setting, policy, again)
    assert kept.media.patch.shape[1] == 0 and kept.media.sound.shape[1] == 0
    read = jax.jit(read_prompts)
    both = [read(policy.decoder, p, f) for p, f in ((prompts, features), (kept, kept_features))]
    jax.tree.map(np.testing.assert_array_equal, *both)
    np.testing.assert_array_equal(prompts.position, kept.position)
    np.testing.assert_array_equal(prompts.next_position, kept.next_position)


def test_features_are_kept_in_the_order_of_the_tokens_that_show_them(setting, policy, clips):
    cache = open_cache(setting, policy)
    example = setting.writer.example(clips[0], cache)
    prompts = setting.batcher.collate([example])
    shown = prompts.media.place >= 0
    rows = np.random.default_rng(0).permutation(shown.sum() + 7)[: shown.sum()]
    place = np.where(shown, -1, prompts.media.place)
    place[shown] = rows
    prompts = prompts.replace(media=prompts.media.replace(place=place))
    features = np.arange((shown.sum() + 7) * 4, dtype=np.float32).reshape(1, -1, 4)
    keep_features(cache, [example], prompts, jnp.asarray(features))
    np.testing.assert_array_equal(cache.load(clips[0]).feature, features[0, rows])


def test_without_a_folder_there_is_no_cache(setting, policy, monkeypatch):
    monkeypatch.setitem(setting.config.data, 'cache', '')
    assert open_cache(setting, policy) is None
    keep_features(None, [], None, None)


def test_a_batch_that_is_partly_kept_is_perceived_anew(setting, policy, clips):
    cache = kept(setting, policy, clips[0])
    mixed = [setting.writer.example(clip, cache) for clip in clips]
    assert [example.prompt.feature is None for example in mixed] == [False, True, True]
    plain = setting.batcher.collate([setting.writer.example(clip) for clip in clips])
    jax.tree.map(np.testing.assert_array_equal, setting.batcher.collate(mixed), plain)


def test_a_clip_without_media_fits_into_a_kept_batch(setting, policy, clips):
    cache = kept(setting, policy, clips[0])
    examples = [setting.writer.example(clips[0], cache), setting.writer.filler()]
    both = setting.batcher.collate(examples)
    assert both.media.feature.shape[0] == 2
    assert (both.media.place[1] == -1).all()


def test_other_towers_another_question_and_a_changed_file_are_not_served(
    setting, policy, clips, monkeypatch
):
    cache = kept(setting, policy, clips[0])
    assert cache.load(clips[0]) is not None
    tower = jax.tree.map(lambda leaf: leaf + 1e-6, policy.visual)
    assert open_cache(setting, policy.replace(visual=tower)).load(clips[0]) is None
    monkeypatch.setitem(setting.config.data, 'question', 'How?')
    assert open_cache(setting, policy).load(clips[0]) is None
    assert cache.load(dataclasses.replace(clips[0], subtitle='other')) is None
    os.utime(clips[0].video, (1, 1))
    assert cache.load(clips[0]) is None


def test_a_question_with_other_labels_is_not_served(setting, policy, clips, monkeypatch):
    monkeypatch.setitem(setting.config.data, 'question', 'Which of {labels}?')
    cache = kept(setting, policy, *clips[:1])
    of_labels = dataclasses.replace(setting.method, labels=('awe', 'fear'))
    monkeypatch.setattr(setting, 'method', of_labels)
    assert open_cache(setting, policy).path(clips[0]) != cache.path(clips[0])


def test_a_prompt_with_other_positions_after_its_video_is_not_served(
    setting, policy, clips, monkeypatch
):
    cache = kept(setting, policy, *clips[:1])
    other = dataclasses.replace(setting.writer.layout, max_rule=False)
    monkeypatch.setattr(setting.writer, 'layout', other)
    assert open_cache(setting, policy).path(clips[0]) != cache.path(clips[0])


def test_the_fingerprint_of_weights_follows_their_bits_and_places():
    a = jax.random.normal(jax.random.key(0), (2, 3))
    weights = {'a': a, 'b': jnp.ones(4)}
    swapped = weights | {'a': a[:, ::-1]}
    least = weights | {'b': weights['b'].at[3].set(np.nextafter(np.float32(1), np.float32(2)))}
    assert fingerprint(weights) == fingerprint(jax.tree.map(jnp.array, weights))
    assert len({fingerprint(tree) for tree in (weights, swapped, least)}) == 3


@pytest.mark.parametrize('shape', [(), (5,), (4, 6), (3, 8, 2, 4)])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_sum_of_a_weight_is_that_of_its_bits_in_row_order(shape, dtype):
    weight = jax.random.normal(jax.random.key(1), shape, dtype)
    bits = np.asarray(weight, np.float32).ravel().view(np.uint32).astype(object)
    wanted = sum(int(n) * (2 * i + 1) for i, n in enumerate(bits)) % 2**32
    assert int(weight_sum(weight)) == wanted


def test_devices_sum_their_shares_of_a_weight_and_move_numbers_alone():
    weight = jax.random.normal(jax.random.key(1), (3, 8, 4))
    placed = jax.device_put(weight, named(make_mesh(2, 2, 2), None, 'embed', 'mlp'))
    assert weight_sum(placed) == weight_sum(weight)
    moved = collectives(weight_sum.lower(placed).compile().as_text())
    assert {(one.kind, one.size) for one in moved} == {('all-reduce', 4)}
