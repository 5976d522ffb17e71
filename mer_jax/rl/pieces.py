"""Batches in pieces, for minibatches and microbatches, without a row that travels."""

import math

import jax
from jax.sharding import PartitionSpec

from mer_jax.sharding import batch_devices, rules_in_use


def count_pieces(b: int, microbatch: int) -> int:
    """In how many pieces of at most `microbatch` prompts a device b prompts divide; 0: one."""
    share = b // batch_devices()
    return share // math.gcd(share, microbatch) if microbatch and share else 1


def in_pieces(tree, count: int):
    """Every leaf [b, ...] as [count, b / count, ...], each piece spread over all devices.

    Piece i holds the i-th block of every device's share, so that nothing travels.
    """

    def split(x):
        b, *rest = x.shape  # of size 0 where a batch has no pictures or no sound
        pieces = _blocks(x, count, 0).swapaxes(0, 1).reshape(count, b // count, *rest)
        return _spread(pieces, 1)

    return jax.tree.map(split, tree)


def whole_of_pieces(tree):
    """Every leaf [count, b / count, ...] as [b, ...]: what `in_pieces` has split."""
    shards = batch_devices()

    def join(x):
        count, size, *rest = x.shape
        blocks = x.reshape(count, shards, size // shards, *rest).swapaxes(0, 1)
        return _spread(blocks.reshape(count * size, *rest), 0)

    return jax.tree.map(join, tree)


def piece_at(tree, number, count: int, axis: int = 0):
    """Piece `number` of `in_pieces` alone, of leaves whose prompts lie along `axis`."""

    def take(x):
        before, b, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        blocks = _blocks(x, count, axis)
        block = jax.lax.dynamic_index_in_dim(blocks, number, axis + 1, keepdims=False)
        return _spread(block.reshape(*before, b // count, *after), axis)

    return jax.tree.map(take, tree)


def with_piece(tree, piece, number, count: int, axis: int = 0):
    """The tree with `piece` in place of its `piece_at` of this number."""

    def put(x, one):
        blocks, block = _blocks(x, count, axis), _blocks(one, 1, axis)
        blocks = jax.lax.dynamic_update_slice_in_dim(blocks, block, number, axis + 1)
        return _spread(blocks.reshape(x.shape), axis)

    return jax.tree.map(put, tree, piece)


def _blocks(x, count: int, axis: int):
    """x whose prompts, along `axis`, are counted by device, piece and place: three axes."""
    before, b, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    shards = batch_devices()
    return x.reshape(*before, shards, count, b // (shards * count), *after)


def _spread(x, axis: int):
    """x with the prompts along `axis` spread over all devices, if a mesh is in use."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    spec = PartitionSpec(*[None] * axis, rules_in_use()['batch'])
    return jax.lax.with_sharding_constraint(x, spec)
