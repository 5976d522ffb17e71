"""The types that travel between the floors: media, prompts, keys, branches, rollouts, states.

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
    """Pictures and sound of a batch of prompts, laid out so that the towers need no host help.

    The patches of a frame are in window order: every attention window is padded to the same
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
    feature: Array | None = None  # f[b, r, d], those rows, if the towers have computed them before


@struct.dataclass
class Prompts:
    """A batch of prompts without their last token, with which every branch begins."""

    token: Array  # i[b, t]
    mask: Array  # bool[b, t], False where padded (left or right)
    position: Array  # i[b, 3, t], (time, height, width) of multimodal RoPE
    start: Array  # i[b], the last token of the prompt, the first of each branch
    next_position: Array  # i[b], the position of `start`; a branch counts on from it
    media: Media


@struct.dataclass
class Keys:
    """Attention keys (after rotation) and values of prompts in all layers."""

    k: Array  # f[l, b, t, k, h]
    v: Array


@struct.dataclass
class Branches:
    """Branches of a group; token 0 is the last token of the prompt, then the opening, then samples.

    `logp` is what `rl.score` gives for the policy that sampled them: at the sampling temperature,
    without the banned tokens, before top-p. `watched` is what the method records of the
    distribution behind each token; every array of it leads with [b, g, s].
    """

    token: Array  # i[b, g, s]
    mask: Array  # bool[b, g, s], True where the token was sampled (or is to be learnt)
    logp: Array  # f[b, g, s], 0 where not sampled
    watched: Any


@struct.dataclass
class Packing:
    """Where the tokens of branches lie in rows without padding.

    A row holds the branches of b / r prompts one after the other; of each branch the tokens before
    its last learnt one, for what is behind teaches nothing.
    """

    token: Array  # i[r, c], the number of an entry's token over [b / r, g, s], or −1: spare
    entry: Array  # i[b, g, s], the entry of a token in its row, or −1: in no row


@struct.dataclass
class Rollout:
    """Grown branches and the tensors of their prompts that later passes share."""

    branches: Branches
    features: Array  # f[b, rows, d], the towers' features of the media
    keys: Keys  # of the prompts, by the policy that grew the branches


@struct.dataclass
class TrainState:
    """Everything that a training step changes."""

    policy: Any  # models.omni.Omni
    moments: Any  # optax state of the trained part
