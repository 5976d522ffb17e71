"""The gain of a run: scores of the same clips after reinforcement learning minus before."""

import numpy as np

from mer_jax.evaluation.metrics import difference_intervals, groups, ratio

SCORES = ('recall', 'precision', 'f')


def gain_of_run(before: list[dict], after: list[dict]) -> dict | None:
    """`paired_gain` of slow and fast answers and over how many 'clips'; None for fewer than two."""
    clips = len(common_clips(before, after))
    if clips < 2:
        return None
    return {mode: paired_gain(before, after, mode) for mode in ('slow', 'fast')} | {'clips': clips}


def paired_gain(before: list[dict], after: list[dict], mode: str) -> dict[str, dict]:
    """The mean difference of each score over the clips that both evaluations answered.

    Rows are those of `held_out.evaluate`; `mode` is fast or slow. {'recall': {'difference', 'ci':
    [low, high], 'se'}, 'precision': …, 'f': …}: the interval is the 95 % bootstrap interval over
    clips, `se` the standard error of the mean of the paired differences. Raises ValueError for
    fewer than two common clips.
    """
    first_nx, second_nx = _paired_scores(before, after, mode)
    n = len(first_nx)
    if n < 2:
        raise ValueError(f'a gain needs at least two clips that both evaluations answered, not {n}')
    intervals = difference_intervals(_sums(first_nx), _sums(second_nx), _means)
    difference_nx = second_nx - first_nx
    error_x = difference_nx.std(0, ddof=1) / n**0.5
    return {
        name: {'difference': float(mean), 'ci': intervals[name], 'se': float(error)}
        for name, mean, error in zip(SCORES, difference_nx.mean(0), error_x, strict=True)
    }


def common_clips(before: list[dict], after: list[dict]) -> list[str]:
    """The ids of the clips that both evaluations answered, in the order of the first."""
    answered = {row['id'] for row in after}
    return [row['id'] for row in before if row['id'] in answered]


def _paired_scores(before, after, mode) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the common clips in both evaluations, each f[n, x]."""
    ids = common_clips(before, after)
    row_of = [{row['id']: row[mode] for row in rows} for rows in (before, after)]
    first, second = ([[rows[name][key] for key in SCORES] for name in ids] for rows in row_of)
    shape = (len(ids), len(SCORES))
    return np.array(first, float).reshape(shape), np.array(second, float).reshape(shape)


def _sums(score_nx: np.ndarray) -> np.ndarray:
    """Sums of [1, scores] over the clips of each group that is resampled: f[m, 1 + x]."""
    group_n = groups(len(score_nx))
    sums_mx = np.zeros((group_n.max() + 1, 1 + score_nx.shape[1]))
    np.add.at(sums_mx, group_n, np.insert(score_nx, 0, 1, axis=1))
    return sums_mx


def _means(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Mean scores from sums [..., 1 + x]."""
    return {name: ratio(sums[..., k], sums[..., 0]) for k, name in enumerate(SCORES, 1)}
