"""The second look of a method: the policy is asked again over the keys of a rollout."""

import functools

import jax
import numpy as np

from mer_jax.methods.method import Method
from mer_jax.rl.score import Sampling
from mer_jax.sharding import named, to_devices, to_host


def look(policy, prompts, rollout, reading, number_b, seed, step, *, asks, sampling):
    """Method.look with the random keys of the prompts, which follow as in `rl.step.roll_out`."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    key_b = jax.vmap(lambda number: jax.random.fold_in(key, number))(number_b)
    return asks(policy, prompts, rollout, reading, key_b, sampling)


@functools.cache
def compiled_look(mesh, asks, sampling: Sampling):
    """`look` for one method and one way of sampling, compiled once for each size of batch."""
    program = functools.partial(look, asks=asks, sampling=sampling)
    return jax.jit(program, out_shardings=named(mesh, 'batch'))


def look_again(
    mesh,
    method: Method,
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

    `prompts`, `rollout` and `number_b` lie on the devices, `reading` on the host.
    """
    if method.look is None:
        return reading
    program = compiled_look(mesh, method.look, sampling)
    arrays = prompts, rollout, to_devices(mesh, reading), number_b
    seen = program(policy, *arrays, np.uint32(seed), np.uint32(step))
    return method.hear(reading, to_host(seen))
