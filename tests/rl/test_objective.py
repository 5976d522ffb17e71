"""The objective by hand: clipping with either sign, KL, averages, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mer_jax.rl.objective import AGGREGATES, aggregate, clipped_surrogate, kl_to_reference

LOW, HIGH = 0.2, 0.3


def surrogate(ratio, advantage):
    """One token with this ratio to what was sampled."""
    sampled = jnp.full((1, 1, 1), -1.5)
    return clipped_surrogate(
        sampled + jnp.log(ratio), sampled, jnp.full((1, 1), advantage), LOW, HIGH
    )


def test_at_ratio_one_the_surrogate_is_the_advantage_of_the_branch():
    logp = np.random.default_rng(0).normal(-2, 1, (2, 3, 4)).astype(np.float32)
    advantage = np.float32([[1, -2, 0], [0.5, 0.25, -1]])
    found = clipped_surrogate(logp, logp, advantage, LOW, HIGH)
    np.testing.assert_array_equal(found, np.broadcast_to(advantage[..., None], (2, 3, 4)))


def test_at_ratio_one_the_gradient_is_the_advantage():
    logp = jnp.full((1, 2, 3), -0.7)
    advantage = jnp.array([[2.0, -3.0]])
    slope = jax.grad(lambda x: clipped_surrogate(x, logp, advantage, LOW, HIGH).sum())(logp)
    np.testing.assert_allclose(slope, np.broadcast_to([[[2], [-3]]], (1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ('ratio', 'advantage', 'value', 'slope'),
    [
        (1.1, 2.0, 2.2, 2.2),
        (2.0, 2.0, 2.6, 0.0),  # good and already likelier: enough
        (0.5, 2.0, 1.0, 1.0),  # good and less likely: pulled back
        (0.9, -2.0, -1.8, -1.8),
        (0.5, -2.0, -1.6, 0.0),  # bad and already rarer: enough
        (2.0, -2.0, -4.0, -4.0),  # bad and likelier: pushed down
        (2.0, 0.0, 0.0, 0.0),
    ],
)
def test_a_ratio_is_clipped_where_going_on_would_pay(ratio, advantage, value, slope):
    np.testing.assert_allclose(surrogate(ratio, advantage), [[[value]]], rtol=1e-5)
    # d surrogate / d logp = d surrogate / d ratio · ratio
    found = jax.grad(lambda x: surrogate(jnp.exp(x), advantage).sum())(np.log(ratio))
    np.testing.assert_allclose(found, slope, rtol=1e-5)


def test_low_and_high_clip_each_its_own_side():
    sampled = jnp.zeros((1, 1, 2))
    logp, up = jnp.log(jnp.array([[[0.1, 9.0]]])), jnp.ones((1, 1))
    np.testing.assert_allclose(
        clipped_surrogate(logp, sampled, up, 0.4, 2.0), [[[0.1, 3.0]]], rtol=1e-5
    )
    np.testing.assert_allclose(
        clipped_surrogate(logp, sampled, -up, 0.4, 2.0), [[[-0.6, -9.0]]], rtol=1e-5
    )


def test_kl_is_the_k3_estimate():
    found = kl_to_reference(
        np.log(np.float32([0.5, 0.2, 0.9])), np.log(np.float32([0.25, 0.4, 0.9]))
    )
    np.testing.assert_allclose(found, [0.5 - 1 + np.log(2), 2 - 1 - np.log(2), 0], atol=1e-6)


def test_kl_is_never_negative_and_zero_at_equality():
    rng = np.random.default_rng(0)
    logp = np.float32(-rng.exponential(3, 10_000))
    apart = kl_to_reference(logp, logp + np.float32(rng.normal(0, 1e-3, 10_000)))
    assert np.asarray(apart).min() >= 0
    assert np.asarray(apart).max() > 0
    assert not np.asarray(kl_to_reference(logp, logp)).any()


def test_kl_pulls_towards_the_reference_and_rests_at_equality():
    slope = jax.grad(lambda logp, reference: kl_to_reference(logp, reference).sum())
    # d/dlogp of e^(reference − logp) − (reference − logp) − 1 is 1 − e^(reference − logp)
    found = slope(jnp.log(jnp.array([0.5, 0.2, 0.9])), jnp.log(jnp.array([0.25, 0.4, 0.9])))
    np.testing.assert_allclose(found, [0.5, -1, 0], atol=1e-6)


def test_k3_averaged_over_samples_is_the_divergence():
    policy, reference = np.float32([0.5, 0.3, 0.2]), np.float32([0.2, 0.3, 0.5])
    exact = (policy * np.log(policy / reference)).sum()
    found = (policy * kl_to_reference(np.log(policy), np.log(reference))).sum()
    np.testing.assert_allclose(found, exact, rtol=1e-5)


X = np.float32([[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, np.nan, np.inf], [-1, -2, -3, -4]]])
MASK = np.array(
    [
        [[True, True, True, True], [True, False, False, False]],
        [[True, True, False, False], [False, False, False, False]],
    ]
)


@pytest.mark.parametrize(
    ('how', 'expected'),
    [
        ('token', (1 + 2 + 3 + 4 + 5 + 9 + 10) / 7),
        ('sequence', (2.5 + 5 + 9.5 + 0) / 4),
        ('constant', (1 + 2 + 3 + 4 + 5 + 9 + 10) / 16),
    ],
)
def test_each_average_by_hand(how, expected):
    np.testing.assert_allclose(aggregate(X, MASK, how), expected, rtol=1e-6)


@pytest.mark.parametrize('how', AGGREGATES)
def test_nothing_under_the_mask_averages_to_zero_with_zero_gradient(how):
    nothing = np.zeros_like(MASK)
    assert aggregate(X, nothing, how) == 0
    slope = jax.grad(lambda x: aggregate(x, nothing, how))(jnp.asarray(X))
    np.testing.assert_array_equal(slope, np.zeros_like(X))


@pytest.mark.parametrize('how', AGGREGATES)
def test_what_the_mask_hides_has_no_gradient(how):
    slope = np.asarray(jax.grad(lambda x: aggregate(x, MASK, how))(jnp.asarray(X)))
    assert (slope[MASK] > 0).all()
    assert not slope[~MASK].any()
