"""Words of cells, and ids that occur twice."""

import pytest
from benchmark_folders import put

from mer_jax.data.prepare.drafts import Reader, Row
from mer_jax.data.prepare.media_index import MediaIndex


@pytest.fixture
def reader(tmp_path):
    put(tmp_path, 'a.mp4', 'b.mp4')
    return Reader(MediaIndex(tmp_path), labels=('sad', 'happy'))


@pytest.mark.parametrize(
    ('cell', 'words'),
    [
        ('["Sad", "lonely"]', ('sad', 'lonely')),
        (['sad', 'at a loss'], ('sad', 'at a loss')),
        (1, ('happy',)),
        ('0.0', ('sad',)),
        ('<answer>calm</answer>', ('calm',)),
    ],
)
def test_words_of_a_cell(reader, cell, words):
    assert reader.words(cell) == words


@pytest.mark.parametrize(
    ('cell', 'said'),
    [(2, '2 labels are named'), ('', 'no emotion word'), ('He is very sad now.', '--sentences')],
)
def test_cells_without_words_say_why(reader, cell, said):
    with pytest.raises(ValueError, match=said):
        reader.words(cell)


def test_rows_with_one_id_are_told_apart_and_repeated_ones_left_out(reader):
    cells = [
        {'id': 'x', 'video': 'a.mp4', 'words': 'sad'},
        {'id': 'x', 'video': 'a.mp4', 'words': 'sad'},
        {'id': 'x', 'video': 'b.mp4', 'words': 'happy'},
    ]
    found = reader.drafts(Row(f't.csv:{n}', one) for n, one in enumerate(cells, 2))
    assert [draft.clip.id for draft in found.kept] == ['x', 'x#2']
    assert '1 rows repeat' in found.notes[0] and '1 rows have the id' in found.notes[1]
