"""Sources of clips: the held-out split of a manifest, and clips of the stage by number."""

import numpy as np
import pytest

from mer_jax.data.clip_sources import StageClips, hold_out
from mer_jax.data.clips import Clip
from mer_jax.data.stage.picture import picture


def test_held_out_clips_are_near_their_share_and_stay_held_out():
    clips = [Clip(f'c{i}') for i in range(4000)]
    kept, held, validated = hold_out(clips, 0.2)
    assert validated == []
    assert len(kept) + len(held) == 4000
    assert abs(len(held) / 4000 - 0.2) < 0.03
    # The side of a clip depends neither on other clips nor on their order; a larger share adds.
    assert set(hold_out(clips[::-3], 0.2)[1]) == set(held) & set(clips[::-3])
    assert set(held) < set(hold_out(clips, 0.4)[1])
    # It stays the same in every release: a clip once held out must never be trained on.
    assert [clip.id for clip in held[:6]] == ['c0', 'c4', 'c8', 'c11', 'c15', 'c19']


def test_pictures_of_the_stage_are_drawn_by_their_number_and_domain():
    home, away = (StageClips(3, 'test', 5, domain) for domain in ('home', 'away'))
    assert home[np.int64(2)].id == 'home-test-3-000002' and away[2].id == 'away-test-3-000002'
    assert home[2].image.shape == (56, 112, 3) and home[2].video is None
    np.testing.assert_array_equal(home[2].image, picture(3, 'test', 2).image)
    with pytest.raises(ValueError, match="domain='abroad' must be one of home, away"):
        StageClips(3, 'test', 5, 'abroad')[0]


def test_a_source_is_never_on_two_sides():
    clips = [Clip(f'c{i}', source=f'film {i // 20}') for i in range(4000)]
    sides = hold_out(clips, 0.2, 0.1)
    sources = [{clip.source for clip in side} for side in sides]
    assert sum(map(len, sides)) == 4000 and sum(map(len, sources)) == 200
    assert all(len(side) == 20 * len(found) for side, found in zip(sides, sources, strict=True))
    # A clip without a source is its own: its side is that of a source of this name.
    named = [Clip(clip.source) for clip in clips[::20]]
    assert [{clip.id for clip in side} for side in hold_out(named, 0.2, 0.1)] == sources


def test_validation_takes_its_share_of_the_clips_that_are_not_held_out():
    for clips in ([Clip(f'c{i:04}') for i in range(4000)], [Clip(f'{i}') for i in range(4000)]):
        train, held, validated = hold_out(clips, 0.2, 0.05)
        assert held == hold_out(clips, 0.2)[1]
        assert abs(len(validated) / (len(train) + len(validated)) - 0.05) < 0.015
        assert set(validated) < set(hold_out(clips, 0.2, 0.1)[2])
    # It stays the same in every release, so that a resumed run trains on the same clips.
    assert [clip.id for clip in validated[:4]] == ['39', '51', '55', '146']


def test_clips_of_the_stage_are_drawn_by_their_number():
    clips = StageClips(3, 'test', 5)
    assert len(clips) == 5
    assert clips[np.int64(2)].id == clips[2].id == 'test-3-000002'
