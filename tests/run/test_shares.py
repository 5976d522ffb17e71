"""The rows of a process, and the prompts in them."""

import jax
import numpy as np
import pytest

from mer_jax.rl.pieces import in_pieces
from mer_jax.run.held_out import in_order
from mer_jax.run.shares import numbers_of_rows, rows_here
from mer_jax.sharding import make_mesh, to_devices


@pytest.mark.parametrize('axes', [(2, 2, 2), (8, 1, 1), (1, 1, 8)])
def test_minibatches_have_the_same_prompts_on_every_mesh(axes):
    mesh = make_mesh(*axes)
    numbers = numbers_of_rows(mesh, 32, 2)
    with jax.set_mesh(mesh):
        one, two = jax.jit(lambda x: in_pieces(x, 2))(to_devices(mesh, numbers))
    np.testing.assert_array_equal(np.sort(one), np.arange(16))
    np.testing.assert_array_equal(np.sort(two), np.arange(16, 32))
    np.testing.assert_array_equal(numbers_of_rows(mesh, 32), np.arange(32))
    np.testing.assert_array_equal(rows_here(mesh, 32), np.arange(32))


def test_values_of_all_processes_come_in_the_order_of_their_numbers():
    assert in_order({7: {'id': 'c7'}, 2: {'id': 'c2'}}) == [{'id': 'c2'}, {'id': 'c7'}]
