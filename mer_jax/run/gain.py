"""The gain of a run: scores of the same clips after reinforcement learning minus before."""

from collections.abc import Sequence

import numpy as np

from mer_jax.evaluation.metrics import difference_intervals, groups, ratio

SCORES = ('recall', 'precision', 'f')


def gain_of_run(
    before: list[dict], after: list[dict], names: Sequence[str] = SCORES
) -> dict | None:
    """`paired_gain` of slow and fast answers and the number of 'clips'; None for fewer than two."""
    clips = len(_common_ids(before, after))
    if clips < 2:
        return None
    gain = {mode: paired_gain(before, after, mode, names) for mode in ('slow', 'fast')}
    return gain | {'clips': clips}


def paired_gain(
    before: list[dict], after: list[dict], mode: str, names: Sequence[str] = SCORES
) -> dict[str, dict]:
    """The mean difference of each score over the clips that both evaluations answered.

    Rows are those of `held_out.evaluate`; `mode` is fast or slow. {'recall': {'difference', 'ci':
    [low, high], 'se'}, 'precision': …, 'f': …}: `ci` is the 95 % bootstrap interval over clips,
    `se` the standard error of the mean of the paired differences. Raises ValueError for fewer than
    two common clips.
    """
    ids = _common_ids(before, after)
    n = len(ids)
    if n < 2:
        raise ValueError(f'a gain needs at least two clips that both evaluations answered, not {n}')
    first_nx, second_nx = (_scores(rows, ids, mode, names) for rows in (before, after))

    def means(sums):
        return {name: ratio(sums[..., k], sums[..., 0]) for k, name in enumerate(names, 1)}

    intervals = difference_intervals(_sums(first_nx), _sums(second_nx), means)
    difference_nx = second_nx - first_nx
    error_x = difference_nx.std(0, ddof=1) / n**0.5
    return {
        name: {'difference': float(mean), 'ci': intervals[name], 'se': float(error)}
        for name, mean, error in zip(names, difference_nx.mean(0), error_x, strict=True)
    }


def _common_ids(before: list[dict], after: list[dict]) -> list[str]:
    """The ids of the clips that both evaluations answered, in the order of the first."""
    answered = {row['id'] for row in after}
    return [row['id'] for row in before if row['id'] in answered]


def _scores(rows: list[dict], ids: list[str], mode: str, names: Sequence[str]) -> np.ndarray:
    """The scores of these clips, f[n, x]."""
    row_of = {row['id']: row[mode] for row in rows}
    return np.array([[row_of[name][score] for score in names] for name in ids], float)


def _sums(score_nx: np.ndarray) -> np.ndarray:
    """Sums of [1, scores] over the clips of each group that is resampled: f[m, 1 + x]."""
    group_n = groups(len(score_nx))
    sums_mx = np.zeros((group_n.max() + 1, 1 + score_nx.shape[1]))
    np.add.at(sums_mx, group_n, np.insert(score_nx, 0, 1, axis=1))
    return sums_mx
