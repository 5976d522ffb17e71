"""Tiny groups and compiled programs, shared by the tests of reinforcement learning and methods."""

import functools

import jax
import numpy as np
import tiny

from mer_jax.models.omni import perceive, read_prompts
from mer_jax.rl import step as rl
from mer_jax.rl.score import Sampling, score

B, G, S, END = 8, 4, 9, 63
BANNED = (60, 61, 62)
SAMPLING = Sampling(tokens=S, end=END, banned=BANNED, temperature=0.7)
# The first and the third branch open alike. The end token of the second is forced: it ends nothing.
OPENING = np.array([[11, 12], [13, END], [11, 12], [-1, -1]])
PROMPTS = tiny.prompts([5, 3, 4, 6, 6, 2, 5, 4], 6)


def whole(logp_bgv):
    """Records the distribution behind each token."""
    return logp_bgv


def rolled_out(policy, prompts=PROMPTS, sampling=SAMPLING, numbers=range(B), seed=0, step=1):
    """The Rollout of prompts of these numbers; `watched` is f[b, g, s, v]."""
    program = rl.compiled_roll_out(sampling, whole)
    numbers = np.asarray(numbers, np.uint32)
    return program(policy, prompts, numbers, np.uint32(seed), np.uint32(step), OPENING)


@functools.partial(jax.jit, static_argnames='sampling')
def scored(policy, prompts, token_bgs, sampling=SAMPLING):
    """log π of branch tokens, f[b, g, s]."""
    keys = read_prompts(policy.decoder, prompts, perceive(policy, prompts.media))
    return score(policy, prompts, keys, token_bgs, sampling)


@jax.jit
def pulled_back(policy, prompts, token_bgs, slope_bgs):
    """log π of branch tokens, and the gradient by the decoder of its sum weighted by slopes."""

    def of(decoder):
        return scored(policy.replace(decoder=decoder), prompts, token_bgs)

    logp, back = jax.vjp(of, policy.decoder)
    return logp, back(slope_bgs)[0]


def random_branches(prompts=PROMPTS, g: int = G, s: int = S, seed: int = 3):
    """Random tokens i[b, g, s] behind the last token of each prompt."""
    token = np.random.default_rng(seed).integers(2, 60, (len(prompts.start), g, s))
    token[:, :, 0] = prompts.start[:, None]
    return token
