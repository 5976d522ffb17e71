"""Figures of the benchmarks as functions of sums over items, with bootstrap intervals.

Each item adds a row of terms (see metric_sums), and a figure is a function of the sums of all rows.
So resampling the items costs one matrix product for any figure. All figures are fractions in
[0, 1]; 0 / 0 counts as 0.
"""

from collections.abc import Callable, Sequence

import numpy as np

MOST_GROUPS = 1024
RESAMPLES = 2000
COVERAGE = 0.95

Figures = dict[str, np.ndarray]  # name → f[...]


def ratio(part, whole) -> np.ndarray:
    """part / whole, 0 where whole is 0: f[...]."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)


def set_terms(hit, named, gold) -> np.ndarray:
    """The terms of an item from the sizes |named ∩ gold|, |named| and |gold|: f[..., 3].

    They are 1, the precision |named ∩ gold| / |named| (0 if nothing is named) and the recall
    |named ∩ gold| / |gold|. All are 0 if gold is empty, so that such an item does not count.
    """
    kept = np.asarray(gold) > 0
    return np.stack([kept, ratio(hit, named) * kept, ratio(hit, gold)], -1)


def f_score(precision, recall) -> np.ndarray:
    """2 P R / (P + R): f[...]."""
    return ratio(2 * precision * recall, precision + recall)


def open_figures(sums: np.ndarray, wheels: Sequence[str], level: int = 1) -> Figures:
    """Figures of open-vocabulary answers from the sums [..., 2 + 2 w, 3] of `set_terms`.

    The second to last axis holds M1 (the word of which a word is a form), M2 (the word of a wheel
    with the same meaning), the wheels at level 1, the wheels at level 2. In each, P and R are means
    over items and F = 2 P R / (P + R) of those means. `F`, `P` and `R` are means over the wheels at
    `level` (so F is not the F score of P and R), `M1` and `M2` are F scores, `M_avg` is the mean of
    all 2 + 2 w F scores.
    Source: the evaluation of AffectGPT (MER-UniBench, arXiv 2501.16566) and of OV-MER (2410.01495).
    """
    kept, precision, recall = np.moveaxis(sums, -1, 0)
    p, r = ratio(precision, kept), ratio(recall, kept)
    f = f_score(p, r)
    count = len(wheels)
    shown = slice(2 + (level - 1) * count, 2 + level * count)
    figures = {'F': f[..., shown].mean(-1), 'P': p[..., shown].mean(-1)}
    figures |= {'R': r[..., shown].mean(-1), 'M1': f[..., 0], 'M2': f[..., 1], 'M_avg': f.mean(-1)}
    places = [(name, f'level{depth}') for depth in (1, 2) for name in wheels]
    for j, (name, depth) in enumerate(places, 2):
        for letter, values in (('F', f), ('P', p), ('R', r)):
            figures[f'{name}.{depth}.{letter}'] = values[..., j]
    return figures


def basic_figures(sums: np.ndarray) -> Figures:
    """Figures of answers to one basic emotion from the sums [..., w, 4]: each a mean over wheels.

    The terms are 1, hit, m and precision of items whose label the wheel knows. `hit` is the share
    of items with at least one right word, however many are wrong: it is no accuracy, and it grows
    with the length of the answer. `m_score` divides each hit by the number of label categories that
    the answer names. `f1` is 2 P R / (P + R) with R = hit and P the mean share of right categories
    among all that are named. Source of the first two: the evaluation of AffectGPT (MER-UniBench,
    arXiv 2501.16566), whose tables print `hit`.
    """
    kept, hit, m, precision = np.moveaxis(sums, -1, 0)
    rate = ratio(hit, kept)
    return {
        'hit': rate.mean(-1),
        'm_score': ratio(m, kept).mean(-1),
        'f1': f_score(ratio(precision, kept), rate).mean(-1),
    }


def sentiment_figures(sums: np.ndarray) -> Figures:
    """Figures of two classes, positive or not, from the counts [..., 2, 2] of (gold, named).

    `waf` is the mean of the F1 of both classes, weighted by how often each is gold; `accuracy` is
    the share of right answers. Source: the evaluation of AffectGPT (MER-UniBench, arXiv
    2501.16566), whose tables print `waf`: items of gold 0 are left out, and a neutral answer counts
    as not positive.
    """
    gold, named = sums.sum(-1), sums.sum(-2)
    right = np.diagonal(sums, axis1=-2, axis2=-1)
    total = gold.sum(-1)
    f1 = ratio(2 * right, gold + named)
    return {'waf': ratio((gold * f1).sum(-1), total), 'accuracy': ratio(right.sum(-1), total)}


def accuracy_figures(sums: np.ndarray) -> Figures:
    """Figures of one answer out of c classes from the counts [..., c, 3] of hit, gold and named.

    `accuracy` is the share of right answers (WAR), `uar` the mean over classes of the share of
    right answers, `macro_f1` the mean over classes of F1. Only classes that occur as gold count.
    """
    hit, gold, named = np.moveaxis(sums, -1, 0)
    classes = (gold > 0).sum(-1)
    f1 = ratio(2 * hit, gold + named) * (gold > 0)
    return {
        'accuracy': ratio(hit.sum(-1), gold.sum(-1)),
        'uar': ratio(ratio(hit, gold).sum(-1), classes),
        'macro_f1': ratio(f1.sum(-1), classes),
    }


def multilabel_figures(sums: np.ndarray) -> Figures:
    """Figures of several labels an item from the sums [..., 6 + 3 c].

    The first six terms are 1, precision, recall, F1, |named ∩ gold| / |named ∪ gold| and equality
    of an item's two sets; their means are `precision`, `recall` (the recognition score of
    MME-Emotion, arXiv 2508.09210, where a judge counts right labels / all labels), `f1`, `jaccard`
    and `exact`. The others count hit, gold and named of each label: `micro_f1` is F1 of their
    totals, `macro_f1` the mean of F1 over the labels that occur as gold.
    """
    kept = sums[..., 0]
    names = ('precision', 'recall', 'f1', 'jaccard', 'exact')
    figures = {name: ratio(sums[..., k], kept) for k, name in enumerate(names, 1)}
    counts = sums[..., 6:].reshape(*sums.shape[:-1], -1, 3)
    hit, gold, named = np.moveaxis(counts.sum(-2), -1, 0)
    figures['micro_f1'] = ratio(2 * hit, gold + named)
    figures['macro_f1'] = accuracy_figures(counts)['macro_f1']
    return figures


def groups(count: int) -> np.ndarray:
    """The group in which each item is resampled: i[count].

    Up to MOST_GROUPS items, each is a group of its own. More are dealt at random, with a fixed
    seed, into groups whose sizes differ by at most one: the sums of a thousand groups are enough to
    estimate the spread of the whole sum.
    """
    if count <= MOST_GROUPS:
        return np.arange(count)
    return np.random.default_rng(0).permutation(count) % MOST_GROUPS


def resample(sums_m: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sums over as many groups as there are, drawn with replacement: f[RESAMPLES, ...]."""
    count = len(sums_m)
    drawn = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    drawn += np.arange(RESAMPLES)[:, None] * count
    times = np.bincount(drawn.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    return np.tensordot(times.astype(float), sums_m, 1)


def intervals(sums_m: np.ndarray, figures: Callable[[np.ndarray], Figures]) -> dict[str, list]:
    """The 95 % bootstrap interval of each figure, [low, high]: percentiles over resamples."""
    return {name: _interval(drawn) for name, drawn in figures(resample(sums_m)).items()}


def difference_intervals(
    first_m: np.ndarray, second_m: np.ndarray, figures: Callable[[np.ndarray], Figures]
) -> dict[str, list]:
    """The 95 % bootstrap interval of second − first, both on the same resampled items."""
    first, second = figures(resample(first_m)), figures(resample(second_m))
    return {name: _interval(second[name] - first[name]) for name in first}


def _interval(drawn: np.ndarray) -> list[float]:
    tail = 100 * (1 - COVERAGE) / 2
    return np.percentile(drawn, [tail, 100 - tail]).tolist()
