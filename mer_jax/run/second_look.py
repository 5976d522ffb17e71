"""The second look of a method: the policy is asked again over the keys of a rollout."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mer_jax.rl.pieces import count_pieces, piece_at, whole_of_pieces
from mer_jax.rl.score import Sampling
from mer_jax.rl.step import keys_of_numbers
from mer_jax.run.setting import Setting
from mer_jax.run.traced import keep_traced
from mer_jax.sharding import named, to_devices, to_host


def look(policy, prompts, rollout, reading, number_b, seed, step, *, asks, sampling, microbatch):
    """Method.look by microbatches, with the random keys of the prompts as in `rl.step.roll_out`."""
    key_b = keys_of_numbers(seed, step, number_b)
    count = count_pieces(number_b.shape[0], microbatch)

    def look_at(number):
        here = functools.partial(piece_at, number=number, count=count)
        lone = dataclasses.replace(rollout, keys=None)
        piece = dataclasses.replace(here(lone), keys=here(rollout.keys, axis=1))
        return asks(policy, here(prompts), piece, here(reading), here(key_b), sampling)

    if count == 1:
        return asks(policy, prompts, rollout, reading, key_b, sampling)
    return whole_of_pieces(jax.lax.map(look_at, jnp.arange(count)))


@functools.cache
def compiled_look(mesh, asks, sampling: Sampling, microbatch: int):
    """`look` for one method and one way of sampling, compiled once for each size of batch."""
    program = functools.partial(look, asks=asks, sampling=sampling, microbatch=microbatch)
    return jax.jit(program, out_shardings=named(mesh, 'batch'))


def name_of_look(sampling: Sampling) -> str:
    """The name by which `run.traced` keeps the program of a look."""
    return f'look {sampling}'


def look_again(
    setting: Setting,
    sampling: Sampling,
    policy,
    prompts,
    rollout,
    reading,
    number_b,
    seed,
    step,
):
    """The reading with the method's second look, on the host; a method without one adds nothing.

    `reading` lies on the host, the other arrays on the devices.
    """
    mesh, method = setting.mesh, setting.method
    if method.look is None:
        return reading
    program = compiled_look(mesh, method.look, sampling, setting.config.learn.microbatch)
    program = keep_traced(setting, name_of_look(sampling), program)
    arrays = prompts, rollout, to_devices(mesh, reading), number_b
    seen = program(policy, *arrays, seed, step)
    return method.hear(reading, to_host(seen))
