"""Intervals over seeds and clips: coverage, pairing, power, against simulated differences."""

import numpy as np
import pytest

from experiments.claim_statistics import (
    Components,
    components,
    interval,
    power,
    resampled,
    seeds_needed,
    smallest_effect,
    verdict,
)

CLIPS = 40


def simulated(rng, seeds, seed, clip, rest, effect=0.0):
    """Differences f[clips] of each seed with these standard deviations of their parts."""
    clip_n = rng.normal(0, clip, CLIPS)
    return [
        effect + rng.normal(0, seed) + clip_n + rng.normal(0, rest, CLIPS) for _ in range(seeds)
    ]


@pytest.mark.parametrize(
    ('seeds', 'crossed', 'seed', 'clip', 'rest'),
    [
        (5, False, 0.1, 0.0, 0.3),
        pytest.param(5, True, 0.02, 0.4, 0.2, marks=pytest.mark.slow),
        pytest.param(5, False, 0.02, 0.0, 0.3, marks=pytest.mark.slow),
        pytest.param(10, False, 0.03, 0.0, 0.3, marks=pytest.mark.slow),
        pytest.param(8, True, 0.1, 0.1, 0.3, marks=pytest.mark.slow),
    ],
)
def test_an_interval_covers_the_true_difference_in_95_of_100(seeds, crossed, seed, clip, rest):
    rng = np.random.default_rng(0)
    held = [
        interval(simulated(rng, seeds, seed, clip, rest), crossed, draws=1000)['ci']
        for _ in range(1000)
    ]
    covered = np.mean([low <= 0 <= high for low, high in held])
    assert 0.93 <= covered <= 0.97


def test_pairing_takes_away_what_clips_have_in_common():
    rng = np.random.default_rng(1)
    hard_n = rng.normal(0, 1, 400)  # clips are hard or easy for both arms
    ours, theirs = (
        [hard_n + rng.normal(0, 0.1, 400) + shift for _ in range(5)] for shift in (0.02, 0.0)
    )
    paired = interval([a - b for a, b in zip(ours, theirs, strict=True)], True)
    mixed = interval([a - rng.permutation(b) for a, b in zip(ours, theirs, strict=True)], True)
    assert paired['error'] < mixed['error'] / 4
    assert (verdict(paired['ci']), verdict(mixed['ci'])) == ('confirmed', 'undecided')


def test_the_parts_of_a_table_by_hand():
    # Seeds deviate by ±1, clips by ±2 and 0, and nothing is left.
    difference = [np.array([-2.0, 0.0, 2.0]) + seed for seed in (-1, 1)]
    parts = components(difference, crossed=True)
    assert (parts.mean, parts.seed, parts.clip, parts.rest) == (0, 2, 4, 0)
    assert parts.error() == pytest.approx((2 / 2 + 4 / 3) ** 0.5)
    nested = components(difference, crossed=False)
    assert (nested.rest, nested.clip) == (4, 0)
    assert nested.seed == pytest.approx(2 - 4 / 3)
    assert nested.error() == pytest.approx(1)  # of the means of two seeds, sqrt(2 / 2)


def test_one_seed_has_the_interval_of_its_clips():
    difference = [np.random.default_rng(2).normal(0.1, 1, 400)]
    told = interval(difference, False)
    assert told['error'] == pytest.approx(difference[0].std(ddof=1) / 20)
    assert told['ci'][1] - told['ci'][0] == pytest.approx(2 * 1.96 * told['error'], rel=0.06)


def test_the_power_is_the_share_of_simulated_experiments_that_decide():
    rng, effect = np.random.default_rng(3), 0.12
    parts = Components(0.0, 0.06**2, 0.0, 0.3**2, seeds=5, clips=CLIPS, crossed=False)
    decided = [
        verdict(interval(simulated(rng, 5, 0.06, 0, 0.3, effect), False, draws=300)['ci'])
        for _ in range(400)
    ]
    assert power(parts, effect, 5) == pytest.approx(decided.count('confirmed') / 400, abs=0.06)
    assert power(parts, 0.0, 5) == pytest.approx(0.05, abs=1e-6)


def test_more_seeds_decide_smaller_differences():
    parts = Components(0.0, 0.02**2, 0.0, 0.3**2, seeds=5, clips=512, crossed=False)
    needed = seeds_needed(parts, 0.02)
    assert power(parts, 0.02, needed) >= 0.8 > power(parts, 0.02, needed - 1)
    assert smallest_effect(parts, needed) <= 0.02 < smallest_effect(parts, needed - 1)
    assert seeds_needed(parts, 0.0) is None


def test_clips_that_all_seeds_share_bound_what_seeds_can_decide():
    parts = Components(0.0, 0.0, 0.3**2, 0.1**2, seeds=5, clips=100, crossed=True)
    assert seeds_needed(parts, 0.01) is None
    assert seeds_needed(parts, 0.1) is not None


def test_the_rule():
    assert [verdict(ci) for ci in ([0.1, 0.2], [-0.2, -0.1], [-0.1, 0.2], [0.0, 0.1])] == [
        'confirmed',
        'contradicted',
        'undecided',
        'undecided',
    ]


def test_means_are_resampled_with_replacement():
    drawn = resampled(np.array([0.0, 1.0]), 4000, np.random.default_rng(0))
    assert set(drawn) == {0.0, 0.5, 1.0} and abs(np.mean(drawn == 0.5) - 0.5) < 0.03


def test_differences_that_cannot_be_judged_are_named():
    with pytest.raises(ValueError, match='1 clips of a seed: an interval needs at least two'):
        interval([np.array([1.0])], False)
    with pytest.raises(ValueError, match='crossed seeds have the same ones'):
        components([np.zeros(3), np.zeros(4)], True)
