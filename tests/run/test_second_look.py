"""The second look: prompts in pieces are asked as they are together."""

import types

import jax
import numpy as np

from mer_jax.group import Branches, Keys, Rollout
from mer_jax.run.second_look import look_again
from mer_jax.sharding import make_mesh, named, to_devices

B, G, S, LAYERS = 16, 2, 3, 5


def asks(policy, prompts, rollout, reading, key_b, sampling):
    """Something of every array that a method can ask with, by prompt."""
    chance = jax.vmap(jax.random.uniform)(key_b)
    return {
        'keys': rollout.keys.k.sum((0, 2)),
        'said': policy * rollout.branches.token + reading[:, None, None],
        'prompt': prompts + sampling,
        'chance': chance,
    }


def looked(axes, microbatch: int):
    """The arrays that `asks` gives on a mesh."""
    mesh, rng = make_mesh(*axes, devices=jax.devices()[: np.prod(axes)]), np.random.default_rng(0)
    branches = Branches(*(rng.integers(9, size=(B, G, S)) for _ in range(3)), watched=())
    key = rng.normal(size=(LAYERS, B, 4)).astype(np.float32)
    by_layer = named(mesh, None, 'batch')
    method = types.SimpleNamespace(look=asks, hear=lambda reading, seen: seen)
    with jax.set_mesh(mesh):
        prompts, numbers, rows = to_devices(
            mesh, (rng.normal(size=B), np.arange(B, dtype=np.uint32), branches)
        )
        keys = jax.device_put(Keys(k=key, v=key), by_layer)
        rollout = Rollout(branches=rows, features=prompts, keys=keys)
        arrays = 2, prompts, rollout, np.arange(B), numbers
        learn = types.SimpleNamespace(microbatch=microbatch)
        config = types.SimpleNamespace(learn=learn)
        setting = types.SimpleNamespace(mesh=mesh, method=method, config=config, traced=None)
        return look_again(setting, 0.5, *arrays, np.uint32(7), np.uint32(3))


def test_pieces_of_one_prompt_a_device_are_asked_as_all_are_at_once():
    whole = looked((1, 1, 1), 0)
    for found in (looked((1, 1, 1), 3), looked((2, 2, 2), 2)):
        assert found.keys() == whole.keys()
        for name, value in whole.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
