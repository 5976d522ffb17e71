"""Scores of answers out of a closed set of words, beside those of `scoring`.

`accuracy_exact` is the published rule: the boxed word in small letters equals the gold word, and
nothing is stripped, so a blank or a full stop makes it wrong. The scores that a method gives its
answers, such as coherence, are averaged over clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.label_files import Column
from mer_jax.evaluation.metrics import Figures, difference_intervals, groups, intervals, ratio
from mer_jax.evaluation.scoring import Task, compare

EXACT = 'accuracy_exact'
COUNTED = 'accuracy'  # of a method's scores, the one that EXACT counts


def add_exact(result: dict, labels: Column, answers: Sequence[Column]) -> None:
    """Adds accuracy_exact with its intervals to the parts fast, slow and difference of a result."""
    found = compare(Task('accuracy', read=whole_words), labels, *answers)
    for part, scored in zip((*MODES, 'difference'), found.values(), strict=True):
        result[part][EXACT] = scored['accuracy']
        result[part]['ci'][EXACT] = scored['ci']['accuracy']


def whole_words(value: Any) -> list[str]:
    """The words of a list, or a text as one word, in small letters and not stripped."""
    if isinstance(value, str):
        return [value.lower()] if value else []
    return [str(word).lower() for word in value]


def add_means(
    result: dict, scored: Sequence[str], lines: Sequence[dict], gold: Mapping[str, Any]
) -> None:
    """Adds the mean of each score of a method to the parts fast, slow and difference of a result.

    Lines are those of the predictions file; those of clips without a gold label do not count. A
    score that the answers of a mode lack is left out.
    """
    sums_of = {mode: score_sums(scored, lines, mode, gold) for mode in MODES}
    for mode, (names, sums_mx) in sums_of.items():
        add_figures(result[mode], names, sums_mx.sum(0))
        result[mode]['ci'] |= intervals(sums_mx, lambda sums, names=names: means(names, sums))
    both = [name for name in sums_of['fast'][0] if name in sums_of['slow'][0]]
    fast_mx, slow_mx = (
        sums_mx[:, [0, *(1 + names.index(name) for name in both)]]
        for names, sums_mx in (sums_of[mode] for mode in ('fast', 'slow'))
    )
    add_figures(result['difference'], both, slow_mx.sum(0), fast_mx.sum(0))
    result['difference']['ci'] |= difference_intervals(
        fast_mx, slow_mx, lambda sums: means(both, sums)
    )


def score_sums(
    scored: Sequence[str], lines: Sequence[dict], mode: str, gold: Mapping[str, Any]
) -> tuple[list[str], np.ndarray]:
    """The scores of a mode by name, and sums of [1, scores] by group of clips: f[m, 1 + x]."""
    rows = [line['scores'] for line in lines if line['mode'] == mode and line['id'] in gold]
    names = [name for name in scored if rows and name in rows[0] and name != COUNTED]
    terms_nx = np.array([[1.0, *(row[name] for name in names)] for row in rows])
    group_n = groups(len(rows))
    sums_mx = np.zeros((group_n.max() + 1, 1 + len(names)))
    np.add.at(sums_mx, group_n, terms_nx)
    return names, sums_mx


def means(names: Sequence[str], sums: np.ndarray) -> Figures:
    """The mean of each score from sums [..., 1 + x] of [1, scores]."""
    return {name: ratio(sums[..., k], sums[..., 0]) for k, name in enumerate(names, 1)}


def add_figures(part: dict, names: Sequence[str], sums: np.ndarray, less: np.ndarray | None = None):
    """Adds the means of sums to a part of a result, minus those of `less` if it is given."""
    before = means(names, less) if less is not None else dict.fromkeys(names, 0.0)
    part |= {name: float(value - before[name]) for name, value in means(names, sums).items()}
