import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from mer_jax.group import Reading, TrainState
from mer_jax.methods.mer_r1_rewards import reward_terms
from mer_jax.models.omni import read_prompts
from mer_jax.rl.group_relative import CalibrationRule, Weights
from mer_jax.rl.grow import Sampling, score
from mer_jax.rl.step import Learn, roll_out, train_step
from mer_jax.sharding import make_mesh, named, state_shardings, to_devices

SAMPLING = Sampling(tokens=7, end=63, banned=(60, 61, 62))
STARTS = np.array([[[2, 3], [4, -1], [10, -1]], [[5, 6], [7, 8], [9, -1]]])
OPENING = np.tile(np.array([[11, 12]]), (4, 1))
OPTIMIZER = optax.sgd(0.1)
B, G, A = 4, 4, 2
LEARN = Learn()


def reading(branches, named_same):
    """A made-up reading: two anchors a branch, one of them absent here and there."""
    rng = np.random.default_rng(0)
    named_bgwc = rng.random((B, G, 2, 3)) < 0.5
    if named_same:
        named_bgwc = np.repeat(named_bgwc[:, :1], G, 1)
    anchor = np.stack([np.full((B, G), 3), np.where(rng.random((B, G)) < 0.5, 4, -1)], -1)
    echo = np.concatenate([np.asarray(branches.token)[:, :, :1], np.full((B, G, 5), 13)], -1)
    echo[:, :, 3:5] = np.asarray(branches.token)[:, :, 3:5]
    return Reading(
        named=named_bgwc,
        formed=np.ones((B, G), bool) if named_same else rng.random((B, G)) < 0.7,
        anchor=anchor,
        right=rng.random((B, G, A)) < 0.5,
        echo=echo,
        echo_anchor=np.where(anchor < 0, -1, anchor),
    )


GROW = jax.jit(functools.partial(roll_out, spec=tiny.SPEC, sampling=SAMPLING))


@functools.cache
def one_step(mesh, learn=LEARN, named_same=False):
    """(state after, figures, branches) of one step on a mesh."""
    policy, prompts = tiny.policy(), tiny.prompts([5, 3, 4, 6], 6)
    with jax.set_mesh(mesh):
        state = TrainState(step=jnp.int32(0), policy=policy, moments=OPTIMIZER.init(policy.decoder))
        shardings = state_shardings(mesh, state)
        state = jax.device_put(state, shardings)
        reference = jax.device_put(tiny.policy(1).decoder, state_shardings(mesh, policy.decoder))
        prompts, number_b = to_devices(mesh, (prompts, np.arange(B, dtype=np.uint32)))
        rollout = GROW(state.policy, prompts, number_b, np.uint32(0), np.uint32(1), OPENING, STARTS)
        read = to_devices(mesh, reading(jax.device_get(rollout.branches), named_same))
        step = jax.jit(
            functools.partial(
                train_step, spec=tiny.SPEC, learn=learn, sampling=SAMPLING, optimizer=OPTIMIZER
            ),
            out_shardings=(shardings, None),
        )
        after, figures = step(state, reference, prompts, rollout, read, STARTS)
    return after, jax.device_get(figures), jax.device_get(rollout.branches)


@functools.cache
def single():
    return make_mesh(1, 1, 1, devices=jax.devices()[:1])


def test_the_step_on_a_2x2x2_mesh_equals_the_step_on_one_device():
    alone, figures, branches = one_step(single())
    sharded, figures_8, branches_8 = one_step(make_mesh(2, 2, 2))
    np.testing.assert_array_equal(branches.token, branches_8.token)
    assert figures.keys() == figures_8.keys()
    for name in figures:
        np.testing.assert_allclose(figures[name], figures_8[name], atol=1e-5, err_msg=name)
    weight = sharded.policy.decoder.model.layers.mlp.gate_proj.weight[...]
    assert weight.sharding.spec == named(make_mesh(2, 2, 2), None, 'embed', 'mlp').spec
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(sharded), strict=True):
        np.testing.assert_allclose(jax.device_get(a), jax.device_get(b), atol=1e-6)


def test_groups_without_differences_teach_exactly_nothing():
    learn = Learn(kl=0.0, calibration=CalibrationRule(space='off'))
    _, figures, _ = one_step(single(), learn, named_same=True)
    assert figures['silent_groups'] == 1 and figures['gradient_norm'] == 0
    assert figures['loss'] == 0 and figures['advantage_std'] == 0


@pytest.mark.slow
def test_a_step_raises_the_probability_of_better_branches():
    learn = Learn(kl=0.0, calibration=CalibrationRule(space='off'), weights=Weights(form=0.0))
    after, figures, branches = one_step(single(), learn)
    # On-policy the ratio is 1, so the surrogate is the mean of the advantages over tokens.
    assert figures['drift'] < 1e-5
    read, prompts = reading(branches, False), tiny.prompts([5, 3, 4, 6], 6)
    terms = reward_terms(read.named, prompts.gold, read.formed)
    advantage = np.asarray(terms.recall + terms.precision)
    advantage = advantage - advantage.mean(1, keepdims=True)
    assert np.abs(advantage).max() > 0.1

    def weighted(decoder):
        """Σ advantage · log p of the branches: what the step should raise."""
        keys = read_prompts(decoder, prompts, np.zeros((B, 0, 32), np.float32))
        logp = score(decoder, tiny.SPEC, prompts, keys, branches.token, banned=SAMPLING.banned)
        return float((advantage[..., None] * logp * branches.mask).sum())

    assert weighted(after.policy.decoder) > weighted(tiny.policy().decoder) + 1e-3


@pytest.mark.slow
def test_the_first_kl_is_that_of_the_sampling_policy_to_the_reference():
    _, figures, _ = one_step(single(), Learn(kl=0.1))
    assert figures['kl'] > 1e-3
    np.testing.assert_allclose(
        figures['loss'], 0.1 * figures['kl'] - figures['surrogate'], rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    'change',
    [
        {'disentangle': 'none'},
        {'disentangle': 'reward'},
        {'aggregate': 'constant'},
        {'calibration': CalibrationRule(level='word')},
        {'calibration': CalibrationRule(space='off')},
        {'calibration': CalibrationRule(space='reward')},
        {'calibration': CalibrationRule(space='mixed')},
        {'calibration': CalibrationRule(sides='recall')},
        {'standardise': False},
        {'kl': 0.0},
    ],
    ids=str,
)
def test_every_switch_changes_what_is_learnt(change):
    plain, _, _ = one_step(single())
    other, _, _ = one_step(single(), dataclasses.replace(Learn(), **change))
    moved = [
        np.abs(a - b).max()
        for a, b in zip(jax.tree.leaves(plain.policy), jax.tree.leaves(other.policy), strict=True)
    ]
    assert max(moved) > 1e-6


def test_rollouts_repeat_with_the_same_seed_and_step_and_differ_with_another():
    policy, prompts = tiny.policy(), tiny.prompts([5, 3, 4, 6], 6)

    def tokens(seed, step):
        numbers = np.arange(B, dtype=np.uint32)
        arguments = (np.uint32(seed), np.uint32(step), OPENING, STARTS)
        return np.asarray(GROW(policy, prompts, numbers, *arguments).branches.token)

    np.testing.assert_array_equal(tokens(0, 1), tokens(0, 1))
    assert (tokens(0, 1) != tokens(0, 2)).any() and (tokens(0, 1) != tokens(1, 1)).any()
