"""Claim (e): what the lines of interference.py say about it, with intervals over seeds.

`separate` advantages against one standardised sum, at policies of every arm along its training.
The figures of a seed are means over its policies; the interval is Student's over seeds.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.claim_statistics import COVERAGE, verdict
from mer_jax.run.charts import DRAWING
from mer_jax.run.curves import LIGHT

CLAIMS = {  # name: (text, figure of a line that should be above 0)
    'e1': (
        'precision varies more than recall in groups',
        lambda line: line['precision_var'] - line['recall_var'],
    ),
    'e2': (
        'the gradients of recall and precision agree better when separate',
        lambda line: line['separate']['cosine'] - line['summed']['cosine'],
    ),
    'e3': (
        "recall's share of the update is nearer to a half when separate",
        lambda line: apart(line['summed']) - apart(line['separate']),
    ),
}
COLORS = ('slow', 'violet', 'hit', 'fast')  # of arms


def apart(gradients: dict) -> float:
    """How far recall's share of the update is from a half."""
    return abs(gradients['share'] - 0.5)


def arms_of(lines: list[dict]) -> list[str]:
    """The arms that were measured, in the order of the lines."""
    return list(dict.fromkeys(line['arm'] for line in lines))


def by_seed(lines: list[dict], arm: str, get) -> np.ndarray:
    """The mean of a figure over the policies of each seed of an arm, f[seeds]."""
    held = [line for line in lines if line['arm'] == arm]
    seeds = sorted({line['seed'] for line in held})
    return np.array([np.mean([get(x) for x in held if x['seed'] == seed]) for seed in seeds])


def over_seeds(value_s: np.ndarray) -> tuple[float, list[float]]:
    """The mean over seeds and its 95 % interval by Student's t; ±∞ of one seed."""
    mean, s = float(value_s.mean()), len(value_s)
    if s < 2:
        return mean, [-np.inf, np.inf]
    half = float(stats.t.ppf((1 + COVERAGE) / 2, s - 1) * value_s.std(ddof=1) / s**0.5)
    return mean, [mean - half, mean + half]


def table(lines: list[dict]) -> str:
    """The claims for each arm with differences, intervals and verdicts, as a table of Markdown."""
    rows = ['| claim | | arm | seeds | difference | 95 % interval | verdict |']
    rows.append('|---|---|---|--:|--:|---|---|')
    for name, (text, get) in CLAIMS.items():
        for arm in arms_of(lines):
            value_s = by_seed(lines, arm, get)
            mean, (low, high) = over_seeds(value_s)
            rows.append(
                f'| {name} | {text} | {arm} | {len(value_s)} | {mean:+.4f} | '
                f'[{low:+.4f}, {high:+.4f}] | {verdict((low, high))} |'
            )
    return '\n'.join(rows)


def courses(lines: list[dict]) -> Figure:
    """Variances, cosines and shares over updates, means over seeds: a line for each arm."""
    panels = {
        'variance in groups': ('precision', 'recall'),
        'cosine of the gradients': ('summed', 'separate'),
        "recall's share of the update": ('summed', 'separate'),
    }
    with matplotlib.rc_context(DRAWING):
        figure = Figure(figsize=(10, 3.2), layout='constrained')
        grid = figure.subplots(1, 3)
        for axes, (title, (dashed, solid)), name in zip(
            grid, panels.items(), ('var', 'cosine', 'share'), strict=True
        ):
            axes.set_title(f'{title}\n{solid} —  {dashed} - -', fontsize=9, color=LIGHT['ink'])
            axes.set_xlabel('update')
            for arm, color in zip(arms_of(lines), COLORS, strict=False):
                for kind, style in ((dashed, '--'), (solid, '-')):
                    spots = _course(lines, arm, kind, name)
                    label = arm if style == '-' else None
                    axes.plot(*spots, style, color=LIGHT[color], linewidth=1.4, label=label)
        grid[0].legend(fontsize=8, frameon=False)
    return figure


def _course(lines: list[dict], arm: str, kind: str, name: str) -> tuple[list, list]:
    """The updates of an arm and the mean of a figure over seeds at each of them."""

    def get(line):
        return line[f'{kind}_var'] if name == 'var' else line[kind][name]

    held = [line for line in lines if line['arm'] == arm]
    updates = sorted({line['update'] for line in held})
    return updates, [np.mean([get(x) for x in held if x['update'] == u]) for u in updates]
