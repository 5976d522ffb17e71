"""Rows without padding: which tokens share one, and how much room it has."""

import jax
import numpy as np
import pytest

from mer_jax.run import packing
from mer_jax.run.packing import pack, room_of
from mer_jax.sharding import make_mesh


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Rooms of any size, so that small branches have several."""
    monkeypatch.setattr(packing, 'LANES', 1)


def learnt(*lengths, s=5, first=2):
    """A mask bool[b, g, s] of branches that learn the tokens from `first` up to these lengths."""
    count = np.array(lengths)[..., None]
    return (np.arange(s) < count) & (np.arange(s) >= first)


def test_a_row_holds_the_tokens_before_the_last_learnt_one_of_all_its_branches():
    # The last token of a branch predicts nothing; the last branch learns nothing.
    found = pack(learnt([5, 3], [4, 0]), 2, 1, 0, 8)
    np.testing.assert_array_equal(found.slot, [[0, 1, 2, 3, 5, 6, 10, 11, 12, -1]])
    places = [[[0, 1, 2, 3, -1], [4, 5, -1, -1, -1]], [[6, 7, 8, -1, -1], [-1] * 5]]
    np.testing.assert_array_equal(found.place, places)


def test_a_token_that_is_not_learnt_between_two_that_are_is_read():
    mask = learnt([4])
    mask[0, 0, 2] = False
    np.testing.assert_array_equal(pack(mask, 1, 1, 0, 4).slot, [[0, 1, 2]])


@pytest.mark.parametrize(
    ('minibatches', 'microbatch', 'rows'), [(1, 0, 1), (2, 0, 2), (1, 1, 4), (2, 2, 2), (1, 3, 4)]
)
def test_the_prompts_of_a_row_are_those_that_are_learnt_at_once(minibatches, microbatch, rows):
    found = pack(learnt([3], [2], [4], [3]), 4, minibatches, microbatch, 8)
    held = found.slot >= 0
    assert len(found.slot) == rows and held.sum() == 2 + 0 + 3 + 2
    # Entries and tokens point at each other.
    place = found.place.reshape(rows, -1)
    for row in range(rows):
        entries = np.flatnonzero(held[row])
        np.testing.assert_array_equal(place[row, found.slot[row, entries]], entries)
        assert (place[row] >= 0).sum() == len(entries)


def test_every_device_has_rows_of_its_own():
    with jax.set_mesh(make_mesh(4, 1, 1, jax.devices()[:4])):
        assert len(pack(learnt([3], [2], [3], [3]), 4, 1, 0, 8).slot) == 4


@pytest.mark.parametrize(
    ('tokens', 'shares', 'room'),
    [
        (1, 4, 25),
        (25, 4, 25),
        (26, 4, 50),
        (75, 4, 75),
        (76, 4, None),  # the whole is not packed
        (100, 4, None),
        (0, 4, 25),
        (35, 3, 68),  # a share is rounded up
        (1, 1, None),
    ],
)
def test_the_room_is_the_fewest_shares_that_hold_the_tokens(tokens, shares, room):
    assert room_of(tokens, 100, shares) == room


def test_rooms_are_whole_registers_of_a_device(monkeypatch):
    monkeypatch.setattr(packing, 'LANES', 16)
    assert room_of(3, 100, 8) == 16
    assert room_of(33, 100, 8) == 48
    assert room_of(97, 100, 8) is None


def test_nothing_is_packed_without_shares_or_where_branches_are_full():
    assert pack(learnt([3, 3]), 1, 1, 0, 0) is None
    assert pack(learnt([5, 5]), 1, 1, 0, 4) is None


def test_all_processes_take_the_room_of_the_fullest_row_of_all(monkeypatch):
    monkeypatch.setattr(packing, 'largest_of_all', lambda numbers: [max(*numbers, 5)])
    assert pack(learnt([3, 3]), 1, 1, 0, 4).slot.shape == (1, 6)
    monkeypatch.setattr(packing, 'largest_of_all', lambda numbers: [max(*numbers, 7)])
    assert pack(learnt([3, 3]), 1, 1, 0, 4) is None
