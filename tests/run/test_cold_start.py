import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from mer_jax.group import TrainState
from mer_jax.models.omni import read_prompts
from mer_jax.rl.grow import score
from mer_jax.run.cold_start import imitate_step

BANNED = (60, 61, 62)


def batch():
    prompts = tiny.prompts([5, 3, 4], 6)
    rng = np.random.default_rng(0)
    token = rng.integers(2, 60, (3, 2, 7))
    token[:, :, 0] = prompts.start[:, None]
    mask = np.zeros((3, 2, 7), bool)
    mask[:, 0, 2:6] = True
    mask[:, 1, 3:5] = True
    mask[1, 0] = False  # a clip without a gold trace
    return prompts, token, mask


def test_imitation_is_the_token_mean_of_the_negative_log_probability_and_falls():
    policy, (prompts, token, mask) = tiny.policy(), batch()
    optimizer = optax.adam(1e-2)
    state = TrainState(step=jnp.int32(0), policy=policy, moments=optimizer.init(policy.decoder))
    step = jax.jit(
        functools.partial(
            imitate_step,
            spec=tiny.SPEC,
            banned=BANNED,
            chunk=4,
            optimizer=optimizer,
        )
    )
    keys = read_prompts(policy.decoder, prompts, jnp.zeros((3, 0, 32)))
    logp = np.asarray(score(policy.decoder, tiny.SPEC, prompts, keys, token, banned=BANNED))
    blind = jnp.zeros((3, 0, 32))
    after, figures = step(state, prompts, blind, token, mask)
    np.testing.assert_allclose(figures['loss'], -logp[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(figures['slow_loss'], -logp[:, 0][mask[:, 0]].mean(), rtol=1e-5)
    np.testing.assert_allclose(figures['fast_loss'], -logp[:, 1][mask[:, 1]].mean(), rtol=1e-5)
    for _ in range(10):
        after, later = step(after, prompts, blind, token, mask)
    assert later['loss'] < figures['loss'] - 0.5 and after.step == 11
