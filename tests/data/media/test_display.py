"""Films whose display matrix turns or mirrors them are read upright."""

import itertools
import struct

import numpy as np
import pytest
from media_files import read_at_two, write_film

from mer_jax.data.media.video import read_film

MATRICES = [(a, 0, 0, d) for a, d in itertools.product((1, -1), repeat=2)] + [
    (0, b, c, 0) for b, c in itertools.product((1, -1), repeat=2)
]


def with_matrix(path, film, matrix):
    """A copy of an mp4 film with another display matrix (a, b, c, d)."""
    raw = film.read_bytes()
    at = raw.index(b'tkhd') + 44
    a, b, c, d = (round(number * (1 << 16)) for number in matrix)
    held = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(raw[:at] + held + raw[at + 36 :])
    return path


def shown(pixels, matrix):
    """Pixels [H, W, 3] where the matrix puts them: (x, y) at (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    out = np.zeros((row.max() + 1, column.max() + 1, 3), np.uint8)
    out[row, column] = pixels
    return out


@pytest.mark.parametrize('matrix', MATRICES)
def test_a_film_is_turned_and_mirrored_as_its_display_matrix_says(tmp_path, matrix):
    film = write_film(tmp_path / 'a.mp4', frames=8)
    plain, _ = read_at_two(film)
    assert plain[-1, :14, :14].max() < 20 < plain[-1, :14, -14:].min()
    frames, _ = read_at_two(with_matrix(tmp_path / 'b.mp4', film, matrix))
    np.testing.assert_array_equal(frames, [shown(frame, matrix) for frame in plain])


def test_a_matrix_between_quarters_is_rounded_and_one_of_zeros_turns_nothing(tmp_path):
    film = write_film(tmp_path / 'a.mp4', frames=8)
    plain, _ = read_at_two(film)
    for degrees, turns in ((30, 0), (-60, 1), (100, -1)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        frames, _ = read_at_two(with_matrix(tmp_path / 'b.mp4', film, (c, s, -s, c)))
        np.testing.assert_array_equal(frames, np.rot90(plain, turns, (1, 2)))
    frames, _ = read_at_two(with_matrix(tmp_path / 'b.mp4', film, (0, 0, 0, 0)))
    np.testing.assert_array_equal(frames, plain)


def test_the_size_and_the_notes_of_a_film_speak_of_the_upright_frame(tmp_path):
    film = write_film(tmp_path / 'a.mp4', frames=8)
    assert (read_film(film, 2.0).size, read_film(film, 2.0).changed) == ((64, 96), ())
    turned = read_film(with_matrix(tmp_path / 'b.mp4', film, (0, 1, 1, 0)), 2.0)
    assert turned.size == (96, 64) and 'mirrored' in turned.changed[0]
