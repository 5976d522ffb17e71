"""Files of the tracks of MER2025 and MER2026, and predictions that do not fit them."""

import json

import numpy as np
import pytest

from mer_jax.evaluation.label_files import published_words, read_column
from mer_jax.evaluation.submissions import main


@pytest.fixture
def folder(tmp_path):
    """Predictions of three clips, and candidates in another order."""
    rows = [
        {'name': 'a', 'answer': ['joyful', 'proud'], 'think': 'A smile,\nthen a laugh.'},
        {'name': 'b', 'answer': '<think>x</think><answer>worried</answer>', 'think': 'He frowns.'},
        {'name': 'c', 'answer': 'furious', 'think': ''},
    ]
    (tmp_path / 'p.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (tmp_path / 'both.csv').write_text('name\nb\na\n')
    (tmp_path / 'more.csv').write_text('name\nb\na\nz\n')
    return tmp_path


def write(folder, track, out, candidates='both.csv', *flags):
    files = ('--predictions', folder / 'p.jsonl', '--candidates', folder / candidates)
    main([*map(str, ('--track', track, *files, '--out', folder / out, *flags))])
    return folder / out


def test_open_words_become_an_npz_without_pickles(folder, capsys):
    path = write(folder, 'mer2025-fg', 'x-openset.npz')
    held = np.load(path)  # allow_pickle=False
    assert held['filenames'].tolist() == ['b', 'a']
    assert held['fileitems'].tolist() == ['[worried]', '[joyful, proud]']
    column = read_column(path, ('fileitems',))
    assert published_words(column.values['a']) == ['joyful', 'proud']
    assert '2 rows of mer2025-fg, 1 predictions are of no candidate' in capsys.readouterr().out


def test_six_labels_and_descriptions_become_csv(folder):
    said = write(folder, 'mer2026-cross', 'one.csv').read_text()
    assert said == 'name,discrete\nb,worried\na,happy\n'
    assert write(folder, 'mer2025-des', 'two.csv').read_text() == (
        'name,reason\nb,He frowns.\na,"A smile, then a laugh."\n'
    )


def test_missing_and_unfit_predictions_are_counted_or_filled(folder):
    with pytest.raises(SystemExit, match=r'1 of 3 candidates have no prediction \(z\).*--fill'):
        write(folder, 'mer2026-fg', 'x.csv', 'more.csv')
    (folder / 'one.csv').write_text('name\nc\n')
    with pytest.raises(SystemExit, match='does not hold a word of neutral, angry'):
        write(folder, 'mer2025-semi', 'x.csv', 'one.csv')
    path = write(folder, 'mer2026-fg', 'x.csv', 'more.csv', '--fill', 'neutral')
    assert path.read_text().endswith('z,neutral\n')


def test_pairs_keep_their_rows_and_get_a_preference(folder):
    (folder / 'pairs.csv').write_text('name,a1,a2\nv,He smiles.,He cries.\nv,She sits.,She runs.\n')
    rows = [{'row': i, 'name': 'v', 'preference': f'a{2 - i}'} for i in range(2)]
    (folder / 'p.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    assert write(folder, 'mer2026-prefer', 'x.csv', 'pairs.csv').read_text() == (
        'name,a1,a2,preference\nv,He smiles.,He cries.,a2\nv,She sits.,She runs.,a1\n'
    )


def test_the_ending_must_fit_the_track(folder, capsys):
    with pytest.raises(SystemExit):
        write(folder, 'mer2026-cross', 'x.npz')
    assert 'mer2026-cross takes a file that ends in .csv' in capsys.readouterr().err
