"""The rows of a batch that each process reads, and the answers of all processes together."""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from mer_jax.sharding import axis_size, largest_of_all, named, rules_in_use


def rows_here(mesh, b: int) -> np.ndarray:
    """The rows, of a batch of b, that devices of this process hold, in order.

    Two processes hold the same rows where `tensor` spans their devices.
    """
    indices = named(mesh, 'batch').addressable_devices_indices_map((b,)).values()
    return np.unique(np.concatenate([np.arange(b)[index] for index in indices]))


def numbers_of_rows(mesh, b: int, minibatches: int = 1) -> np.ndarray:
    """The number of the prompt in each row of a batch of b.

    `in_pieces` takes a minibatch from the share of every device. Prompts are numbered so that
    minibatch i has the same ones, the i-th part of all numbers, on every mesh.
    """
    shards = axis_size(mesh, rules_in_use()['batch'])
    return np.arange(b).reshape(minibatches, shards, -1).swapaxes(0, 1).ravel()


def gather_rows(rows: list) -> list:
    """The JSON values of all processes, those of process 0 first."""
    if jax.process_count() == 1:
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    (size,) = largest_of_all([len(text)])
    padded = np.full(size, ord(' '), np.uint8)
    padded[: len(text)] = text
    all_texts = multihost_utils.process_allgather(padded)
    return [row for text in all_texts for row in json.loads(text.tobytes())]
