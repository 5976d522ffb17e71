"""The types that travel between the floors: media, prompts, keys, branches, readings, states.

One letter per axis, the same letter in every einsum:
b prompts · g branches · s tokens of a branch · t tokens of a prompt · w wheels · c categories of a
wheel · a anchors · d width · n query heads · k key heads · h head width · v vocabulary · l layers ·
z frames (temporal patches) · p patches of a frame · x values of a patch · j audio chunks ·
f audio frames of a chunk · m mel bands · q audio tokens.
"""

from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray


@struct.dataclass
class Media:
    """What a batch of prompts shows and plays, laid out so that the towers need no host help.

    The patches of a frame stand in window order: every attention window is padded to the same
    number of patches, so a window is a block of consecutive patches and a frame a block of windows.
    Images and videos share the axis z in the order of their placeholders in the prompt; a clip that
    has fewer frames or chunks than its neighbours is padded, and the masks say so. Either modality
    may be absent from a whole batch (z = 0 or j = 0).
    """

    patch: Array  # f[b, z, p, x]
    patch_mask: Array  # bool[b, z, p]
    patch_row_col: Array  # i[b, z, p, 2], the place of the patch inside its frame
    sound: Array  # f[b, j, f, m], log-mel
    sound_length: Array  # i[b, j], valid frames of each chunk, 0 where the chunk is padding
    sound_pair: (
        Array  # i[b, q, 2], the two convolved frames (j·f/2 + i) averaged into an audio token
    )
    place: Array  # i[b, t], the row of [picture features | audio tokens] that a token shows, or −1
    feature: Array | None = None  # f[b, r, d], those rows, where the towers have seen all before


@struct.dataclass
class Prompts:
    """A batch of prompts without their last token, with which every branch begins."""

    token: Array  # i[b, t]
    mask: Array  # bool[b, t], False where padded (left or right)
    position: Array  # i[b, 3, t], (time, height, width) of multimodal RoPE
    start: Array  # i[b], the last token of the prompt, the first of each branch
    next_position: Array  # i[b], the position of `start`; a branch counts on from it
    media: Media
    gold: Array  # bool[b, w, c], categories of the gold words in each wheel


@struct.dataclass
class Keys:
    """Attention keys (after rotation) and values of all layers."""

    k: Array  # f[l, b, t, k, h] of a prompt, f[l, b, g, s, k, h] of branches
    v: Array


@struct.dataclass
class Branches:
    """Branches of a group; token 0 is the last token of the prompt, then the opening, then samples.

    `logp` is that of the distribution that was really sampled from: at the sampling temperature,
    without the banned tokens, renormalised after top-p. `nucleus` is the log of the probability
    that top-p kept, so `logp + nucleus` is what `score` gives at the same temperature.
    """

    token: Array  # i[b, g, s]
    mask: Array  # bool[b, g, s], True where the token was sampled (or is to be learnt)
    logp: Array  # f[b, g, s], 0 where not sampled
    nucleus: Array  # f[b, g, s]
    confidence: Array  # f[b, g, s, w, c], S(category) of the distribution behind the token


@struct.dataclass
class Reading:
    """What the host read in branches, and the echo of each answer after an emptied think block."""

    named: Array  # bool[b, g, w, c]
    formed: Array  # bool[b, g], all tags are there
    anchor: (
        Array  # i[b, g, a], index in the branch of the first token of an emotion word, −1 = none
    )
    right: Array  # bool[b, g, a], a wheel puts the word into a gold category
    echo: Array  # i[b, g, s], tokens of the echo branch (token 0 as in a branch)
    echo_anchor: Array  # i[b, g, a], the same words' first tokens in the echo, −1 = none


@struct.dataclass
class RewardTerms:
    """The reward of each branch, a struct of terms until the advantage is taken."""

    recall: Array  # f[b, g]
    precision: Array  # f[b, g]
    f: Array  # f[b, g]
    form: Array  # f[b, g]


@struct.dataclass
class TrainState:
    """What a training step changes."""

    step: Array  # i[]
    policy: Any  # models.omni.Omni
    moments: Any  # optax state of what is trained
