"""The gain of a run: scores of the same clips after reinforcement learning minus before."""

from collections.abc import Mapping, Sequence

import numpy as np

from mer_jax.data.clips import label_of
from mer_jax.evaluation.metrics import accuracy_figures, difference_intervals, groups, ratio

SCORES = ('recall', 'precision', 'f')
OF_MODES = {'slow': SCORES, 'fast': SCORES}


def gain_of_run(
    before: list[dict],
    after: list[dict],
    names: Mapping[str, Sequence[str]] = OF_MODES,
    labels: Sequence[str] = (),
) -> dict | None:
    """`paired_gain` of each mode of `names` and the number of 'clips'; None for fewer than two."""
    clips = len(_common_ids(before, after))
    if clips < 2:
        return None
    gain = {
        mode: paired_gain(before, after, mode, scores, labels) for mode, scores in names.items()
    }
    return gain | {'clips': clips}


def paired_gain(
    before: list[dict],
    after: list[dict],
    mode: str,
    names: Sequence[str] = SCORES,
    labels: Sequence[str] = (),
) -> dict[str, dict]:
    """The mean difference of each score over the clips that both evaluations answered.

    Rows are those of `held_out.evaluate`; `mode` is fast or slow. {'recall': {'difference', 'ci':
    [low, high], 'se'}, 'precision': …, 'f': …}: `ci` is the 95 % bootstrap interval over clips,
    `se` the standard error of the mean of the paired differences. With labels there is 'macro_f1'
    too, without `se`. Raises ValueError for fewer than two common clips.
    """
    ids = _common_ids(before, after)
    n = len(ids)
    if n < 2:
        raise ValueError(f'a gain needs at least two clips that both evaluations answered, not {n}')
    both = [[{row['id']: row for row in rows}[name] for name in ids] for rows in (before, after)]
    first_nx, second_nx = (scores_of(rows, mode, names) for rows in both)
    count_nx = [label_counts(rows, mode, labels).reshape(n, -1) for rows in both]
    sums = [_sums(*terms) for terms in zip((first_nx, second_nx), count_nx, strict=True)]

    def figures(sums):
        means = {name: ratio(sums[..., k], sums[..., 0]) for k, name in enumerate(names, 1)}
        if labels:
            count = sums[..., 1 + len(names) :].reshape(*sums.shape[:-1], -1, 3)
            means['macro_f1'] = accuracy_figures(count)['macro_f1']
        return means

    intervals = difference_intervals(*sums, figures)
    old, new = (figures(total.sum(0)) for total in sums)
    error_x = (second_nx - first_nx).std(0, ddof=1) / n**0.5
    gain = {
        name: {'difference': float(new[name] - old[name]), 'ci': intervals[name]} for name in new
    }
    for name, error in zip(names, error_x, strict=True):
        gain[name]['se'] = float(error)
    return gain


def scores_of(rows: Sequence[dict], mode: str, names: Sequence[str]) -> np.ndarray:
    """The scores of the answers of a mode, f[n, x]."""
    return np.array([[row[mode][name] for name in names] for row in rows], float)


def label_counts(rows: Sequence[dict], mode: str, labels: Sequence[str]) -> np.ndarray:
    """1 where a label is hit, gold and named by the answers of a mode: f[n, labels, 3]."""
    gold = [[label == label_of(row['gold'][0]) for label in labels] for row in rows]
    named = [[label in map(str.lower, row[mode]['words']) for label in labels] for row in rows]
    gold, named = (np.array(x, bool).reshape(len(rows), len(labels)) for x in (gold, named))
    return np.stack([gold & named, gold, named], -1).astype(float)


def _common_ids(before: list[dict], after: list[dict]) -> list[str]:
    """The ids of the clips that both evaluations answered, in the order of the first."""
    answered = {row['id'] for row in after}
    return [row['id'] for row in before if row['id'] in answered]


def _sums(score_nx: np.ndarray, count_nx: np.ndarray) -> np.ndarray:
    """Sums of [1, scores, counts] over the clips of each group that is resampled: f[m, 1 + x]."""
    group_n = groups(len(score_nx))
    sums_mx = np.zeros((group_n.max() + 1, 1 + score_nx.shape[1] + count_nx.shape[1]))
    one_n1 = np.ones((len(score_nx), 1))
    np.add.at(sums_mx, group_n, np.concatenate([one_n1, score_nx, count_nx], 1))
    return sums_mx
