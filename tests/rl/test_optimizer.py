"""The optimizer: its first steps, the types and the places of what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from mer_jax.rl.optimizer import make_optimizer, start_state
from mer_jax.sharding import make_mesh


def after(optimizer, weights, gradient, steps=1):
    """The weights after steps of one gradient."""
    moments = optimizer.init(weights)
    for _ in range(steps):
        updates, moments = optimizer.update(gradient, moments, weights)
        weights = optax.apply_updates(weights, updates)
    return weights, moments


def test_the_first_update_already_moves_by_a_share_of_the_learning_rate(config):
    config.optim.warmup = 3
    optimizer = make_optimizer(config.optim, 0.1, 20)
    moved, _ = after(optimizer, jnp.ones(2), jnp.array([1.0, -2.0]))
    # Adam's first step is the sign of the gradient; warm-up starts at 1 / (warmup + 1).
    np.testing.assert_allclose(moved, [1 - 0.1 / 4, 1 + 0.1 / 4], rtol=1e-4)


def test_the_rate_ends_at_a_tenth(config):
    config.optim.warmup = 1
    optimizer = make_optimizer(config.optim, 0.1, 10)
    late, _ = after(optimizer, jnp.zeros(1), jnp.ones(1), 200)
    later, _ = after(optimizer, jnp.zeros(1), jnp.ones(1), 201)
    np.testing.assert_allclose(late - later, 0.01, rtol=1e-3)


@pytest.mark.parametrize('weights', ['float32', 'bfloat16'])
@pytest.mark.parametrize('moments', ['float32', 'bfloat16'])
def test_moments_have_their_own_dtype_whatever_that_of_the_weights(config, weights, moments):
    config.optim.moments = moments
    optimizer = make_optimizer(config.optim, 0.1, 10)
    moved, kept = after(optimizer, jnp.ones(3, weights), jnp.ones(3, weights))
    assert moved.dtype == weights and (moved != 1).all()
    floats = [leaf for leaf in jax.tree.leaves(kept) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert len(floats) == 2 and {leaf.dtype.name for leaf in floats} == {moments}


def test_moments_lie_on_the_mesh_as_their_weights_do(config):
    mesh, policy = make_mesh(2, 2, 2), tiny.policy()
    optimizer = make_optimizer(config.optim, 0.1, 10)
    state, shardings = start_state(mesh, policy, policy.decoder, optimizer)
    weight = state.policy.decoder.model.layers.mlp.gate_proj.weight[...]
    found = [leaf for leaf in jax.tree.leaves(state.moments) if leaf.shape == weight.shape]
    assert len(found) == 4  # gate and up, each with two moments
    assert all(leaf.sharding == weight.sharding for leaf in found)
    assert not weight.sharding.is_fully_replicated
    same = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, state, shardings)
    assert all(jax.tree.leaves(same))
