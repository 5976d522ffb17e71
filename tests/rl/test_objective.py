"""The objective by hand: ratios, clipping with either sign, KL, token weights, their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mer_jax.rl import objective
from mer_jax.rl.objective import AGGREGATES

# Compiled as wholes: operation by operation they take longer than their arithmetic.
cispo_surrogate = jax.jit(objective.cispo_surrogate, static_argnums=(3, 4))
clipped_surrogate = jax.jit(objective.clipped_surrogate, static_argnums=(2, 3, 4))
is_clipped = jax.jit(objective.is_clipped, static_argnums=(2, 3, 4))
is_outside = jax.jit(objective.is_outside, static_argnums=(1, 2))
kl_to_reference = jax.jit(objective.kl_to_reference)
log_ratio = jax.jit(objective.log_ratio, static_argnums=3)
token_weights = jax.jit(objective.token_weights, static_argnums=(2, 3))
weighted_sum = jax.jit(objective.weighted_sum)
LOW, HIGH, DUAL = 0.2, 0.3, 3.0


def cube(value):
    """One token of one branch, f[1, 1, 1]."""
    return jnp.broadcast_to(jnp.float32(value), (1, 1, 1))


def surrogate(ratio, advantage, dual=0.0):
    return clipped_surrogate(cube(ratio), jnp.full((1, 1), advantage), LOW, HIGH, dual)


def slope_of(function, ratio):
    """d function / d log π at a ratio, which is e^(log π − sampled)."""
    return jax.grad(lambda gap: function(jnp.exp(gap)).sum())(jnp.log(ratio))


SAMPLED = np.float32([[[0, -1, -2, 0], [-1, 0, 0, 0], [-3, -3, -3, -3]]])
LOGP = np.float32([[[9, -1.5, -2.1, 9], [-0.8, 9, 9, 9], [9, 9, 9, 9]]])
SAID = np.array([[[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]], bool)


def test_the_ratio_of_a_token_is_its_own():
    found = log_ratio(LOGP, SAMPLED, SAID, 'token')
    np.testing.assert_allclose(found[SAID], [-0.5, -0.1, 0.2], rtol=1e-5)


def test_the_ratio_of_a_sequence_is_the_mean_over_its_sampled_tokens_for_all_of_them():
    """GSPO, arXiv 2507.18071, equation 7: (π(y) / π_sampled(y)) ^ (1 / |y|)."""
    found = log_ratio(LOGP, SAMPLED, SAID, 'sequence')
    assert found.shape == SAID.shape
    # (−0.5 − 0.1) / 2, then 0.2 / 1, then nothing was sampled.
    np.testing.assert_allclose(found, [[[-0.3] * 4, [0.2] * 4, [0] * 4]], rtol=1e-5)


def test_the_gradient_of_a_sequence_ratio_is_shared_by_its_tokens():
    def total(logp):
        return jnp.where(SAID, jnp.exp(log_ratio(logp, SAMPLED, SAID, 'sequence')), 0).sum()

    # Each of n tokens has the ratio, and each log-probability moves all by a share of 1 / n.
    wanted = np.exp([[[-0.3], [0.2], [0]]]) * SAID
    np.testing.assert_allclose(jax.grad(total)(LOGP), wanted, rtol=1e-5)


def test_at_ratio_one_the_surrogate_is_the_advantage_of_the_branch():
    advantage = np.float32([[1, -2, 0], [0.5, 0.25, -1]])
    for dual in (0.0, DUAL):
        found = clipped_surrogate(jnp.ones((2, 3, 4)), advantage, LOW, HIGH, dual)
        np.testing.assert_array_equal(found, np.broadcast_to(advantage[..., None], (2, 3, 4)))


@pytest.mark.parametrize('dual', [0.0, DUAL])
def test_at_ratio_one_the_gradient_is_the_advantage(dual):
    logp, advantage = jnp.full((1, 2, 3), -0.7), jnp.array([[2.0, -3.0]])

    def total(x):
        return clipped_surrogate(jnp.exp(x - logp), advantage, LOW, HIGH, dual).sum()

    wanted = np.broadcast_to([[[2], [-3]]], (1, 2, 3))
    np.testing.assert_allclose(jax.grad(total)(logp), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ('ratio', 'advantage', 'dual', 'value', 'slope'),
    [
        (1.1, 2.0, 0.0, 2.2, 2.2),
        (2.0, 2.0, 0.0, 2.6, 0.0),  # good and already likelier: enough
        (0.5, 2.0, 0.0, 1.0, 1.0),  # good and less likely: pulled back
        (0.9, -2.0, 0.0, -1.8, -1.8),
        (0.5, -2.0, 0.0, -1.6, 0.0),  # bad and already rarer: enough
        (2.0, -2.0, 0.0, -4.0, -4.0),  # bad and likelier: pushed down
        (9.0, -2.0, 0.0, -18.0, -18.0),
        (2.0, 0.0, 0.0, 0.0, 0.0),
        # The dual clip bounds the ratio of a bad token only.
        (2.0, -2.0, DUAL, -4.0, -4.0),
        (9.0, -2.0, DUAL, -6.0, 0.0),
        (0.5, -2.0, DUAL, -1.6, 0.0),
        (9.0, 2.0, DUAL, 2.6, 0.0),
        (0.1, 2.0, DUAL, 0.2, 0.2),
    ],
)
def test_a_ratio_is_clipped_where_more_of_it_would_pay(ratio, advantage, dual, value, slope):
    np.testing.assert_allclose(surrogate(ratio, advantage, dual), [[[value]]], rtol=1e-5)
    # d surrogate / d logp = d surrogate / d ratio · ratio
    found = slope_of(lambda r: surrogate(r, advantage, dual), ratio)
    np.testing.assert_allclose(found, slope, rtol=1e-5)
    clipped = is_clipped(cube(ratio), jnp.full((1, 1), advantage), LOW, HIGH, dual)
    assert bool(clipped) == (slope == 0 and advantage != 0)


def test_low_and_high_clip_each_its_own_side():
    ratio, up = jnp.array([[[0.1, 9.0]]]), jnp.ones((1, 1))
    found = clipped_surrogate(ratio, up, 0.4, 2.0)
    np.testing.assert_allclose(found, [[[0.1, 3.0]]], rtol=1e-5)
    found = clipped_surrogate(ratio, -up, 0.4, 2.0)
    np.testing.assert_allclose(found, [[[-0.6, -9.0]]], rtol=1e-5)


def test_the_clip_follows_the_sign_of_each_branch():
    ratio = jnp.broadcast_to(jnp.array([0.5, 0.81, 1.29, 1.31, 3.1]), (1, 3, 5))
    advantage = jnp.array([[1.0, -1.0, 0.0]])
    found = is_clipped(ratio, advantage, LOW, HIGH, DUAL).tolist()
    assert found == [
        [[False, False, False, True, True], [True, False, False, False, True], [False] * 5]
    ]
    found = is_clipped(ratio, advantage, LOW, HIGH).tolist()
    assert found == [[[False, False, False, True, True], [True] + [False] * 4, [False] * 5]]


@pytest.mark.parametrize(
    ('ratio', 'weight'), [(0.5, 0.8), (0.8, 0.8), (1.0, 1.0), (1.2, 1.2), (1.31, 1.3), (9.0, 1.3)]
)
@pytest.mark.parametrize('advantage', [2.0, -2.0])
def test_cispo_weighs_log_probabilities_by_a_clipped_ratio_without_gradient(
    ratio, weight, advantage
):
    """arXiv 2506.13585, equations 4 and 5: every token keeps a gradient, weight · A."""
    logp = float(np.log(ratio)) - 1.5

    def value(x):
        return cispo_surrogate(
            cube(x), jnp.exp(cube(x) + 1.5), jnp.full((1, 1), advantage), LOW, HIGH
        )

    np.testing.assert_allclose(value(logp), [[[weight * advantage * logp]]], rtol=1e-5)
    slope = jax.grad(lambda x: value(x).sum())(logp)
    np.testing.assert_allclose(slope, weight * advantage, rtol=1e-5)


def test_a_ratio_is_outside_beyond_either_bound():
    ratio = jnp.array([0.79, 0.81, 1.0, 1.29, 1.31])
    assert is_outside(ratio, LOW, HIGH).tolist() == [True, False, False, False, True]


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
ALL = np.ones((2, 2), bool)


def average(x, mask, kept, how, room=4):
    weight, divisor = token_weights(jnp.asarray(mask), jnp.asarray(kept), how, room)
    return weighted_sum(x, weight) / divisor


@pytest.mark.parametrize(
    ('kept', 'how', 'expected'),
    [
        (ALL, 'token', (1 + 2 + 3 + 4 + 5 + 9 + 10) / 7),
        (ALL, 'sequence', (2.5 + 5 + 9.5 + 0) / 4),
        (ALL, 'constant', (1 + 2 + 3 + 4 + 5 + 9 + 10) / 16),
        # Branches that are not kept count neither in the sum nor in its divisor.
        (np.array([[1, 0], [1, 0]], bool), 'token', (1 + 2 + 3 + 4 + 9 + 10) / 6),
        (np.array([[1, 0], [1, 0]], bool), 'sequence', (2.5 + 9.5) / 2),
        (np.array([[1, 0], [1, 0]], bool), 'constant', (1 + 2 + 3 + 4 + 9 + 10) / 8),
        # A kept branch that sampled nothing counts among the branches.
        (np.array([[0, 1], [0, 1]], bool), 'token', 5),
        (np.array([[0, 1], [0, 1]], bool), 'sequence', (5 + 0) / 2),
        (np.array([[0, 1], [0, 1]], bool), 'constant', 5 / 8),
    ],
)
def test_each_average_by_hand(kept, how, expected):
    np.testing.assert_allclose(average(X, MASK, kept, how), expected, rtol=1e-6)
    # Of branches that are cut behind their last token, a constant one divides by their whole room.
    roomy = expected * 4 / 6 if how == 'constant' else expected
    np.testing.assert_allclose(average(X, MASK, kept, how, room=6), roomy, rtol=1e-6)


@pytest.mark.parametrize('how', AGGREGATES)
@pytest.mark.parametrize(
    ('mask', 'kept'), [(np.zeros_like(MASK), ALL), (MASK, np.zeros_like(ALL))], ids=['mask', 'kept']
)
def test_nothing_that_counts_averages_to_zero_with_zero_gradient(how, mask, kept):
    assert average(X, mask, kept, how) == 0
    slope = jax.grad(lambda x: average(x, mask, kept, how))(jnp.asarray(X))
    np.testing.assert_array_equal(slope, np.zeros_like(X))


@pytest.mark.parametrize('how', AGGREGATES)
def test_a_token_that_does_not_count_has_no_gradient(how):
    kept = np.array([[True, False], [True, True]])
    slope = np.asarray(jax.grad(lambda x: average(x, MASK, kept, how))(jnp.asarray(X)))
    counts = MASK & kept[..., None]
    assert (slope[counts] > 0).all()
    assert not slope[~counts].any()
