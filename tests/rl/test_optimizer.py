"""The optimizer: its updates by hand, the dtypes and places of its moments, the trained part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny_rl import PROMPTS, SAMPLING, B, G, S, random_branches

from mer_jax.models.omni import Omni
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import apply_gradient, host_figures, make_optimizer, start_state
from mer_jax.run.cold_start import imitate_step
from mer_jax.sharding import make_mesh


def single():
    return make_mesh(1, 1, 1, devices=jax.devices()[:1])


def made_of(decoder, visual=None):
    """A policy whose parts are any trees of weights."""
    return Omni(decoder=decoder, visual=visual, audio_tower=None, spec=None)


def applied(part, optimizer):
    """The update by a gradient, compiled."""
    return jax.jit(functools.partial(apply_gradient, part=part, optimizer=optimizer))


def after(optimizer, weights, gradients, moments='float32'):
    """The state after one update by each gradient of the decoder's weights, and the norms."""
    state, _ = start_state(single(), made_of(weights), 'decoder', optimizer, moments)
    update, found = applied('decoder', optimizer), []
    for gradient in gradients:
        state, norms = update(state, gradient)
        found.append(host_figures(norms))
    return state, found


def floats(tree):
    leaves = jax.tree.leaves(tree)
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def kinds(tree):
    """The structure of a tree, and shape and dtype of each leaf."""
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def test_updates_are_those_of_adamw_by_hand(config):
    config.optim.update(warmup=2, clip_norm=1.0, weight_decay=0.1, b2=0.95)
    rate, updates = 0.1, 12
    optimizer = make_optimizer(config.optim, rate, updates)
    gradients = [np.float32([3, -4]), np.float32([0.3, 0.4]), np.float32([-1, 0]), np.ones(2)]
    # Warm-up from a third of the rate, then a cosine to a tenth over the other ten updates.
    cosine = rate * (0.1 + 0.9 * (1 + np.cos(np.pi * 1 / 10)) / 2)
    rates = [rate / 3, (rate / 3 + rate) / 2, rate, cosine]
    weights = {'w': jnp.array([1.0, 2.0])}
    state, norms = after(optimizer, weights, [{'w': np.float32(g)} for g in gradients])

    w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    for n, (gradient, now) in enumerate(zip(gradients, rates, strict=True), 1):
        g = gradient / max(1, np.sqrt((gradient**2).sum()))
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        step = m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.95**n)) + 1e-8) + 0.1 * w
        w = w - now * step
        assert norms[n - 1]['gradient_norm'] == pytest.approx(np.sqrt((gradient**2).sum()))
        assert norms[n - 1]['update_norm'] == pytest.approx(now * np.sqrt((step**2).sum()), 1e-4)
    np.testing.assert_allclose(state.policy.decoder['w'], w, rtol=1e-5)


def test_the_first_update_already_moves_by_a_share_of_the_learning_rate(config):
    config.optim.warmup = 3
    optimizer = make_optimizer(config.optim, 0.1, 20)
    state, _ = after(optimizer, jnp.ones(2), [jnp.array([1.0, -2.0])])
    # Adam's first step is the sign of the gradient; warm-up starts at 1 / (warmup + 1).
    np.testing.assert_allclose(state.policy.decoder, [1 - 0.1 / 4, 1 + 0.1 / 4], rtol=1e-4)


def test_the_rate_ends_at_a_tenth(config):
    config.optim.warmup = 1
    optimizer = make_optimizer(config.optim, 0.1, 10)
    update = applied('decoder', optimizer)
    state, _ = start_state(single(), made_of(jnp.zeros(1)), 'decoder', optimizer)
    for _ in range(200):
        state, norms = update(state, jnp.ones(1))
    np.testing.assert_allclose(norms['update_norm'], 0.01, rtol=1e-3)


@pytest.mark.parametrize('weights', ['float32', 'bfloat16'])
@pytest.mark.parametrize('moments', ['float32', 'bfloat16'])
def test_moments_have_their_own_dtype_whatever_that_of_the_weights(config, weights, moments):
    config.optim.moments = moments
    optimizer = make_optimizer(config.optim, 0.1, 10)
    state, _ = after(optimizer, jnp.ones(3, weights), [jnp.ones(3, weights)] * 2, moments)
    moved, kept = state.policy.decoder, floats(state.moments)
    assert moved.dtype == weights and (moved != 1).all()
    assert len(kept) == 2 and {leaf.dtype.name for leaf in kept} == {moments}


def test_bfloat16_weights_take_an_update_that_was_computed_in_float32(config):
    config.optim.update(warmup=0, clip_norm=1e9)
    optimizer = make_optimizer(config.optim, 0.3, 10)
    gradient, start = jnp.array([0.3, -0.7, 1.9], 'bfloat16'), jnp.array([1.0, 2.0, 3.0])
    state, _ = after(optimizer, start.astype('bfloat16'), [gradient])
    wide, _ = after(optimizer, start, [gradient.astype('float32')])
    for a, b in zip(floats(state.moments), floats(wide.moments), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(state.policy.decoder, wide.policy.decoder.astype('bfloat16'))


@pytest.mark.parametrize('part', ['decoder', 'all'])
def test_an_update_moves_the_trained_part_and_nothing_else(config, part):
    optimizer = make_optimizer(config.optim, 0.1, 10)
    policy = made_of({'w': jnp.ones(3)}, {'w': jnp.ones(5)})
    state, _ = start_state(single(), policy, part, optimizer)
    assert len(floats(state.moments)) == {'decoder': 2, 'all': 4}[part]
    gradient = jax.tree.map(jnp.ones_like, policy if part == 'all' else policy.decoder)
    state, _ = applied(part, optimizer)(state, gradient)
    assert (state.policy.decoder['w'] < 1).all()
    assert (state.policy.visual['w'] < 1).all() == (part == 'all')
    assert (state.policy.visual['w'] == 1).all() == (part == 'decoder')


def test_the_norm_of_an_update_is_not_finite_where_the_new_state_is_not(config):
    optimizer = make_optimizer(config.optim, 0.1, 10)
    state, norms = after(optimizer, jnp.ones(2), [jnp.array([1.0, np.nan])])
    assert not np.isfinite(state.policy.decoder).all()
    assert not np.isfinite(norms[0]['update_norm'])


def test_moments_lie_on_the_mesh_as_their_weights_do(config):
    mesh, policy = make_mesh(2, 2, 2), tiny.policy()
    optimizer = make_optimizer(config.optim, 0.1, 10)
    state, shardings = start_state(mesh, policy, 'decoder', optimizer)
    weight = state.policy.decoder.model.layers.mlp.gate_proj.weight[...]
    found = [leaf for leaf in jax.tree.leaves(state.moments) if leaf.shape == weight.shape]
    assert len(found) == 4  # gate and up, each with two moments
    assert all(leaf.sharding == weight.sharding for leaf in found)
    assert not weight.sharding.is_fully_replicated
    same = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, state, shardings)
    assert all(jax.tree.leaves(same))


def test_the_cold_start_and_reinforcement_learning_take_and_give_the_same_state(config):
    config.optim.moments = 'float32'
    optimizer = make_optimizer(config.optim, 0.1, 10)
    policy = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.bfloat16), tiny.policy())
    state, _ = start_state(single(), policy, 'decoder', optimizer)
    token, blind = random_branches(), np.zeros((B, 0, 32), np.float32)
    flat, mask = np.zeros((B, G, S), np.float32), np.ones((B, G, S), bool)
    experience = rl.Experience(
        prompts=PROMPTS,
        features=blind,
        token=token,
        mask=mask,
        kept=np.ones((B, G), bool),
        sampled=flat,
        advantage=np.zeros((B, G), np.float32),
        reference=None,
    )
    common = dict(sampling=SAMPLING, optimizer=optimizer)
    update = functools.partial(rl.update, learn=rl.Learn(), **common)
    modes = 'a', 'b', 'c', 'd'
    imitate = functools.partial(imitate_step, part='decoder', modes=modes, chunk=128, **common)
    learnt, _ = jax.eval_shape(update, state, experience, np.int32(0))
    imitated, _ = jax.eval_shape(imitate, state, PROMPTS, blind, token, mask)
    assert kinds(learnt) == kinds(imitated) == kinds(state)
