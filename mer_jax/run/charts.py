"""Recall against precision, as SVG."""

import io
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mer_jax.run.curves import LIGHT

# The chart is drawn in the colours of the light page. In the SVG each becomes a CSS variable of the
# same name, so that a dark page repaints them.
DRAWING = {'svg.fonttype': 'none', 'svg.hashsalt': 'report', 'font.size': 9.5}
DRAWING |= dict.fromkeys(('axes.edgecolor', 'xtick.color', 'ytick.color'), LIGHT['rule'])
DRAWING |= dict.fromkeys(('xtick.labelcolor', 'ytick.labelcolor'), LIGHT['dim'])
DRAWING |= {'axes.spines.top': False, 'axes.spines.right': False, 'axes.labelcolor': LIGHT['dim']}


def draw_plane(points: dict[str, list[tuple[bool, dict]]]) -> str:
    """Recall and precision with standard errors over lines of constant F, as SVG.

    `points` holds for each answer (fast, slow) its (hollow, figures), before and after RL.
    """
    with matplotlib.rc_context(DRAWING):
        figure = Figure(figsize=(5, 5))
        axes = figure.add_axes((0.14, 0.11, 0.84, 0.84), xlabel='recall', ylabel='precision')
        limits = _limits([row for rows in points.values() for _, row in rows])
        axes.set(xlim=limits[0], ylim=limits[1])
        for answer, rows in points.items():
            _draw_points(axes, answer, rows)
        axes.locator_params(nbins=6)
        _draw_lines_of_f(axes)
        return as_svg(figure)


def _limits(rows: list[dict]) -> list[tuple[float, float]]:
    """Equal spans of recall and precision around all points and their errors."""
    names, signs = ('recall', 'precision'), (-1, 1)
    ends = [[row[k] + sign * row[f'{k}_se'] for row in rows for sign in signs] for k in names]
    span = min(1.15, 1.4 * max(0.1, *map(np.ptp, ends)))
    lows = [np.clip((min(x) + max(x) - span) / 2, -0.02, 1 - 0.87 * span) for x in ends]
    return [(low, low + span) for low in lows]


def _draw_points(axes, answer: str, rows: list[tuple[bool, dict]]):
    """An answer's points with error bars, an arrow from before to after, a label at the last."""
    color = LIGHT[answer]
    for hollow, row in rows:
        at = (row['recall'], row['precision'], row['precision_se'], row['recall_se'])
        fill = LIGHT['paper'] if hollow else color
        axes.errorbar(*at, fmt='o', color=color, markerfacecolor=fill, elinewidth=0.9)
    spots = [(row['recall'], row['precision']) for _, row in rows]
    if len(spots) == 2:
        arrow = dict(arrowstyle='-|>', color=color, shrinkA=5, shrinkB=5)
        axes.annotate('', spots[1], spots[0], arrowprops=arrow)
    if spots:
        place = dict(xytext=(7, 7), textcoords='offset points')
        axes.annotate(answer, spots[-1], **place, color=color, fontsize=11, fontweight='bold')


def _draw_lines_of_f(axes):
    """Dashed lines along which F is constant, with their values."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    across, up = np.linspace(max(left, 1e-3), right, 99), np.linspace(max(bottom, 1e-3), top, 99)
    recall, precision = np.meshgrid(across, up)
    f = 2 * recall * precision / (recall + precision)
    style = dict(colors=LIGHT['rule'], linestyles='dashed', linewidths=0.8)
    lines = axes.contour(recall, precision, f, 6, **style)
    # A label is placed where its line enters the upper left of the plane, away from the points.
    x, y = left + 0.06 * (right - left), top - 0.06 * (top - bottom)
    level = lines.levels
    high, wide = (level * edge / np.maximum(2 * edge - level, 1e-9) for edge in (x, y))
    spots = [(x, h) if bottom < h < y else (w, y) for h, w in zip(high, wide, strict=True)]
    spots = [(r, p) for r, p in spots if x <= r < right]
    axes.clabel(lines, colors=LIGHT['dim'], fontsize=8, fmt='F %.3g', manual=spots)


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element with the colours of the page and without any address."""
    file = io.StringIO()
    figure.savefig(file, format='svg', transparent=True)
    text = file.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>|\sxmlns(:\w+)?="[^"]*"', '', text, flags=re.DOTALL)
    for name, color in LIGHT.items():
        text = text.replace(color, f'var(--{name})')
    return text
