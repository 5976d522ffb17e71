"""MER-R1 (arXiv 2606.27652): slow-fast thinking, recall and precision as separate advantages.

A slow branch reasons, then answers; a fast one answers at once. Each slow branch earns recall and
precision of its answer over emotion wheels, and a small reward for its form (reward
disentanglement); each is standardised in the group by itself (advantage disentanglement). Slow-fast
confidence calibration compares, at the first token of each answered word, the probability of the
gold categories after the branch's own reasoning with that after an empty think block. Formulas,
sources and our readings of them: docs/METHOD.md.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mer_jax.data.clips import Clip
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.group import Prompts, Rollout
from mer_jax.methods.mer_r1_answers import SCORES, describe
from mer_jax.methods.mer_r1_reading import FAST_OPENING, Reader, Reading
from mer_jax.methods.mer_r1_rewards import (
    Calibration,
    calibrate_categories,
    calibrate_words,
    category_confidence,
    reward_terms,
)
from mer_jax.methods.method import Method, Words
from mer_jax.models.omni import Omni
from mer_jax.rl.group_relative import spread, standardise
from mer_jax.rl.score import Sampling, branch_hidden, distribution_before

OPENINGS = {'slow': '<think>', 'fast': FAST_OPENING}
TERMS = ('recall', 'precision', 'f', 'form')
FIGURES = ('calibration_recall', 'calibration_precision')  # of a step, besides those of TERMS
CHOICES = {  # keys of a config: the values that they can have
    'learn.disentangle': ('none', 'reward', 'advantage'),
    'learn.calibration.space': ('off', 'reward', 'advantage', 'mixed'),
    'learn.calibration.level': ('category', 'word'),
    'learn.calibration.sides': ('recall', 'precision', 'both'),
}
AT_LEAST = {
    'rollout.fast': 0,
    'rollout.echo_tokens': 8,
    'rollout.anchors': 1,
    'learn.calibration.weight': 0,
}
AT_MOST = {
    'rollout.fast': 4096,
    'rollout.echo_tokens': 1_048_576,
    'rollout.anchors': 65_536,
    'learn.calibration.weight': 1e6,
}
ABOVE_ZERO = SHARES_OF_TOKENS = ()
WORDS = {'data.wheels': 'parrott,ekman'}  # lists of words that a config must have: an example


@dataclasses.dataclass(frozen=True)
class CalibrationRule:
    """Slow-fast confidence calibration: how much, where, of which words, on which sides."""

    weight: float = 0.2
    space: str = 'advantage'
    level: str = 'category'
    sides: str = 'both'


@dataclasses.dataclass(frozen=True)
class Rules:
    """Every switch of the method; config.learn and config.rollout hold the same keys."""

    weights: dict[str, float] = dataclasses.field(
        default_factory=lambda: {'recall': 1.0, 'precision': 1.0, 'f': 1.0, 'form': 0.1}
    )
    calibration: CalibrationRule = CalibrationRule()
    disentangle: str = 'advantage'
    standardise: bool = True
    fast: int = 0
    anchors: int = 8
    echo_tokens: int = 24


def make(rules: Rules, words: Words) -> Method:
    """MER-R1 with these rules, for one tokenizer and one set of wheels."""
    starts_wcn = words.wheels.first_tokens(words.encode)
    reader = Reader(words.wheels, words.encode, words.texts.end, rules.anchors, rules.echo_tokens)

    def watch(logp_bgv):
        return category_confidence(logp_bgv, starts_wcn)

    def judge(policy, prompts, rollout, reading, own, sampling):
        terms = reward_terms(reading.named, reading.gold, reading.formed) | own
        sides = calibrate(policy, prompts, rollout, reading, starts_wcn, rules, sampling)
        figures = spread(terms)
        figures |= spread({'recall': sides.recall, 'precision': sides.precision}, 'calibration_')
        return advantage_by_opening(terms, sides, rules), figures

    return Method(
        title='GRPO with one F reward' if rules.disentangle == 'none' else 'MER-R1',
        openings=OPENINGS,
        plotted=('recall', 'precision', 'f', 'form'),
        scored=SCORES,
        terms=TERMS,
        unusable=functools.partial(unusable, words.wheels),
        gold=gold_text,
        watch=watch,
        read=reader.read,
        judge=judge,
        describe=functools.partial(describe, words.wheels),
        right=functools.partial(is_right, words.wheels),
        fast=rules.fast,
    )


def unusable(wheels: Wheels, clip: Clip) -> str | None:
    """Why answers to a clip cannot be judged: none of its gold words is known."""
    if wheels.cells([clip.words]).any():
        return None
    return (
        f'none of its gold words ({", ".join(clip.words)}) is in any of '
        f'data.wheels={",".join(wheels.names)}; add one that has them'
    )


def is_right(wheels: Wheels, gold: Sequence[str], word: str) -> bool:
    """Whether some wheel puts a word into a category of the gold words."""
    gold_wc, word_wc = wheels.cells([gold, [word]])
    return bool((gold_wc & word_wc).any())


def gold_text(clip: Clip, mode: str) -> str | None:
    """The rest of a gold branch after its opening; a slow one needs gold reasoning."""
    if mode == 'fast':
        return f'{", ".join(clip.words)}</answer>'
    if not clip.reasoning:
        return None
    return f'{clip.reasoning}</think><answer>{", ".join(clip.answer or clip.words)}</answer>'


def calibrate(
    policy: Omni,
    prompts: Prompts,
    rollout: Rollout,
    reading: Reading,
    starts_wcn,
    rules: Rules,
    sampling: Sampling,
) -> Calibration:
    """Slow-fast confidence calibration from the decoded confidences and one echo forward.

    Slow confidence is that recorded with each anchor while it was decoded; fast confidence is read
    before the same word in the echo, the branch's answer after an empty think block.
    """
    branches, decoder = rollout.branches, policy.decoder
    echo = jnp.asarray(reading.echo).at[:, :, 0].set(prompts.start[:, None])
    hidden = branch_hidden(policy, prompts, rollout.keys, echo)
    fast = distribution_before(decoder, hidden, reading.echo_anchor, sampling)
    at = jnp.maximum(reading.anchor, 0)
    if rules.calibration.level == 'category':
        slow = jnp.take_along_axis(branches.watched, at[..., None, None], axis=2)
        fast = category_confidence(fast, starts_wcn)
        exists_wc = (starts_wcn >= 0).any(-1)
        return calibrate_categories(slow, fast, reading.anchor, reading.gold, exists_wc)
    slow = jnp.take_along_axis(branches.logp, at, axis=2)
    word = jnp.take_along_axis(branches.token, at, axis=2)
    fast = jnp.take_along_axis(fast, word[..., None], axis=-1)[..., 0]
    return calibrate_words(slow, fast, reading.anchor, reading.right)


def acting_terms(values: dict) -> tuple[str, ...]:
    """The method's own terms whose weights act, by the values of a config under dotted keys."""
    return (
        ('f', 'form') if values['learn.disentangle'] == 'none' else ('recall', 'precision', 'form')
    )


def advantage_by_opening(terms: dict, sides: Calibration, rules: Rules):
    """The advantage of each branch, f[b, g], where the last `rules.fast` of a group are fast ones.

    Slow and fast branches are a group each: an opening is forced, so no branch earns anything by
    it. A fast branch has no reasoning to calibrate.
    """
    if not rules.fast:
        return advantage(terms, sides, rules)
    slow, of_slow = jax.tree.map(lambda x_bg: x_bg[:, : -rules.fast], (terms, sides))
    fast, of_fast = jax.tree.map(lambda x_bg: x_bg[:, -rules.fast :], (terms, sides))
    still = jax.tree.map(jnp.zeros_like, of_fast)
    parts = advantage(slow, of_slow, rules), advantage(fast, still, rules)
    return jnp.concatenate(parts, axis=1)


def advantage(terms: dict, sides: Calibration, rules: Rules):
    """The advantage of each branch, f[b, g].

    disentangle: 'none' = one F reward; 'reward' = recall and precision are rewards of their own but
    are added before they are standardised; 'advantage' = each is standardised, then they are added.
    calibration.space: 'reward' adds a side of the calibration to the reward it belongs to, before
    that is standardised; 'advantage' standardises the side by itself and adds it to the advantage;
    'mixed' does each with half the weight. Terms beyond the method's own (`own`) count like form.
    """
    rule, weights = rules.calibration, rules.weights
    within = {'off': 0.0, 'reward': rule.weight, 'advantage': 0.0, 'mixed': rule.weight / 2}
    beside = {'off': 0.0, 'reward': 0.0, 'advantage': rule.weight, 'mixed': rule.weight / 2}
    side = {
        'recall': sides.recall if rule.sides in ('recall', 'both') else 0.0,
        'precision': sides.precision if rule.sides in ('precision', 'both') else 0.0,
    }
    inside = {name: within[rule.space] * x for name, x in side.items()}
    rewards = terms | {name: terms[name] + x for name, x in inside.items()}
    rewards['f'] = terms['f'] + within[rule.space] * (side['recall'] + side['precision'])
    own = tuple(name for name in terms if name not in TERMS)
    names = acting_terms({'learn.disentangle': rules.disentangle})
    if rules.disentangle == 'advantage':
        parts = {name: standardise(rewards[name], rules.standardise) for name in (*names, *own)}
        total = sum(weights[name] * part for name, part in parts.items())
    else:
        reward = sum(weights[name] * rewards[name] for name in (*names, *own))
        total = standardise(reward, rules.standardise)
    if beside[rule.space]:
        for name in ('recall', 'precision'):
            if rule.sides in (name, 'both'):
                total += beside[rule.space] * standardise(side[name], rules.standardise)
    return total
