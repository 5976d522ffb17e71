"""Advantages by hand, in every variant, and what a term may and may not do to another."""

import dataclasses

import jax
import numpy as np
import pytest

from mer_jax.group import RewardTerms
from mer_jax.methods.mer_r1_rewards import Calibration
from mer_jax.rl.group_relative import (
    DISENTANGLE,
    SIDES,
    SPACES,
    CalibrationRule,
    Weights,
    group_advantage,
    standardise,
)

ROOT_2, ROOT_3 = 2**0.5, 3**0.5
FORMLESS = Weights(recall=1, precision=1, f=1, form=0)
OFF = CalibrationRule(space='off')


def row(*values):
    return np.array([values], np.float32)


TERMS = RewardTerms(
    recall=row(0, 0, 1, 1), precision=row(0, 1, 0, 1), f=row(0, 0, 0, 4), form=row(1, 0, 0, 1)
)
STILL = RewardTerms(
    recall=row(*[0.5] * 4), precision=row(*[0.1] * 4), f=row(*[1 / 3] * 4), form=row(*[1] * 4)
)
MOVED = Calibration(recall=row(4, 0, 0, 0), precision=row(0, 8, 0, 0))
# Standardised by hand: deviation 1/2 for the halves, 4 · √3 / 4 for one of four that is 4.
RECALL, PRECISION = np.array([-1, -1, 1, 1]), np.array([-1, 1, -1, 1])
FORM, LAST = np.array([1, -1, -1, 1]), np.array([-1, -1, -1, 3]) / ROOT_3
FIRST, SECOND = np.array([3, -1, -1, -1]) / ROOT_3, np.array([-1, 3, -1, -1]) / ROOT_3


def advantage(terms=TERMS, calibration=MOVED, weights=FORMLESS, rule=OFF, disentangle='advantage'):
    found = group_advantage(
        terms, calibration, weights=weights, rule=rule, disentangle=disentangle, scale=True
    )
    return np.asarray(found[0])


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def test_standardise_takes_the_mean_off_and_divides_by_the_deviation():
    found = standardise(np.float32([[1, 2, 3], [10, 10, 40]]))
    near(found, [np.array([-1, 0, 1]) / (2 / 3) ** 0.5, np.array([-1, -1, 2]) / ROOT_2])


def test_without_scale_only_the_mean_is_taken_off():
    found = standardise(np.float32([[1, 2, 6], [7, 7, 7]]), scale=False)
    np.testing.assert_array_equal(found, [[-2, -1, 3], [0, 0, 0]])


@pytest.mark.parametrize('scale', [True, False])
@pytest.mark.parametrize(
    ('value', 'size'), [(0.1, 7), (1 / 3, 8), (1e30, 5), (-0.7, 3), (0, 2), (1e-30, 6)]
)
def test_a_group_of_equals_is_exactly_zero(value, size, scale):
    for function in (standardise, jax.jit(standardise, static_argnums=1)):
        found = np.asarray(function(np.full((2, size), value, np.float32), scale))
        np.testing.assert_array_equal(found, np.zeros((2, size)))


def test_groups_do_not_see_each_other():
    groups = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    alone = np.concatenate([standardise(groups[i : i + 1]) for i in range(3)])
    shifted = groups * np.float32([[1], [50], [1]]) + np.float32([[0], [9], [0]])
    near(standardise(groups), alone)
    near(standardise(shifted), alone)


@pytest.mark.parametrize('disentangle', DISENTANGLE)
@pytest.mark.parametrize('space', SPACES)
def test_a_group_whose_terms_do_not_vary_teaches_exactly_nothing(disentangle, space):
    still = Calibration(recall=row(*[0.1] * 4), precision=row(*[1 / 3] * 4))
    found = advantage(STILL, still, rule=CalibrationRule(space=space), disentangle=disentangle)
    np.testing.assert_array_equal(found, np.zeros(4))


@pytest.mark.parametrize(
    ('disentangle', 'expected'),
    [
        ('none', LAST),
        # The sum is 0, 1, 1, 2: deviation 1/√2.
        ('reward', np.array([-1, 0, 0, 1]) * ROOT_2),
        ('advantage', RECALL + PRECISION),
    ],
)
def test_each_disentanglement_by_hand(disentangle, expected):
    near(advantage(disentangle=disentangle), expected)


def test_form_is_added_to_the_reward_or_to_the_advantage():
    weights = Weights(form=2.0)
    near(advantage(weights=weights), RECALL + PRECISION + 2 * FORM)
    # recall + precision + 2 · form = 2, 1, 1, 4: mean 2, deviation √1.5
    expected = np.array([0, -1, -1, 2]) / 1.5**0.5
    near(advantage(weights=weights, disentangle='reward'), expected)
    # f + 2 · form = 2, 0, 0, 6: mean 2, deviation √6
    expected = np.array([0, -2, -2, 4]) / 6**0.5
    near(advantage(weights=weights, disentangle='none'), expected)


def test_without_scale_the_terms_are_only_centred():
    weights = Weights(recall=2, precision=3, form=0.5)
    for disentangle in ('reward', 'advantage'):
        found = group_advantage(
            TERMS, MOVED, weights=weights, rule=OFF, disentangle=disentangle, scale=False
        )
        near(found[0], 2 * RECALL / 2 + 3 * PRECISION / 2 + 0.5 * FORM / 2)


@pytest.mark.parametrize(
    ('name', 'own'), [('recall', RECALL), ('precision', PRECISION), ('form', FORM), ('f', 0)]
)
def test_in_the_advantage_a_weight_scales_only_its_own_term(name, own):
    weights = Weights(recall=1, precision=1, f=1, form=1)
    heavier = dataclasses.replace(weights, **{name: 5.0})
    near(advantage(weights=heavier) - advantage(weights=weights), 4 * own + np.zeros(4))


def test_the_wider_term_drowns_the_other_in_the_reward_and_not_in_the_advantage():
    terms = TERMS.replace(precision=TERMS.precision / 1000)
    near(advantage(terms, disentangle='advantage'), RECALL + 0.998 * PRECISION)
    near(advantage(terms, disentangle='reward'), RECALL + 0.001 * PRECISION)


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
    rule = CalibrationRule(weight=0.5, space=space, sides=sides)
    near(advantage(rule=rule), expected)


@pytest.mark.parametrize(
    ('disentangle', 'sides', 'expected'),
    [
        # f + (recall + precision side) / 2 = 2, 4, 0, 4: mean 2.5, deviation √2.75.
        ('none', 'both', np.array([-0.5, 1.5, -2.5, 1.5]) / 2.75**0.5),
        # f + recall side / 2 = 2, 0, 0, 4: mean 1.5, deviation √2.75.
        ('none', 'recall', np.array([0.5, -1.5, -1.5, 2.5]) / 2.75**0.5),
        # recall + precision + both sides / 2 = 2, 5, 1, 2: mean 2.5, deviation 1.5.
        ('reward', 'both', np.array([-0.5, 2.5, -1.5, -0.5]) / 1.5),
    ],
)
def test_in_the_reward_the_calibration_joins_what_is_standardised(disentangle, sides, expected):
    rule = CalibrationRule(weight=0.5, space='reward', sides=sides)
    near(advantage(rule=rule, disentangle=disentangle), expected)


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('disentangle', DISENTANGLE)
def test_a_calibration_without_weight_is_none(space, sides, disentangle):
    rule = CalibrationRule(weight=0.0, space=space, sides=sides)
    off = advantage(disentangle=disentangle)
    np.testing.assert_array_equal(advantage(rule=rule, disentangle=disentangle), off)
