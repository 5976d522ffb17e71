"""Decoding and scoring in bfloat16: the log-probabilities of the same tokens."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
import tiny
from tiny_rl import SAMPLING, rolled_out

from mer_jax.rl import step as rl
from mer_jax.sharding import make_mesh, state_shardings, to_devices

# Wide enough that sums round, with heads and a vocabulary that divide over 4 devices.
TEXT = dataclasses.replace(
    tiny.TEXT,
    hidden_size=64,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=16,
    intermediate_size=96,
    mrope_section=(2, 3, 3),
)
PROMPTS = tiny.prompts([40, 33, 24, 36, 16, 22, 35, 34], 40)
MESHES = [None, (2, 2, 2), (8, 1, 1), (1, 8, 1), (1, 2, 4)]
DOORS = {'plain': MESHES, 'blocks': MESHES, 'splash': [None, (1, 8, 1)]}  # splash is slow here
QUICK = [('plain', None), ('blocks', None)]


def sharp_policy(attention: str, dtype: str):
    """A policy whose large random weights prefer some tokens; activations have this dtype."""
    policy = tiny.policy(spec=dataclasses.replace(tiny.SPEC, text=TEXT))
    policy = jax.tree.map(lambda leaf: 1.5 * leaf, policy)
    return policy.replace(spec=dataclasses.replace(policy.spec, dtype=dtype, attention=attention))


def drift(policy, mesh_shape):
    """|log π of scoring − log π of decoding| of all sampled tokens, in one row."""

    def score(policy, prompts, token_bgs):
        features = rl.perceive(policy, prompts.media)
        return rl.branch_logp(policy, prompts, features, token_bgs, None, SAMPLING, 128)

    prompts = PROMPTS
    with contextlib.ExitStack() as used:
        if mesh_shape:
            mesh = make_mesh(*mesh_shape)
            used.enter_context(jax.set_mesh(mesh))
            policy = jax.device_put(policy, state_shardings(mesh, policy))
            prompts = to_devices(mesh, prompts)
        branches = rolled_out(policy, prompts).branches
        logp = jax.jit(score)(policy, prompts, branches.token)
    return np.abs(np.asarray(logp) - branches.logp)[np.asarray(branches.mask)]


@pytest.mark.parametrize(
    ('attention', 'mesh_shape'),
    [
        pytest.param(kind, shape, marks=() if (kind, shape) in QUICK else pytest.mark.slow)
        for kind, shapes in DOORS.items()
        for shape in shapes
    ],
)
def test_scoring_in_bfloat16_gives_the_log_probabilities_of_decoding(attention, mesh_shape):
    gap = drift(sharp_policy(attention, 'bfloat16'), mesh_shape)
    assert gap.size > 100
    assert gap.mean() < 0.01
