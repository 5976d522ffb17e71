"""Group-relative numbers by hand; a group of equals is exactly zero despite rounding."""

import jax
import numpy as np
import pytest

from mer_jax.rl.group_relative import spread, standardise, varies

ROOT_2 = 2**0.5
STANDARDISE = jax.jit(standardise, static_argnames='scale')


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def test_standardise_takes_the_mean_off_and_divides_by_the_deviation():
    found = standardise(np.float32([[1, 2, 3], [10, 10, 40]]))
    # Population deviations: √(2/3) and 10 · √2.
    near(found, [np.array([-1, 0, 1]) / (2 / 3) ** 0.5, np.array([-1, -1, 2]) / ROOT_2])


def test_a_little_is_added_to_the_deviation():
    found = standardise(np.float32([[1e-6, -1e-6]]))
    np.testing.assert_allclose(found, [[0.5, -0.5]], rtol=1e-5)


def test_without_scale_only_the_mean_is_taken_off():
    found = standardise(np.float32([[1, 2, 6], [7, 7, 7]]), scale=False)
    np.testing.assert_array_equal(found, [[-2, -1, 3], [0, 0, 0]])


@pytest.mark.parametrize('scale', [True, False])
@pytest.mark.parametrize(
    ('value', 'size'), [(0.1, 7), (1 / 3, 8), (1e30, 5), (-0.7, 3), (0, 2), (1e-30, 6)]
)
def test_a_group_of_equals_is_exactly_zero(value, size, scale):
    for function in (standardise, STANDARDISE):
        found = np.asarray(function(np.full((2, size), value, np.float32), scale=scale))
        np.testing.assert_array_equal(found, np.zeros((2, size)))


def test_groups_do_not_see_each_other():
    groups = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    alone = np.concatenate([standardise(groups[i : i + 1]) for i in range(3)])
    shifted = groups * np.float32([[1], [50], [1]]) + np.float32([[0], [9], [0]])
    near(standardise(groups), alone)
    near(standardise(shifted), alone)


def test_a_group_varies_if_any_member_differs_by_however_little():
    nearly = np.full(7, 0.1, np.float32)
    nearly[3] = np.nextafter(nearly[3], np.float32(1))
    groups = np.stack([np.full(7, 0.1), np.ones(7), np.zeros(7), nearly, np.arange(7)])
    assert varies(groups.astype(np.float32)).tolist() == [False, False, False, True, True]


def test_spread_is_the_mean_and_the_mean_deviation_inside_a_group():
    terms = {'a': np.float32([[1, 3], [10, 10]]), 'b': np.float32([[0, 0], [0, 4]])}
    found = spread(terms, 'own_')
    assert found == {'own_a': 6, 'own_a_std': 0.5, 'own_b': 1, 'own_b_std': 1}
    assert spread(terms).keys() == {'a', 'a_std', 'b', 'b_std'}
