"""The cache of features: a file a clip, named after everything that its features depend on."""

import dataclasses
import errno
import os

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from media_files import noise, write_wave
from tiny_prompts import IMAGE, prompt_of

from mer_jax.data.cache import FeatureCache
from mer_jax.data.clips import Clip


@pytest.fixture
def clip(tmp_path):
    path = write_wave(tmp_path / 'a.wav', noise(), 16_000)
    return Clip('c7', audio=str(path), subtitle='Oh no.')


def saved(tmp_path, clip):
    """A cache that holds the clip, its prompt and its features."""
    prompt = prompt_of(audio=clip.audio, subtitle=clip.subtitle)
    feature = np.arange(8.0 * (prompt.place >= 0).sum(), dtype=np.float32).reshape(-1, 8)
    cache = FeatureCache(tmp_path / 'cache', 'towers')
    cache.save(clip, prompt, feature)
    return cache, prompt, feature


def test_a_prompt_is_kept_with_its_features_and_without_its_media(tmp_path, clip):
    cache, prompt, feature = saved(tmp_path, clip)
    held = cache.load(clip)
    np.testing.assert_array_equal(held.feature, feature)
    for name in ('token', 'position', 'start', 'next_position', 'id'):
        np.testing.assert_array_equal(getattr(held, name), getattr(prompt, name))
    assert held.sound.size == 0 and prompt.sound.size > 0
    shown = held.place >= 0
    np.testing.assert_array_equal(shown, prompt.place >= 0)
    assert held.place[shown].tolist() == list(range(len(feature)))


def test_only_the_same_clip_and_the_same_identity_are_served(tmp_path, clip):
    cache, *_ = saved(tmp_path, clip)
    assert FeatureCache(cache.folder, 'towers').load(clip) is not None
    assert FeatureCache(cache.folder, 'other towers').load(clip) is None
    assert cache.load(dataclasses.replace(clip, subtitle='Oh yes.')) is None
    assert cache.load(dataclasses.replace(clip, question='Why?')) is None
    assert cache.load(dataclasses.replace(clip, id='c8')).id == 'c8'
    os.utime(clip.audio, (1, 1))
    assert cache.load(clip) is None


@pytest.mark.parametrize('left', [b'torn', b''])
def test_a_damaged_entry_is_not_served_and_named(tmp_path, clip, caplog, left):
    cache, *_ = saved(tmp_path, clip)
    cache.path(clip).write_bytes(left)
    assert cache.load(clip) is None
    assert 'clip c7: its features are computed again' in caplog.text


def test_every_flipped_bit_is_found_and_the_entry_is_written_again(tmp_path, clip, caplog):
    cache, prompt, feature = saved(tmp_path, clip)
    path = cache.path(clip)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(0, 8 * 500, 29), *rng.integers(0, 8 * len(whole), 100).tolist()]
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        assert cache.load(clip) is None, place
    assert cache.damaged == {'c7'} and 'computed again (1 so far)' in caplog.text
    cache.save(clip, prompt, feature)
    assert path.read_bytes() == whole and cache.load(clip) is not None


def test_an_entry_without_a_checksum_is_not_trusted(tmp_path, clip, caplog):
    cache, *_ = saved(tmp_path, clip)
    held = safetensors.numpy.load_file(cache.path(clip))
    del held['sum']
    safetensors.numpy.save_file(held, cache.path(clip))
    assert cache.load(clip) is None
    assert 'has no checksum, so an earlier version wrote it' in caplog.text


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path, clip, caplog, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('mer_jax.data.cache.os.replace', full)
    cache, prompt, feature = saved(tmp_path, clip)
    cache.save(clip, prompt, feature)
    assert caplog.text.count('features are not kept (OSError: [Errno 28] No space left') == 1
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_features_of_any_type_are_kept(tmp_path, clip, dtype):
    cache, prompt, feature = saved(tmp_path, clip)
    feature = np.asarray(jnp.asarray(feature, dtype))
    cache.save(clip, prompt, feature)
    held = cache.load(clip).feature
    assert held.dtype == feature.dtype and held.tobytes() == feature.tobytes()


def test_only_clips_that_are_all_files_are_kept(tmp_path, clip):
    cache, prompt, feature = saved(tmp_path, clip)
    for other in (
        Clip('a', image=IMAGE),
        Clip('a', subtitle='words alone'),
        dataclasses.replace(clip, image=IMAGE),
    ):
        assert cache.path(other) is None and cache.load(other) is None
        cache.save(other, prompt, feature)
    assert [path.suffix for path in cache.folder.iterdir()] == ['.safetensors']
    assert len(list(cache.folder.iterdir())) == 1
