"""MER-R1's advantage by hand in every variant, its gold texts and the clips it refuses."""

import dataclasses
import types

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods.mer_r1 import (
    CHOICES,
    OPENINGS,
    CalibrationRule,
    Rules,
    advantage,
    advantage_by_opening,
    make,
)
from mer_jax.methods.mer_r1_rewards import Calibration
from mer_jax.methods.method import Words

ROOT_2, ROOT_3 = 2**0.5, 3**0.5
FORMLESS = {'recall': 1, 'precision': 1, 'f': 1, 'form': 0}
DISENTANGLE = CHOICES['learn.disentangle']
SPACES = CHOICES['learn.calibration.space']
SIDES = CHOICES['learn.calibration.sides']
OFF = CalibrationRule(space='off')


def row(*values):
    return np.array([values], np.float32)


TERMS = {
    'recall': row(0, 0, 1, 1),
    'precision': row(0, 1, 0, 1),
    'f': row(0, 0, 0, 4),
    'form': row(1, 0, 0, 1),
}
STILL = {
    'recall': row(*[0.5] * 4),
    'precision': row(*[0.1] * 4),
    'f': row(*[1 / 3] * 4),
    'form': row(*[1] * 4),
}
MOVED = Calibration(recall=row(4, 0, 0, 0), precision=row(0, 8, 0, 0))
# Standardised by hand: deviation 1/2 for the halves, 4 · √3 / 4 for one of four that is 4.
RECALL, PRECISION = np.array([-1, -1, 1, 1]), np.array([-1, 1, -1, 1])
FORM, LAST = np.array([1, -1, -1, 1]), np.array([-1, -1, -1, 3]) / ROOT_3
FIRST, SECOND = np.array([3, -1, -1, -1]) / ROOT_3, np.array([-1, 3, -1, -1]) / ROOT_3


def found(terms=TERMS, sides=MOVED, weights=FORMLESS, rule=OFF, how='advantage', scale=True):
    """The advantage of the only group."""
    rules = Rules(weights=weights, calibration=rule, disentangle=how, standardise=scale)
    return np.asarray(advantage(terms, sides, rules))[0]


def near(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('how', DISENTANGLE)
@pytest.mark.parametrize('space', SPACES)
def test_a_group_whose_terms_do_not_vary_teaches_exactly_nothing(how, space):
    still = Calibration(recall=row(*[0.1] * 4), precision=row(*[1 / 3] * 4))
    terms = STILL | {'own': row(*[0.7] * 4)}
    weights = FORMLESS | {'own': 3.0}
    for scale in (True, False):
        rule = CalibrationRule(space=space)
        got = found(terms, still, weights, rule=rule, how=how, scale=scale)
        np.testing.assert_array_equal(got, np.zeros(4))


@pytest.mark.parametrize(
    ('how', 'expected'),
    [
        ('none', LAST),
        # The sum is 0, 1, 1, 2: deviation 1/√2.
        ('reward', np.array([-1, 0, 0, 1]) * ROOT_2),
        ('advantage', RECALL + PRECISION),
    ],
)
def test_each_disentanglement_by_hand(how, expected):
    near(found(how=how), expected)


def test_form_is_added_to_the_reward_or_to_the_advantage():
    weights = FORMLESS | {'form': 2.0}
    near(found(weights=weights), RECALL + PRECISION + 2 * FORM)
    # recall + precision + 2 · form = 2, 1, 1, 4: mean 2, deviation √1.5
    near(found(weights=weights, how='reward'), np.array([0, -1, -1, 2]) / 1.5**0.5)
    # f + 2 · form = 2, 0, 0, 6: mean 2, deviation √6
    near(found(weights=weights, how='none'), np.array([0, -2, -2, 4]) / 6**0.5)


def test_without_scale_the_terms_are_only_centred():
    weights = {'recall': 2, 'precision': 3, 'f': 1, 'form': 0.5}
    for how in ('reward', 'advantage'):
        got = found(weights=weights, how=how, scale=False)
        near(got, 2 * RECALL / 2 + 3 * PRECISION / 2 + 0.5 * FORM / 2)


def test_slow_and_fast_branches_are_a_group_each_and_fast_ones_are_not_calibrated():
    both = {name: np.concatenate([x, 2 * x + 1], 1) for name, x in TERMS.items()}
    sides = Calibration(*(np.concatenate([x, 9 * x], 1) for x in (MOVED.recall, MOVED.precision)))
    rule = CalibrationRule(weight=0.5, space='advantage')
    rules = Rules(weights=FORMLESS, calibration=rule, fast=4)
    got = np.asarray(advantage_by_opening(both, sides, rules))[0]
    near(got[:4], RECALL + PRECISION + (FIRST + SECOND) / 2)
    near(got[4:], RECALL + PRECISION)  # of 2 x + 1, which standardises to the same
    alone = np.asarray(advantage_by_opening(TERMS, MOVED, dataclasses.replace(rules, fast=0)))
    np.testing.assert_array_equal(alone, advantage(TERMS, MOVED, rules))


@pytest.mark.parametrize(
    ('name', 'own'), [('recall', RECALL), ('precision', PRECISION), ('form', FORM), ('f', 0)]
)
def test_in_the_advantage_a_weight_scales_only_its_own_term(name, own):
    weights = dict.fromkeys(FORMLESS, 1)
    heavier = found(weights=weights | {name: 5.0})
    near(heavier - found(weights=weights), 4 * own + np.zeros(4))


def test_the_wider_term_drowns_the_other_in_the_reward_and_not_in_the_advantage():
    terms = TERMS | {'precision': TERMS['precision'] / 1000}
    near(found(terms, how='advantage'), RECALL + 0.998 * PRECISION)
    near(found(terms, how='reward'), RECALL + 0.001 * PRECISION)


@pytest.mark.parametrize(
    ('space', 'sides', 'expected'),
    [
        ('off', 'both', RECALL + PRECISION),
        ('advantage', 'both', RECALL + PRECISION + (FIRST + SECOND) / 2),
        ('advantage', 'recall', RECALL + PRECISION + FIRST / 2),
        ('advantage', 'precision', RECALL + PRECISION + SECOND / 2),
        # recall + side / 2 = 2, 0, 1, 1: deviation 1/√2.
        ('reward', 'recall', np.array([1, -1, 0, 0]) * ROOT_2 + PRECISION),
        # precision + side / 2 = 0, 5, 0, 1: mean 3/2, deviation √4.25.
        ('reward', 'precision', RECALL + np.array([-1.5, 3.5, -1.5, -0.5]) / 4.25**0.5),
        (
            'reward',
            'both',
            np.array([1, -1, 0, 0]) * ROOT_2 + np.array([-1.5, 3.5, -1.5, -0.5]) / 4.25**0.5,
        ),
        # recall + side / 4 = 1, 0, 1, 1: deviation √3 / 4; and a quarter of the side beside.
        ('mixed', 'recall', np.array([1, -3, 1, 1]) / ROOT_3 + PRECISION + FIRST / 4),
        # precision + side / 4 = 0, 3, 0, 1: mean 1, deviation √1.5.
        ('mixed', 'precision', RECALL + np.array([-1, 2, -1, 0]) / 1.5**0.5 + SECOND / 4),
    ],
)
def test_each_space_and_side_of_the_calibration_by_hand(space, sides, expected):
    near(found(rule=CalibrationRule(weight=0.5, space=space, sides=sides)), expected)


@pytest.mark.parametrize(
    ('how', 'sides', 'expected'),
    [
        # f + (recall + precision side) / 2 = 2, 4, 0, 4: mean 2.5, deviation √2.75.
        ('none', 'both', np.array([-0.5, 1.5, -2.5, 1.5]) / 2.75**0.5),
        # f + recall side / 2 = 2, 0, 0, 4: mean 1.5, deviation √2.75.
        ('none', 'recall', np.array([0.5, -1.5, -1.5, 2.5]) / 2.75**0.5),
        # recall + precision + both sides / 2 = 2, 5, 1, 2: mean 2.5, deviation 1.5.
        ('reward', 'both', np.array([-0.5, 2.5, -1.5, -0.5]) / 1.5),
    ],
)
def test_in_the_reward_the_calibration_is_added_before_standardising(how, sides, expected):
    near(found(rule=CalibrationRule(weight=0.5, space='reward', sides=sides), how=how), expected)


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('how', DISENTANGLE)
def test_a_calibration_without_weight_is_none(space, sides, how):
    rule = CalibrationRule(weight=0.0, space=space, sides=sides)
    np.testing.assert_array_equal(found(rule=rule, how=how), found(how=how))


OWN = {'own': row(0, 0, 0, 8)}  # standardised: LAST


def test_a_reward_of_the_users_own_is_standardised_by_itself_in_the_advantage():
    weights = FORMLESS | {'own': 0.5}
    near(found(TERMS | OWN, weights=weights), RECALL + PRECISION + LAST / 2)
    # Centred alone: −2, −2, −2 and 6.
    centred = (RECALL + PRECISION) / 2 + np.array([-1, -1, -1, 3])
    near(found(TERMS | OWN, weights=weights, scale=False), centred)


@pytest.mark.parametrize(
    ('how', 'expected'),
    [
        # recall + precision + own / 4 = 0, 1, 1, 4: mean 1.5, deviation 1.5.
        ('reward', np.array([-1.5, -0.5, -0.5, 2.5]) / 1.5),
        # f + own / 4 + 2 · form = 2, 0, 0, 8: mean 2.5, deviation √10.75.
        ('none', np.array([-0.5, -2.5, -2.5, 5.5]) / 10.75**0.5),
    ],
)
def test_a_reward_of_the_users_own_joins_the_sum_that_is_standardised(how, expected):
    form = {'reward': 0.0, 'none': 2.0}[how]
    near(found(TERMS | OWN, weights=FORMLESS | {'form': form, 'own': 0.25}, how=how), expected)


def test_several_rewards_of_the_users_own_have_their_own_weights():
    terms = TERMS | OWN | {'other': row(6, 0, 0, 0)}  # standardised: FIRST
    got = found(terms, weights=FORMLESS | {'own': 0.5, 'other': 3.0})
    near(got, RECALL + PRECISION + LAST / 2 + 3 * FIRST)
    assert (found(terms, weights=FORMLESS | {'own': 0.0, 'other': 0.0}) == found()).all()


@pytest.fixture(scope='module')
def method():
    texts = types.SimpleNamespace(end=0)
    return make(Rules(), Words(lambda text: [len(text)], texts, load_wheels(('ekman',))))


def test_a_gold_branch_is_the_tagged_reasoning_and_answer(method):
    clip = Clip('c7', words=('sad', 'lonely'), reasoning='eyes down: sad.', answer=('sad',))
    slow, fast = (OPENINGS[mode] + method.gold(clip, mode) for mode in ('slow', 'fast'))
    assert slow == '<think>eyes down: sad.</think><answer>sad</answer>'
    assert fast == '<think></think><answer>sad, lonely</answer>'
    without = dataclasses.replace(clip, answer=())
    assert method.gold(without, 'slow').endswith('<answer>sad, lonely</answer>')


def test_a_clip_without_reasoning_has_no_slow_gold_branch(method):
    clip = Clip('c7', words=('sad',))
    assert method.gold(clip, 'slow') is None and method.gold(clip, 'fast') == 'sad</answer>'


def test_a_clip_none_of_whose_words_is_in_a_wheel_cannot_be_judged(method):
    assert method.unusable(Clip('c7', words=('qwerty', 'sad'))) is None
    told = method.unusable(Clip('c7', words=('qwerty', 'asdf')))
    assert told == (
        'none of its gold words (qwerty, asdf) is in any of data.wheels=ekman; '
        'add one that has them'
    )


def test_the_title_tells_the_baseline_from_the_method():
    words = Words(lambda text: [len(text)], types.SimpleNamespace(end=0), load_wheels(('ekman',)))
    assert make(Rules(), words).title == 'MER-R1'
    assert make(Rules(disentangle='none'), words).title == 'GRPO with one F reward'
