"""Features kept on disk: they equal computed ones, and stale or damaged ones are not used."""

import dataclasses
import os

import jax
import numpy as np
import pytest

from mer_jax.data.clips import Clip, read_manifest
from mer_jax.data.stage import stage
from mer_jax.models.omni import make_omni, perceive, read_prompts
from mer_jax.run.setting import Setting


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=3, seed=5, split='train', sheet=False)
    return read_manifest(folder / 'manifest.jsonl')


@pytest.fixture
def setting(config, tmp_path):
    config.data.cache = str(tmp_path / 'cache')
    config.data.audio_in_video = False
    return Setting(config)


@pytest.fixture(scope='module')
def policy(module_config):
    spec = Setting(module_config).spec
    return jax.jit(lambda: make_omni(jax.random.key(0), spec))()


def seen(setting, policy, examples):
    """The prompts of examples, and the features of their media."""
    prompts = setting.collate(examples)
    return prompts, perceive(policy, prompts.media)


def test_a_kept_prompt_gives_the_same_keys_as_its_media(setting, policy, clips):
    cache = setting.open_cache(policy)
    examples = [setting.example(clip, cache) for clip in clips]
    assert [example.prompt.feature for example in examples] == [None] * 3
    prompts, features = seen(setting, policy, examples)
    setting.keep_features(cache, examples, prompts, features)
    again = [setting.example(clip, cache) for clip in clips]
    kept, kept_features = seen(setting, policy, again)
    assert kept.media.patch.shape[1] == 0 and kept.media.sound.shape[1] == 0
    both = [
        read_prompts(policy.decoder, p, f) for p, f in ((prompts, features), (kept, kept_features))
    ]
    jax.tree.map(np.testing.assert_array_equal, *both)
    np.testing.assert_array_equal(prompts.position, kept.position)
    np.testing.assert_array_equal(prompts.next_position, kept.next_position)


@pytest.mark.slow
def test_a_batch_kept_only_in_part_is_computed_again(setting, policy, clips):
    cache = setting.open_cache(policy)
    first = [setting.example(clips[0], cache)]
    setting.keep_features(cache, first, *seen(setting, policy, first))
    mixed = [setting.example(clip, cache) for clip in clips]
    assert [example.prompt.feature is None for example in mixed] == [False, True, True]
    plain = setting.collate([setting.example(clip) for clip in clips])
    jax.tree.map(np.testing.assert_array_equal, setting.collate(mixed), plain)


@pytest.mark.slow
def test_a_clip_without_media_fits_into_a_kept_batch(setting, policy, clips):
    cache = setting.open_cache(policy)
    first = [setting.example(clips[0], cache)]
    setting.keep_features(cache, first, *seen(setting, policy, first))
    both = setting.collate([setting.example(clips[0], cache), setting.filler()])
    assert both.media.feature.shape[0] == 2
    assert (both.media.place[1] == -1).all()


def test_other_towers_another_question_or_a_changed_file_miss_the_cache(setting, policy, clips):
    cache = setting.open_cache(policy)
    first = [setting.example(clips[0], cache)]
    setting.keep_features(cache, first, *seen(setting, policy, first))
    assert cache.load(clips[0]) is not None
    tower = jax.tree.map(lambda leaf: leaf + 1e-6, policy.visual)
    assert setting.open_cache(policy.replace(visual=tower)).load(clips[0]) is None
    with setting.config.unlocked():
        setting.config.data.question = 'How?'
    assert setting.open_cache(policy).load(clips[0]) is None
    assert cache.load(dataclasses.replace(clips[0], subtitle='other')) is None
    os.utime(clips[0].video, (1, 1))
    assert cache.load(clips[0]) is None


def test_a_damaged_entry_is_computed_again(setting, policy, clips):
    cache = setting.open_cache(policy)
    first = [setting.example(clips[1], cache)]
    setting.keep_features(cache, first, *seen(setting, policy, first))
    cache.path(clips[1]).write_bytes(b'torn')
    assert cache.load(clips[1]) is None


def test_clips_of_arrays_or_of_text_alone_are_not_kept(setting, policy):
    cache = setting.open_cache(policy)
    assert cache.path(Clip('a', image=np.zeros((56, 56, 3), np.uint8))) is None
    assert cache.path(Clip('a', subtitle='words alone')) is None
