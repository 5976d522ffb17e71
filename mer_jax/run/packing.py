"""Which tokens of branches share a row, so that learning skips the padding behind short ones."""

import math

import numpy as np

from mer_jax.group import Packing
from mer_jax.rl.pieces import count_pieces
from mer_jax.sharding import batch_devices, largest_of_all

TILE_ROWS = 16  # bfloat16 rows of a tile of a TPU; the lengths of rows are multiples of it


def pack(mask_bgs: np.ndarray, minibatch: int, microbatch: int, parts: int) -> Packing | None:
    """Packs the branches of each piece that a device learns from at once into one row.

    `mask_bgs` holds the learnt tokens of this process. An update has `minibatch` prompts, over all
    processes, and its pieces are those of `count_pieces`. The length of rows is that of
    `row_length` for the fullest row of all processes. None where that is the padded length, or
    without parts.
    """
    if not parts:
        return None
    b, g, s = mask_bgs.shape
    piece = minibatch // (batch_devices() * count_pieces(minibatch, microbatch))
    last = np.where(mask_bgs.any(-1), s - 1 - mask_bgs[..., ::-1].argmax(-1), 0)
    held = (np.arange(s) < last[..., None]).reshape(b // piece, -1)
    (fullest,) = largest_of_all([held.sum(1).max()])
    length = row_length(fullest, piece * g * (s - 1), parts)
    if length is None:
        return None
    token = np.full((len(held), length), -1, np.int32)
    entry = np.where(held, held.cumsum(1) - 1, -1).astype(np.int32)
    row, number = np.nonzero(held)
    token[row, entry[row, number]] = number
    return Packing(token=token, entry=entry.reshape(b, g, s))


def row_length(tokens: int, padded: int, parts: int) -> int | None:
    """The fewest of so many equal parts of the padded length that hold the tokens of a row.

    None where that would save less than a part: every length that occurs is compiled for.
    """
    part = TILE_ROWS * math.ceil(padded / parts / TILE_ROWS)
    length = part * max(1, math.ceil(tokens / part))
    return length if length + part <= padded else None
