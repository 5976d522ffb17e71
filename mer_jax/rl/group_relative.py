"""From reward terms to one advantage a branch, relative to its group."""

import dataclasses

import jax.numpy as jnp

from mer_jax.group import RewardTerms
from mer_jax.methods.mer_r1_rewards import Calibration

DISENTANGLE = ('none', 'reward', 'advantage')
SPACES = ('off', 'reward', 'advantage', 'mixed')
LEVELS = ('category', 'word')
SIDES = ('recall', 'precision', 'both')


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weight of each reward term; `f` counts only where the rewards are not disentangled."""

    recall: float = 1.0
    precision: float = 1.0
    f: float = 1.0
    form: float = 0.1


@dataclasses.dataclass(frozen=True)
class CalibrationRule:
    """Slow-fast confidence calibration: how much, where, of what, which sides."""

    weight: float = 0.2
    space: str = 'advantage'
    level: str = 'category'
    sides: str = 'both'


def standardise(x_bg, scale: bool = True):
    """Each row against its own group: (x − mean) / (std + 1e-6), f[b, g].

    A group whose members are all equal gives exactly 0, whatever the mean rounds to. With
    scale=False only the mean is taken off (Dr. GRPO, arXiv 2503.20783).
    """
    centred = x_bg - x_bg.mean(1, keepdims=True)
    if scale:
        centred = centred / (x_bg.std(1, keepdims=True) + 1e-6)
    varies = x_bg.max(1, keepdims=True) > x_bg.min(1, keepdims=True)
    return jnp.where(varies, centred, 0.0)


def group_advantage(
    terms: RewardTerms,
    calibration: Calibration,
    *,
    weights: Weights,
    rule: CalibrationRule,
    disentangle: str,
    scale: bool,
):
    """The advantage of each branch, f[b, g]; the variants are listed in docs/METHOD.md.

    disentangle: 'none' = one F reward; 'reward' = recall and precision are rewards of their own but
    are added before they are standardised; 'advantage' = each is standardised, then they are added.
    rule.space: 'reward' adds a side of the calibration to the reward it belongs to, before that is
    standardised; 'advantage' standardises the side by itself and adds it to the advantage; 'mixed'
    does each with half the weight.
    """
    within = {'off': 0.0, 'reward': rule.weight, 'advantage': 0.0, 'mixed': rule.weight / 2}
    beside = {'off': 0.0, 'reward': 0.0, 'advantage': rule.weight, 'mixed': rule.weight / 2}
    recall_side = calibration.recall if rule.sides in ('recall', 'both') else 0.0
    precision_side = calibration.precision if rule.sides in ('precision', 'both') else 0.0

    recall = terms.recall + within[rule.space] * recall_side
    precision = terms.precision + within[rule.space] * precision_side
    if disentangle == 'none':
        f = terms.f + within[rule.space] * (recall_side + precision_side)
        advantage = standardise(weights.f * f + weights.form * terms.form, scale)
    elif disentangle == 'reward':
        reward = weights.recall * recall + weights.precision * precision
        advantage = standardise(reward + weights.form * terms.form, scale)
    else:
        advantage = weights.recall * standardise(recall, scale)
        advantage += weights.precision * standardise(precision, scale)
        advantage += weights.form * standardise(terms.form, scale)
    if beside[rule.space] and rule.sides in ('recall', 'both'):
        advantage += beside[rule.space] * standardise(calibration.recall, scale)
    if beside[rule.space] and rule.sides in ('precision', 'both'):
        advantage += beside[rule.space] * standardise(calibration.precision, scale)
    return advantage
