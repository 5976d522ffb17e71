"""Predictions are written as CSV, JSON lines and parquet, and read back as the same answers."""

import json

import pytest

from mer_jax.evaluation.label_files import ANSWERS, plain_words, read_column
from mer_jax.evaluation.prediction import Answer
from mer_jax.evaluation.prediction_files import answered_rows, main, write_rows
from mer_jax.predict import as_rows

ROWS = [
    {'name': 'a', 'mode': 'slow', 'answer': ['sad', 'lonely'], 'confidences': {'w': {'sad': 0.5}}},
    {'name': 'b', 'mode': 'slow', 'answer': ['happy'], 'think': 'A "smile", wide.'},
]


@pytest.mark.parametrize('ending', ['.csv', '.jsonl', '.parquet'])
def test_each_form_gives_the_same_words(tmp_path, ending):
    if ending == '.parquet':
        pytest.importorskip('pyarrow')
    path = tmp_path / f'p{ending}'
    write_rows(path, ROWS)
    column = read_column(path, ANSWERS, mode='slow')
    assert {name: plain_words(value) for name, value in column.values.items()} == {
        'a': ['sad', 'lonely'],
        'b': ['happy'],
    }
    assert answered_rows(path)[1]['think'] == 'A "smile", wide.'


def test_the_command_converts_and_keeps_one_mode(tmp_path, capsys):
    source, out = tmp_path / 'p.jsonl', tmp_path / 'p.csv'
    lines = [
        {'id': 'a', 'mode': 'slow', 'answer': 'sad'},
        {'id': 'a', 'mode': 'fast', 'answer': 'happy'},
        {'id': 'b', 'mode': 'none', 'error': 'damaged'},
    ]
    source.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    main([str(source), str(out), '--mode', 'slow'])
    assert out.read_text() == 'name,mode,answer\na,slow,sad\n'
    assert '1 answers' in capsys.readouterr().out


def test_an_unknown_ending_names_the_known_ones(tmp_path):
    with pytest.raises(SystemExit, match='ends in .csv, .jsonl, .parquet'):
        main([str(tmp_path / 'p.jsonl'), str(tmp_path / 'p.xls')])


def test_rows_of_a_prediction_have_the_columns_of_an_evaluation():
    answer = Answer({'sad': 2, 'shy': 1}, 'He looks down.', 2, ('text',), {'w': {'sad': 0.9}}, {})
    (row,) = as_rows('clips/x.mp4', {'slow': answer})
    assert (row['name'], row['mode'], row['answer']) == ('x', 'slow', ['sad', 'shy'])
    assert row['confidences'] == {'w': {'sad': 0.9}} and row['think'] == 'He looks down.'
