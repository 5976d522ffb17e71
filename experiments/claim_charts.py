"""Charts of the claims: forest plots, learning curves with bands, planes of two scores."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.claim_arms import ARMS, CLAIMS
from experiments.claim_tables import columns, judged, mean_scores
from mer_jax.run.charts import DRAWING
from mer_jax.run.curves import LIGHT, smooth

COLORS = {'confirmed': 'hit', 'contradicted': 'miss', 'undecided': 'dim'}  # of verdicts
CURVES = {  # figures of a curve of each table, with their colours
    'mer_r1': {'recall': 'slow', 'precision': 'fast', 'f': 'ink'},
    'emo_r3': {'accuracy': 'ink', 'coherence': 'slow', 'consistency': 'fast'},
}
REFERENCE = {'mer_r1': ('baseline', 'f'), 'emo_r3': ('grpo', 'accuracy')}  # a dashed line in each
PLANES = {  # (domain, score) of both sides of a plane
    'mer_r1': {'xlabel': ('', 'recall'), 'ylabel': ('', 'precision')},
    'emo_r3': {'xlabel': ('', 'accuracy'), 'ylabel': ('away', 'accuracy')},
}
ACROSS = 4  # panels in a row


def forest(table: str, lines: list[dict]) -> Figure:
    """The difference and 95 % interval of each claim; green confirmed, red contradicted."""
    rows = [(claim, judged(claim, lines)) for claim in CLAIMS[table]]
    rows = [(claim, told) for claim, told in rows if told]
    with matplotlib.rc_context(DRAWING):
        figure = Figure(figsize=(9.5, 0.6 + 0.27 * max(len(rows), 1)), layout='constrained')
        axes = figure.add_subplot(xlabel='difference, with its 95 % interval')
        axes.axvline(0, color=LIGHT['rule'], linewidth=1)
        for place, (_, told) in enumerate(rows):
            color = LIGHT[COLORS[told['verdict']]]
            axes.plot(told['ci'], (place, place), color=color, linewidth=1.6)
            filled = color if told['verdict'] != 'undecided' else LIGHT['paper']
            axes.plot(told['mean'], place, 'o', color=color, markerfacecolor=filled)
        labels = [f'{claim.text}  ({claim.name})' for claim, _ in rows]
        axes.set_yticks(range(len(rows)), labels, color=LIGHT['ink'])
        axes.tick_params(axis='y', length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure


def curves(table: str, lines: list[dict]) -> Figure | None:
    """A panel for each arm: figures over updates, mean and range over seeds; None without any.

    The dashed line is the score of the baseline.
    """
    held = {
        arm: [x['curves'] for x in lines if x['arm'] == arm and x['curves']] for arm in ARMS[table]
    }
    held = {arm: found for arm, found in held.items() if found}
    if not held:
        return None
    rows = -(-len(held) // ACROSS)
    other, score = REFERENCE[table]
    with matplotlib.rc_context(DRAWING):
        figure = Figure(figsize=(10, 0.4 + 1.9 * rows), layout='constrained')
        grid = figure.subplots(rows, ACROSS, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in grid[len(held) :]:
            axes.set_axis_off()
        for axes, (arm, found) in zip(grid, held.items(), strict=False):
            axes.set_title(arm, fontsize=10, color=LIGHT['ink'])
            for name, color in CURVES[table].items():
                _draw_band(axes, found, name, LIGHT[color], arm)
            if other in held and arm != other:
                values = smooth(_stacked(held[other], score).mean(0))
                axes.plot(np.arange(1, len(values) + 1), values, '--', color=LIGHT['dim'], lw=1)
        grid[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_band(axes, found: list[dict], name: str, color: str, arm: str) -> None:
    """The mean of a figure over seeds, and between the lowest and the highest a band."""
    if not all(name in one for one in found):
        return
    value_sn = np.array([smooth(one) for one in _stacked(found, name)])
    step = np.arange(1, value_sn.shape[1] + 1)
    axes.fill_between(step, value_sn.min(0), value_sn.max(0), color=color, alpha=0.2, lw=0)
    axes.plot(step, value_sn.mean(0), color=color, linewidth=1.4, label=name)


def _stacked(found: list[dict], name: str) -> np.ndarray:
    """A figure of all seeds as far as the shortest curve, f[seeds, n]."""
    least = min(len(one[name]) for one in found)
    return np.array([one[name][:least] for one in found])


def plane(table: str, lines: list[dict]) -> Figure:
    """The two scores of PLANES of each arm, means over seeds: fast answers hollow, slow full.

    Arms are numbered in their order, and named beside the plane.
    """
    place = {column: x for x, column in enumerate(columns(table))}
    sides = PLANES[table]
    with matplotlib.rc_context(DRAWING):
        figure = Figure(figsize=(7.6, 5.2), layout='constrained')
        axes = figure.add_subplot()
        axes.set(**{side: f'{score} {domain}' for side, (domain, score) in sides.items()})
        for number, arm in enumerate(ARMS[table], 1):
            score_sx = mean_scores(table, lines, arm)
            if not len(score_sx):
                continue
            fast, slow = (
                [
                    score_sx.mean(0)[place[domain, answers, score]]
                    for domain, score in sides.values()
                ]
                for answers in ('fast', 'slow')
            )
            if not np.isfinite([fast, slow]).all():  # a domain that was not asked about
                continue
            axes.plot(*zip(fast, slow, strict=True), color=LIGHT['rule'], linewidth=1)
            axes.plot(*fast, 'o', color=LIGHT['fast'], markerfacecolor=LIGHT['paper'])
            axes.plot(*slow, 'o', color=LIGHT['slow'], label=f'{number}  {arm}')
            label = dict(xytext=(4, 3), textcoords='offset points', fontsize=9)
            axes.annotate(str(number), slow, **label, color=LIGHT['ink'])
        key = dict(loc='outside right upper', frameon=False, handlelength=0, markerscale=0)
        if axes.lines:
            figure.legend(**key, labelcolor=LIGHT['ink'])
    return figure
