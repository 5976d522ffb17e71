"""Slow-fast confidence calibration against one computed from scratch by separate full forwards."""

import functools
import types

import jax
import numpy as np
import pytest
import tiny
from tiny_rl import END, PROMPTS, SAMPLING, B, G, S, rolled_out

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.group import Prompts
from mer_jax.methods.mer_r1 import CalibrationRule, Rules, advantage, calibrate, make
from mer_jax.methods.mer_r1_reading import Reading
from mer_jax.methods.mer_r1_rewards import Calibration, set_scores
from mer_jax.methods.method import Words
from mer_jax.models.omni import read_prompts
from mer_jax.rl import step as rl
from mer_jax.rl.score import branch_hidden, distribution
from mer_jax.sharding import make_mesh, named, state_shardings, to_devices

WHEELS = load_wheels(('ekman', 'parrott'))
PLACES = sorted({WHEELS.category(word) for word in WHEELS.row}, key=str)
LEVELS = ('category', 'word')
A, ECHO = 2, 8


def encode(word):
    """One token for each pair of categories; words of disgust begin as those of anger do."""
    ekman, parrott = WHEELS.category(word)
    return [2 + PLACES.index(('anger' if ekman == 'disgust' else ekman, parrott))]


STARTS = WHEELS.first_tokens(encode)
METHODS = {
    level: make(
        Rules(
            weights={'recall': 1.0, 'precision': 2.0, 'f': 1.0, 'form': 0.3, 'own': 0.5},
            calibration=CalibrationRule(weight=0.7, level=level),
        ),
        Words(encode, types.SimpleNamespace(end=END), WHEELS),
    )
    for level in LEVELS
}


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


@pytest.fixture(scope='module')
def rollout(policy):
    """A rollout that recorded the confidence in each category."""
    rolled = rolled_out(policy)
    watched = METHODS['category'].watch(rolled.branches.watched)
    return rolled.replace(branches=rolled.branches.replace(watched=watched))


@pytest.fixture(scope='module')
def reading(rollout):
    """A made-up reading: two words an answer, of which the second is missing here and there."""
    rng, branches = np.random.default_rng(0), jax.device_get(rollout.branches)
    second = np.where(branches.mask[:, :, 6] & (rng.random((B, G)) < 0.6), 6, -1)
    anchor = np.stack([np.full((B, G), 3), second], -1)
    anchor[3, 1] = -1
    echo_anchor = np.where(anchor < 0, -1, [4, 6])
    echo = rng.integers(2, 60, (B, G, ECHO))
    echo[:, :, 0] = 62  # no echo says how its prompt ends
    for b, g, a in np.argwhere(anchor >= 0):
        echo[b, g, echo_anchor[b, g, a]] = branches.token[b, g, anchor[b, g, a]]
    gold = rng.random((B, *STARTS.shape[:2])) < 0.3
    gold[2, 0] = False
    gold[:, 1, 6] = False  # the second wheel has six categories
    return Reading(
        gold=gold,
        named=rng.random((B, G, *STARTS.shape[:2])) < 0.3,
        formed=rng.random((B, G)) < 0.7,
        anchor=anchor,
        right=rng.random((B, G, A)) < 0.5,
        echo=echo,
        echo_anchor=echo_anchor,
    )


def full_prompt(b: int, said) -> dict:
    """Prompt b followed by tokens, the last of them apart, right-padded to a common size."""
    mask = PROMPTS.mask[b]
    token = np.concatenate([PROMPTS.token[b][mask], said])
    beyond = PROMPTS.next_position[b] + np.arange(len(said))
    place = np.concatenate([PROMPTS.position[b][:, mask], np.tile(beyond, (3, 1))], -1)
    room = mask.size + S - len(token) + 1
    return {
        'token': np.pad(token[:-1], (0, room)),
        'mask': np.pad(np.ones(len(token) - 1, bool), (0, room)),
        'position': np.pad(place[:, :-1], ((0, 0), (0, room))),
        'start': token[-1],
        'next_position': beyond[-1],
    }


@jax.jit
def next_logp(policy, prompts):
    """log π f[n, v] of the token after each prompt."""
    keys = read_prompts(policy.decoder, prompts, np.zeros((len(prompts.start), 0, 32), np.float32))
    hidden = branch_hidden(policy, prompts, keys, prompts.start[:, None, None])
    return distribution(policy.decoder, hidden[:, 0, 0], SAMPLING)


def logp_before(policy, token_bgs, index_bga):
    """log π f[b, g, a, v] before the tokens at these indices, a full forward for each of them."""
    said = np.array(token_bgs)
    said[:, :, 0] = PROMPTS.start[:, None]
    rows = [
        full_prompt(b, said[b, g, : max(index_bga[b, g, a], 1)])
        for b, g, a in np.ndindex(index_bga.shape)
    ]
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    prompts = Prompts(**arrays, media=tiny.silence(len(rows), arrays['token'].shape[1]))
    return np.asarray(next_logp(policy, prompts), np.float64).reshape(*index_bga.shape, -1)


def confidence_by_hand(logp_v):
    """log Σ π over the tokens that begin a word of a category, f[w, c]; NaN without such tokens."""
    sure = np.full(STARTS.shape[:2], np.nan)
    for w, c in np.ndindex(sure.shape):
        if tokens := [token for token in STARTS[w, c] if token >= 0]:
            sure[w, c] = np.log(sum(np.exp(logp_v[token]) for token in tokens) + 1e-10)
    return sure


def mean(values):
    values = [value for value in values if not np.isnan(value)]
    return sum(values) / len(values) if values else np.nan


def sides_by_hand(slow_av, fast_av, token_a, right_a, gold_wc, level):
    """Recall and precision side of a branch from the distributions before its words."""
    if level == 'word':
        gain = [s[t] - f[t] for s, f, t in zip(slow_av, fast_av, token_a, strict=True)]
        right = mean([x for x, good in zip(gain, right_a, strict=True) if good])
        wrong = mean([-x for x, good in zip(gain, right_a, strict=True) if not good])
        return right, wrong
    pairs = zip(slow_av, fast_av, strict=True)
    gains = [confidence_by_hand(slow_v) - confidence_by_hand(fast_v) for slow_v, fast_v in pairs]
    recall, precision = [], []
    for w in np.flatnonzero(gold_wc.any(-1)):
        gain_c = [mean([gain[w, c] for gain in gains]) for c in range(gold_wc.shape[1])]
        recall.append(mean([x for x, gold in zip(gain_c, gold_wc[w], strict=True) if gold]))
        precision.append(mean([-x for x, gold in zip(gain_c, gold_wc[w], strict=True) if not gold]))
    return mean(recall), mean(precision)


def from_scratch(policy, branches, reading, level, shift=0, echo_shift=0):
    """The calibration by full forwards; shifts read beside the anchors, as a mistake would."""
    slow = logp_before(policy, branches.token, reading.anchor + shift)
    fast = logp_before(policy, reading.echo, reading.echo_anchor + echo_shift)
    found = np.zeros((2, B, G))
    for b, g in np.ndindex(B, G):
        there = reading.anchor[b, g] >= 0
        token = np.asarray(branches.token)[b, g, reading.anchor[b, g][there]]
        given = slow[b, g][there], fast[b, g][there], token, reading.right[b, g][there]
        found[:, b, g] = sides_by_hand(*given, reading.gold[b], level)
    return np.nan_to_num(found)


@functools.cache
def compiled(level):
    rules = Rules(calibration=CalibrationRule(level=level))
    fixed = dict(starts_wcn=STARTS, rules=rules, sampling=SAMPLING)
    return jax.jit(functools.partial(calibrate, **fixed))


@pytest.mark.parametrize('level', LEVELS)
def test_calibration_is_that_of_separate_full_forwards(policy, rollout, reading, level):
    found = compiled(level)(policy, PROMPTS, rollout, reading)
    wanted = from_scratch(policy, rollout.branches, reading, level)
    np.testing.assert_allclose([found.recall, found.precision], wanted, atol=1e-4)
    assert (np.abs(wanted) > 0.05).mean(axis=(1, 2)).min() > 0.3
    # Nothing beside the anchors would do.
    for wrong in ({'shift': -1}, {'shift': 1}, {'echo_shift': -1}, {'echo_shift': 1}):
        beside = from_scratch(policy, rollout.branches, reading, level, **wrong)
        assert (np.abs(beside - wanted) > 0.05).mean(axis=(1, 2)).min() > 0.3


def test_the_confidence_that_is_watched_is_that_of_the_tokens_that_begin_words(rollout, policy):
    logp = np.asarray(rolled_out(policy).branches.watched, np.float64)[0, 0, 3]
    found, wanted = np.asarray(rollout.branches.watched)[0, 0, 3], confidence_by_hand(logp)
    exists = ~np.isnan(wanted)
    np.testing.assert_allclose(found[exists], wanted[exists], rtol=1e-5)
    np.testing.assert_allclose(found[~exists], np.log(1e-10), rtol=1e-5)
    assert exists.sum(-1).tolist() == [6, 6]  # of 7 with disgust, and of 6


OWN = {'own': np.random.default_rng(4).normal(size=(B, G)).astype(np.float32)}


def standardised(x_bg):
    return (x_bg - x_bg.mean(1, keepdims=True)) / (x_bg.std(1, keepdims=True) + 1e-6)


@functools.cache
def assessed(level):
    """The compiled assessment with MER-R1's judge."""
    fixed = dict(judge=METHODS[level].judge, learn=rl.Learn(), sampling=SAMPLING)
    return jax.jit(functools.partial(rl.assess, **fixed))


@pytest.mark.parametrize('level', LEVELS)
def test_the_judge_adds_terms_and_calibration_to_the_advantage(policy, rollout, reading, level):
    found, _, figures = assessed(level)(policy, PROMPTS, rollout, reading, OWN)
    scores = set_scores(reading.named, reading.gold[:, None])
    terms = dict(zip(('recall', 'precision', 'f'), map(np.asarray, scores), strict=True))
    terms |= {'form': np.float64(reading.formed)} | OWN
    sides = from_scratch(policy, rollout.branches, reading, level)
    weighted = [(1, 'recall'), (2, 'precision'), (0.3, 'form'), (0.5, 'own')]
    parts = [weight * standardised(terms[name]) for weight, name in weighted]
    parts += [0.7 * standardised(side) for side in sides]
    np.testing.assert_allclose(found, sum(parts), atol=2e-3)
    for name, x in terms.items():
        np.testing.assert_allclose(figures[name], x.mean(), rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(figures[f'{name}_std'], x.std(1).mean(), rtol=1e-5)
    for name, x in zip(('recall', 'precision'), sides, strict=True):
        np.testing.assert_allclose(figures[f'calibration_{name}'], x.mean(), atol=1e-4)
        np.testing.assert_allclose(figures[f'calibration_{name}_std'], x.std(1).mean(), atol=1e-4)


def test_the_advantage_on_a_2x2x2_mesh_equals_that_on_one_device(policy, rollout, reading):
    alone, _, figures = assessed('category')(policy, PROMPTS, rollout, reading, OWN)
    mesh = make_mesh(2, 2, 2)
    with jax.set_mesh(mesh):
        placed = jax.device_put(policy, state_shardings(mesh, policy))
        given = jax.device_get((PROMPTS, rollout.branches, reading, OWN))
        prompts, branches, read, own = to_devices(mesh, given)
        keys = jax.device_put(rollout.keys, named(mesh, None, 'batch'))
        there = rollout.replace(branches=branches, features=None, keys=keys)
        found, _, figures_8 = jax.jit(assessed('category').__wrapped__)(
            placed, prompts, there, read, own
        )
    np.testing.assert_allclose(found, alone, atol=1e-4)
    assert figures.keys() == figures_8.keys()
    for name, value in figures.items():
        np.testing.assert_allclose(figures_8[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    'change',
    [
        {'disentangle': 'none'},
        {'disentangle': 'reward'},
        {'standardise': False},
        {'calibration': {'level': 'word'}},
        {'calibration': {'space': 'off'}},
        {'calibration': {'space': 'reward'}},
        {'calibration': {'space': 'mixed'}},
        {'calibration': {'sides': 'recall'}},
        {'calibration': {'sides': 'precision'}},
        {'calibration': {'weight': 0.1}},
    ],
    ids=str,
)
def test_every_switch_changes_the_advantage(policy, rollout, reading, change):
    def under(calibration=None, **switches):
        rule = CalibrationRule(**(calibration or {}))
        rules = Rules(calibration=rule, **switches)
        found = compiled(rule.level)(policy, PROMPTS, rollout, reading)
        scores = set_scores(reading.named, reading.gold[:, None])
        terms = dict(zip(('recall', 'precision', 'f'), scores, strict=True))
        terms['form'] = np.float32(reading.formed)
        return np.asarray(advantage(terms, Calibration(found.recall, found.precision), rules))

    assert np.abs(under(**change) - under()).max() > 1e-2


def row(*values):
    return np.array([values], np.float32)


def test_without_scaling_the_sides_of_the_calibration_are_not_scaled_either():
    terms = {'recall': row(0, 0, 1, 1), 'precision': row(0, 1, 0, 1)}
    terms |= {'f': row(0, 0, 0, 4), 'form': row(1, 0, 0, 1)}
    sides = Calibration(recall=row(4, 0, 0, 0), precision=row(0, 8, 0, 0))
    rules = Rules(
        weights={'recall': 1, 'precision': 1, 'f': 1, 'form': 0},
        calibration=CalibrationRule(weight=0.5, space='advantage'),
        standardise=False,
    )
    # Less their means, the terms give -1, 0, 0, 1, the sides 3, -1, -1, -1 and -2, 6, -2, -2.
    np.testing.assert_allclose(advantage(terms, sides, rules), row(-0.5, 2.5, -1.5, -0.5))
