"""The largest batches of a plan, against those that a run collates."""

import jax
import numpy as np
import pytest
import small

from mer_jax.run.emo_r3_defaults import emo_r3
from mer_jax.run.plan_batches import MediaSizes, abstract_prompts, largest_media, largest_reading
from mer_jax.run.plan_programs import planned_setting


def planned(c, variant='', **values):
    """The setting of a plan on one device, with other values of its config."""
    return planned_setting(small.changed(c, **values), variant, jax.devices()[:1])


def test_prompts_are_those_that_a_run_collates_but_larger(config):
    setting = planned(config)
    given = setting.batcher.collate([setting.writer.filler()] * 2)
    largest = abstract_prompts(setting, 2, 'largest')
    assert jax.tree.structure(given) == jax.tree.structure(largest)
    for one, other in zip(jax.tree.leaves(given), jax.tree.leaves(largest), strict=True):
        assert one.dtype == other.dtype and one.ndim == other.ndim
        assert all(a <= b for a, b in zip(one.shape, other.shape, strict=True))


def test_clips_of_the_stage_are_as_large_as_the_plan_says(setting):
    clips = [
        setting.writer.example(clip) for clip in map(setting.train_clips.__getitem__, range(8))
    ]
    largest = abstract_prompts(setting, 8, 'largest').media
    given = setting.batcher.collate(clips).media
    assert given.patch.shape == largest.patch.shape
    assert given.sound.shape[1] <= largest.sound.shape[1]


def test_features_take_the_place_of_media(config):
    setting = planned(config)
    media = abstract_prompts(setting, 2, 'features').media
    assert media.feature.shape == (2, 120, 128)
    assert media.patch.size == media.sound.size == 0


def test_a_video_of_square_frames_and_its_sound_fill_the_longest_prompt(variant_config):
    # 16 frames are 8 temporal patches. 128 cells are at most 11 x 11 in a square, in 3 x 3 windows
    # of 64 patches, padded to 12. The rest, 2,048 - 8 * 121 tokens, holds 21 chunks of sound,
    # padded to 24, of 50 tokens each.
    setting = planned(variant_config('qwen2_5_omni_7b'), 'qwen2_5_omni_7b')
    assert largest_media(setting) == MediaSizes(8, 768, 24, 1200)


def test_a_large_image_has_as_many_pixels_as_the_config_admits():
    c = emo_r3('qwen2_5_vl_3b')
    setting = planned(c, 'qwen2_5_vl_3b')
    # 1,792 cells hold a square of 42 x 42, 11 x 11 windows, padded to 128.
    assert largest_media(setting) == MediaSizes(1, 128 * 64, 0, 0)
    # Where pixels admit more, the longest prompt decides: 45 x 45 cells, 12 x 12 windows.
    large = planned(c, 'qwen2_5_vl_3b', data__max_pixels=4_194_304)
    assert largest_media(large) == MediaSizes(1, 192 * 64, 0, 0)


@pytest.mark.parametrize('tokens', [16, 128])
def test_questions_of_the_reflection_are_as_long_as_the_config_admits(tokens):
    setting = planned(emo_r3(), rollout__reflection_tokens=tokens)
    reading = largest_reading(setting, 2)
    assert reading.story.shape == reading.view.shape == (2, 8, tokens)
    assert np.shape(reading.right) == (2, 8)
