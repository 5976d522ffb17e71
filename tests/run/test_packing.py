"""Rows without padding: which tokens share one, and how long it is."""

import jax
import numpy as np
import pytest

from mer_jax.run import packing
from mer_jax.run.packing import pack, row_length
from mer_jax.sharding import make_mesh


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Rows of any length, so that those of small branches have several."""
    monkeypatch.setattr(packing, 'TILE_ROWS', 1)


def learnt(*lengths, s=5, first=2):
    """A mask bool[b, g, s] of branches that learn the tokens from `first` up to these lengths."""
    count = np.array(lengths)[..., None]
    return (np.arange(s) < count) & (np.arange(s) >= first)


def test_a_row_holds_the_tokens_before_the_last_learnt_one_of_all_its_branches():
    # The last token of a branch predicts nothing; the last branch learns nothing.
    found = pack(learnt([5, 3], [4, 0]), 2, 0, 8)
    np.testing.assert_array_equal(found.token, [[0, 1, 2, 3, 5, 6, 10, 11, 12, -1]])
    places = [[[0, 1, 2, 3, -1], [4, 5, -1, -1, -1]], [[6, 7, 8, -1, -1], [-1] * 5]]
    np.testing.assert_array_equal(found.entry, places)


def test_a_token_that_is_not_learnt_between_two_that_are_is_read():
    mask = learnt([4])
    mask[0, 0, 2] = False
    np.testing.assert_array_equal(pack(mask, 1, 0, 4).token, [[0, 1, 2]])


@pytest.mark.parametrize(
    ('minibatch', 'microbatch', 'rows'), [(4, 0, 1), (2, 0, 2), (4, 1, 4), (2, 2, 2), (4, 3, 4)]
)
def test_the_prompts_of_a_row_are_those_that_are_learnt_at_once(minibatch, microbatch, rows):
    found = pack(learnt([3], [2], [4], [3]), minibatch, microbatch, 8)
    held = found.token >= 0
    assert len(found.token) == rows and held.sum() == 2 + 0 + 3 + 2
    # Entries and tokens point at each other.
    place = found.entry.reshape(rows, -1)
    for row in range(rows):
        entries = np.flatnonzero(held[row])
        np.testing.assert_array_equal(place[row, found.token[row, entries]], entries)
        assert (place[row] >= 0).sum() == len(entries)


def test_every_device_has_rows_of_its_own():
    with jax.set_mesh(make_mesh(4, 1, 1, jax.devices()[:4])):
        found = pack(learnt([3], [2], [3], [3]), 4, 0, 8)
    assert len(found.token) == 4


@pytest.mark.parametrize(
    ('tokens', 'parts', 'length'),
    [
        (1, 4, 25),
        (25, 4, 25),
        (26, 4, 50),
        (75, 4, 75),
        (76, 4, None),  # the padded length
        (100, 4, None),
        (0, 4, 25),
        (34, 3, 34),  # a part is rounded up
        (35, 3, None),  # 68 saves less than a part
        (1, 1, None),
    ],
)
def test_a_row_is_as_long_as_the_fewest_parts_that_hold_its_tokens(tokens, parts, length):
    assert row_length(tokens, 100, parts) == length


def test_rows_are_whole_tiles_of_a_device(monkeypatch):
    monkeypatch.setattr(packing, 'TILE_ROWS', 16)
    assert row_length(3, 100, 8) == 16
    assert row_length(33, 100, 8) == 48
    assert row_length(97, 100, 8) is None


def test_nothing_is_packed_without_parts_or_where_branches_are_full():
    assert pack(learnt([3, 3]), 1, 0, 0) is None
    assert pack(learnt([5, 5]), 1, 0, 4) is None


def test_all_processes_take_the_length_of_the_fullest_row_of_all(monkeypatch):
    monkeypatch.setattr(packing, 'largest_of_all', lambda numbers: [max(*numbers, 5)])
    assert pack(learnt([3, 3]), 1, 0, 4).token.shape == (1, 6)
    monkeypatch.setattr(packing, 'largest_of_all', lambda numbers: [max(*numbers, 7)])
    assert pack(learnt([3, 3]), 1, 0, 4) is None
