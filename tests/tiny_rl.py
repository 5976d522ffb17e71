"""Tiny groups and compiled programs, shared by the tests of reinforcement learning and methods."""

import dataclasses
import functools

import jax
import numpy as np
import tiny
import tiny_folder

from mer_jax.group import Media, Prompts
from mer_jax.models.omni import perceive, read_prompts
from mer_jax.rl import step as rl
from mer_jax.rl.score import Sampling, score

B, G, S, END = 8, 4, 9, 63
BANNED = (60, 61, 62)
SAMPLING = Sampling(tokens=S, end=END, banned=BANNED, temperature=0.7)
# The first and the third branch open alike. The end token of the second is forced: it ends nothing.
OPENING = np.array([[11, 12], [13, END], [11, 12], [-1, -1]])
PROMPTS = tiny.prompts([5, 3, 4, 6, 6, 2, 5, 4], 6)
# With towers; an attention window has 16 patches.
SEEING = dataclasses.replace(
    tiny_folder.SPEC, vision=dataclasses.replace(tiny_folder.SPEC.vision, window_size=8)
)


def whole(logp_bgv):
    """Records the distribution behind each token."""
    return logp_bgv


def rolled_out(
    policy,
    prompts=PROMPTS,
    sampling=SAMPLING,
    numbers=range(B),
    seed=0,
    step=1,
    opening=OPENING,
    microbatch=0,
):
    """The Rollout of prompts of these numbers; `watched` is f[b, g, s, v]."""
    program = rl.compiled_roll_out(sampling, whole, microbatch)
    numbers = np.asarray(numbers, np.uint32)
    return program(policy, prompts, numbers, np.uint32(seed), np.uint32(step), opening)


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
    """Random tokens i[b, g, s] after the last token of each prompt."""
    token = np.random.default_rng(seed).integers(2, 60, (len(prompts.start), g, s))
    token[:, :, 0] = prompts.start[:, None]
    return token


def seen_prompts(seed: int = 0) -> Prompts:
    """PROMPTS whose tokens show a picture of 4 cells and a sound of 2 tokens, for SEEING."""
    rng, (b, t) = np.random.default_rng(seed), PROMPTS.token.shape
    place = np.full((b, t), -1, np.int32)
    place[:, -5:] = rng.permuted(np.tile(np.arange(6, dtype=np.int32), (b, 1)), axis=1)[:, :5]
    media = Media(
        patch=rng.normal(size=(b, 1, 16, 24)).astype(np.float32),
        patch_mask=rng.random((b, 1, 16)) < 0.9,
        patch_row_col=np.indices((4, 4)).reshape(2, 16).T[None, None] + np.zeros((b, 1, 1, 1), int),
        sound=rng.normal(size=(b, 1, 8, 6)).astype(np.float32),
        sound_length=np.tile([[8], [6]], (b // 2, 1)),
        sound_pair=np.tile([[[0, 1], [2, 2]]], (b, 1, 1)),
        place=np.where(PROMPTS.mask, place, -1),
    )
    return PROMPTS.replace(media=media)


def experience_of(policy, prompts=PROMPTS, on_policy=False, seed: int = 5) -> rl.Experience:
    """Random branches with advantages, whose sampling policy and reference are near the policy."""
    rng = np.random.default_rng(seed)
    token = random_branches(prompts)
    b, g, s = token.shape
    mask = (np.arange(s) > 2) & (np.arange(s) < rng.integers(5, s + 1, (b, g, 1)))
    logp = np.asarray(scored(policy, prompts, token))
    features = np.zeros((b, 0, 32), np.float32) if prompts is PROMPTS else None
    near, far = rng.normal(0, 0.4, (2, *mask.shape))
    return rl.Experience(
        prompts=prompts,
        features=features,
        token=token,
        mask=mask,
        kept=np.ones((b, g), bool),
        sampled=np.where(mask, logp if on_policy else logp + near, 0).astype(np.float32),
        advantage=rng.normal(0, 1, (b, g)).astype(np.float32),
        reference=(logp + far).astype(np.float32),
    )


def assert_near(found, wanted, share, largest=None):
    """Every leaf, but for a share of `largest`, by default the largest entry of all."""
    largest = largest_of(wanted) if largest is None else largest
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(jax.device_get(a), b, atol=share * largest, rtol=0)


def largest_of(tree):
    """The largest size of an entry of all leaves."""
    return max(np.abs(leaf).max() for leaf in jax.tree.leaves(tree) if np.size(leaf))
