"""Which tokens of branches share a row, so that learning skips the padding behind short ones."""

import math

import numpy as np

from mer_jax.group import Packing
from mer_jax.sharding import batch_devices, largest_of_all

LANES = 16  # bfloat16 rows of a tile of a TPU; rooms are multiples of it


def pack(
    mask_bgs: np.ndarray, b: int, minibatches: int, microbatch: int, shares: int
) -> Packing | None:
    """The Packing of branches with these learnt tokens; None where they are learnt with padding.

    A row holds the prompts that a device learns from at once: those of a minibatch, or of a
    microbatch. Of a branch it holds the tokens before the last learnt one, for what is behind
    teaches nothing. Its room is some of `shares` equal shares of what branches take with padding,
    as few as hold the fullest row of all processes: each room that occurs is compiled for. Without
    shares, or where only the whole is room enough, nothing is packed. `mask_bgs` holds the prompts
    of this process; b are those of all.
    """
    if not shares:
        return None
    prompts = math.gcd(b // batch_devices() // minibatches, microbatch)
    b, g, s = mask_bgs.shape
    last = np.where(mask_bgs.any(-1), s - 1 - mask_bgs[..., ::-1].argmax(-1), 0)
    read = (np.arange(s) < last[..., None]).reshape(b // prompts, -1)
    (fullest,) = largest_of_all([read.sum(1).max()])
    room = room_of(fullest, prompts * g * (s - 1), shares)
    if room is None:
        return None
    slot = np.full((len(read), room), -1, np.int32)
    place = np.where(read, read.cumsum(1) - 1, -1).astype(np.int32)
    row, token = np.nonzero(read)
    slot[row, place[row, token]] = token
    return Packing(slot=slot, place=place.reshape(b, g, s))


def room_of(tokens: int, whole: int, shares: int) -> int | None:
    """The room for so many tokens of a row whose branches have `whole` at most; None: all of it."""
    share = LANES * math.ceil(whole / shares / LANES)
    room = share * max(1, math.ceil(tokens / share))
    return room if room < whole else None
