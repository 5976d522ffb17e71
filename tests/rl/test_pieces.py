"""Batches in pieces: blocks in order, the same alone and among others, and no row travels."""

import contextlib
import functools

import jax
import numpy as np
import pytest

from mer_jax.rl.pieces import count_pieces, in_pieces, piece_at, whole_of_pieces, with_piece
from mer_jax.sharding import make_mesh, to_devices


@pytest.fixture(scope='module')
def mesh():
    return make_mesh(2, 2, 2)


@pytest.mark.parametrize('shape', [(6,), (6, 2), (6, 0, 3), (6, 2, 0)])
def test_pieces_of_a_batch_are_its_blocks_in_order(shape):
    x = np.arange(np.prod(shape)).reshape(shape)
    pieces = in_pieces(x, 3)
    assert pieces.shape == (3, 2, *shape[1:])
    np.testing.assert_array_equal(np.concatenate(pieces), x)
    np.testing.assert_array_equal(whole_of_pieces(pieces), x)


@pytest.mark.parametrize('axes', [None, (2, 2, 2)])
def test_a_piece_is_the_same_alone_and_among_others_whatever_the_axis_of_the_prompts(axes):
    x = np.arange(16 * 3).reshape(16, 3)
    with jax.set_mesh(make_mesh(*axes)) if axes else contextlib.nullcontext():
        pieces = jax.jit(functools.partial(in_pieces, count=2))(x)
        alone = [jax.jit(functools.partial(piece_at, count=2))(x, i) for i in range(2)]
        beside = jax.jit(functools.partial(piece_at, count=2, axis=1))(x.T, 1)
        whole = jax.jit(whole_of_pieces)(pieces)
        put = jax.jit(functools.partial(with_piece, count=2, axis=1))
        filled = put(put(np.zeros_like(x.T), pieces[0].T, 0), pieces[1].T, 1)
    np.testing.assert_array_equal(alone, pieces)
    np.testing.assert_array_equal(beside, pieces[1].T)
    np.testing.assert_array_equal(whole, x)
    np.testing.assert_array_equal(filled, x.T)


@pytest.mark.parametrize(
    ('prompts', 'microbatch', 'count'), [(16, 0, 1), (16, 1, 4), (16, 3, 4), (24, 4, 3), (8, 4, 1)]
)
def test_prompts_of_a_device_are_taken_in_pieces_that_divide_them(prompts, microbatch, count):
    with jax.set_mesh(make_mesh(2, 2, 2)):
        assert count_pieces(prompts, microbatch) == count


def test_each_piece_takes_a_block_of_every_devices_share_and_no_row_travels(mesh):
    x = to_devices(mesh, np.arange(16))
    with jax.set_mesh(mesh):
        program = jax.jit(lambda x: in_pieces(x, 2)).lower(x).compile()
        pieces = program(x)
    # Four shares of four rows; the rows of a device's piece are of its own share.
    wanted = [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    np.testing.assert_array_equal(pieces, wanted)
    share = {shard.device: set(np.asarray(shard.data)) for shard in x.addressable_shards}
    for shard in pieces.addressable_shards:
        assert shard.data.shape == (2, 2)
        assert set(np.asarray(shard.data).ravel()) == share[shard.device]
    moves = ('all-gather', 'all-to-all', 'all-reduce', 'collective-permute')
    assert not any(move in program.as_text() for move in moves)
