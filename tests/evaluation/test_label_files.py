"""Labels and predictions are the same from every kind of file, and odd files are named."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mer_jax.data.answer_text import is_tagged
from mer_jax.data.answer_words import split_answer
from mer_jax.data.wheels.affectgpt_wheel import published_list
from mer_jax.evaluation import label_files as labels
from mer_jax.evaluation.label_files import plain_words, published_words, read_column

READERS = (plain_words, published_words)
LISTS = {'clip1': '[happy, excited]', 'clip2': "['sad']", 'clip3': ''}


@pytest.fixture
def saved(tmp_path):
    """Writes a text, or bytes, to a file of that name."""

    def save(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return save


def refusal(path, keys=('answer',), **asked):
    """The message with which a file is refused."""
    with pytest.raises(ValueError) as refused:
        read_column(path, keys, **asked)
    return str(refused.value)


def as_csv(cells):
    return 'name,answer\n' + ''.join(f'{name},"{cell}"\n' for name, cell in cells.items())


def as_jsonl(cells):
    lines = (json.dumps({'name': name, 'answer': cell}) for name, cell in cells.items())
    return '\n'.join(lines) + '\n'


def test_every_kind_of_file_gives_the_same_column(tmp_path, saved):
    names, cells = np.array(list(LISTS)), np.array(list(LISTS.values()))
    np.savez(tmp_path / 'a.npz', filenames=names, fileitems=cells)
    np.savez(tmp_path / 'b.npz', filenames=names.astype(object), fileitems=cells.astype(object))
    files = [saved('a.csv', as_csv(LISTS)), saved('a.jsonl', as_jsonl(LISTS))]
    for path in (*files, tmp_path / 'a.npz', tmp_path / 'b.npz'):
        assert read_column(path, ('answer', 'fileitems')).values == LISTS


def test_byte_order_marks_line_ends_blank_lines_and_other_columns_do_not_matter(saved):
    table = as_csv(LISTS).replace('name,answer', 'x,name, answer').replace('\nclip', '\n7,clip')
    windows = b'\xef\xbb\xbf' + table.replace('\n', '\r\n\r\n').encode()
    assert read_column(saved('a.csv', windows), ('answer',)).values == LISTS
    windows = b'\xef\xbb\xbf' + as_jsonl(LISTS).replace('\n', '\r\n \r\n').encode()
    assert read_column(saved('a.jsonl', windows), ('answer',)).values == LISTS
    quoted = read_column(saved('b.csv', 'name,answer\nclip1,"sad\nlonely, too"\n'), ('answer',))
    assert quoted.values == {'clip1': 'sad\nlonely, too'}


def test_a_list_in_a_line_of_json_stays_a_list(saved):
    path = saved('a.jsonl', as_jsonl({'clip1': ['sad', 'lonely'], 'clip2': None}))
    assert read_column(path, ('answer',)).values == {'clip1': ['sad', 'lonely'], 'clip2': None}


def test_the_first_existing_column_is_read(saved):
    path = saved('a.csv', 'id,words,openset\nclip1,sad,happy\n')
    column = read_column(path, ('answer', 'openset', 'words'))
    assert (column.key, column.values) == ('openset', {'clip1': 'happy'})
    assert 'none of emo among its columns (id, words, openset)' in refusal(path, ('emo',))


def test_the_corpus_of_the_test_is_read_unless_another_is_asked_for(tmp_path):
    corpora = {
        'train_corpus': {'a': {'emo': 'sad', 'val': -1.0}},
        'test1_corpus': {'b': {'emo': 'happy', 'val': 0.5}},
        'test2_corpus': {'c': {'emo': 'angry', 'val': -0.5}},
    }
    path = tmp_path / 'a.npz'
    np.savez(path, **corpora)
    assert read_column(path, ('emo',)).values == {'b': 'happy'}
    assert read_column(path, ('val',), corpus='test2_corpus').values == {'c': -0.5}
    assert "and not 'test9': choose one" in refusal(path, ('emo',), corpus='test9')
    np.savez(path, whole_corpus=corpora['train_corpus'])
    assert read_column(path, ('emo',)).values == {'a': 'sad'}
    np.savez(path, one=corpora['train_corpus'], two=corpora['train_corpus'])
    assert 'holds one, two: choose one (--corpus)' in refusal(path, ('emo',))


def test_a_repeated_row_is_counted_and_one_with_another_value_is_refused(saved, tmp_path):
    rows = [('a', 'sad'), ('b', 'happy'), ('a', 'sad')]
    table = 'name,answer\n' + ''.join(f'{name},{cell}\n' for name, cell in rows)
    column = read_column(saved('a.csv', table), ('answer',))
    assert (column.repeated, column.values) == (1, {'a': 'sad', 'b': 'happy'})
    assert "a.csv:5: 'a' comes twice, with another 'answer'" in refusal(
        saved('a.csv', table + 'a,lonely\n')
    )
    again = [{'name': 'a', 'answer': float('nan')}] * 2
    column = read_column(saved('a.jsonl', '\n'.join(map(json.dumps, again))), ('answer',))
    assert column.repeated == 1
    np.savez(tmp_path / 'a.npz', filenames=['a', 'a'], fileitems=[float('nan')] * 2)
    assert read_column(tmp_path / 'a.npz', ('fileitems',)).repeated == 1


def test_of_several_modes_one_is_chosen(saved):
    rows = [{'id': 'a', 'mode': mode, 'answer': mode} for mode in ('fast', 'slow')]
    path = saved('a.jsonl', '\n'.join(map(json.dumps, rows)))
    assert read_column(path, ('answer',), mode='slow').values == {'a': 'slow'}
    assert 'choose one mode (--mode)' in refusal(path)
    assert "no rows of mode 'loud'" in refusal(path, mode='loud')


@pytest.mark.parametrize(
    'name, data, reason',
    [
        ('a.csv', 'name,answer\nb,"traurig"\nc,m\xfcde\n'.encode('latin1'), 'a.csv:3: byte 3 is'),
        ('a.csv', 'name,answer\na,sad\n'.encode('utf-16'), 'a.csv:1: byte 0 is not UTF-8 (0xff)'),
        ('a.jsonl', b'{"name": "a", "answer": "\xff"}', 'a.jsonl:1: byte 25 is not UTF-8'),
        ('a.csv', 'name,answer\na,sad,lonely\n', 'a.csv:2: 3 cells in a table of 2 columns'),
        ('a.csv', 'name,answer\na,"sad\nb,happy\n', 'not CSV'),
        ('a.csv', 'name,answer\n,sad\n', "a.csv:2: 'name' is empty"),
        ('a.csv', 'name,answer,answer\na,b,c\n', "a.csv:1: two columns are named 'answer'"),
        ('a.csv', '', 'no rows'),
        ('a.csv', 'name,answer\n', 'no rows'),
        ('a.jsonl', '{"name": "a"', 'a.jsonl:1: not JSON'),
        ('a.jsonl', '["a"]', 'a.jsonl:1: a list; each line is one object'),
        ('a.jsonl', '[' * 100_000, 'a.jsonl:1: not JSON'),
        ('a.jsonl', '{"name": 1' + '0' * 5000 + '}', 'a.jsonl:1: not JSON'),
        ('a.jsonl', '{"name": "a", "answer": ""}\n{"name": "b"}', "a.jsonl:2: no 'answer' here"),
        ('a.txt', 'sad', 'a .txt file; .csv, .jsonl, .parquet and .npz are read'),
    ],
)
def test_unreadable_files_are_named_with_line_and_rule(saved, name, data, reason):
    assert reason in refusal(saved(name, data))


@pytest.mark.parametrize('name', ['a.csv', 'a.jsonl'])
def test_a_line_of_100_mb_is_refused_without_being_read(saved, name):
    head = b'name,answer\nclip1,"' if name == 'a.csv' else b'{"name": "clip1", "answer": "'
    path = saved(name, head + b'sad, ' * 20_000_000 + b'"')
    tracemalloc.start()
    assert 'a line of more than 1048576 bytes' in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_an_answer_that_is_too_long_is_refused_in_an_npz_too(tmp_path, monkeypatch):
    np.savez(tmp_path / 'a.npz', filenames=['a'], fileitems=['sad, ' * 100])
    monkeypatch.setattr(labels, 'MOST_LINE', 499)
    assert 'filenames[0]: 500 letters' in refusal(tmp_path / 'a.npz', ('fileitems',))


def test_a_missing_file_raises_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_column(tmp_path / 'none.csv', ('answer',))


@pytest.mark.parametrize('read', READERS)
def test_empty_cells_and_lists_are_read_too(read):
    for nothing in (None, '', '[]', ' ', float('nan'), [], np.array([]), [' ']):
        assert read(nothing) == []
    for words in (['Sad ', 'at ease'], ('sad', 'at ease'), np.array(['sad', 'at ease'])):
        assert read(words) == ['sad', 'at ease']


@pytest.mark.parametrize('read', READERS)
def test_a_value_that_is_neither_text_nor_list_is_refused(read):
    for odd in ({'sad': 1}, 7, [['sad']], [{'a': 'sad'}]):
        with pytest.raises(ValueError, match='a (dict|int|list) '):
            read(odd)


@pytest.mark.parametrize('read', READERS)
@settings(deadline=None)  # the machine may be busy
@given(text=st.text(st.characters() | st.sampled_from('[]\'",;，、 \n')))
def test_reading_the_words_of_any_text_again_gives_the_same_words(read, text):
    words = read(text)
    assert all(word == word.strip() and word for word in words)
    assert read(words) == words


@pytest.mark.parametrize('read', READERS)
@settings(deadline=None)  # the machine may be busy
@given(parts=st.lists(st.text('abÉß -[]\'"', max_size=6), max_size=5), data=st.data())
def test_the_set_of_words_does_not_depend_on_their_order(read, parts, data):
    words = read(parts)
    shuffled = data.draw(st.permutations(words))
    assert set(read(shuffled)) == set(words)
    plain = [word for word in shuffled if not set(word) & set('[]\'"')]
    texts = (', '.join(order) for order in (plain, sorted(plain)))
    one, other = (set(read(f'[{text}]')) for text in texts)
    assert one == other == set(plain)


@settings(deadline=None)  # the machine may be busy
@given(text=st.text(st.sampled_from('[]\'", aB') | st.characters(), max_size=30))
def test_reading_part_by_part_changes_nothing(text):
    assume(not is_tagged(text))  # of which only the answer would be read
    entries = published_list(text)
    assert published_words(text) == [e.lower().strip() for e in entries if e.lower().strip()]
    assert plain_words(text) == split_answer(text)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<think>sad eyes</think><answer>happy, calm</answer>', ['happy', 'calm']),
        ('<answer>sad</answer> or rather <answer>happy</answer>', ['happy']),
        ('<answer>happy, excited', ['happy', 'excited']),
        (r'It is \boxed{awe}.', ['awe']),
        (r'<answer>\boxed{awe}</answer>', ['awe']),
        ('<answer></answer>', []),
    ],
)
def test_only_the_marked_answer_of_a_text_is_read(text, words):
    assert plain_words(text) == words


def test_marks_without_end_take_linear_time():
    assert plain_words('<answer>' * 100_000 + 'sad') == ['sad']


def test_long_answers_are_read_as_short_ones():
    text = "['Sad', \"at ease\", don't]"
    for read in READERS:
        short = read(text)
        repeated = read(text.removesuffix(']') + ', Sad' * 500 + ']')
        assert list(itertools.islice(repeated, len(short))) == short
        assert set(repeated) == set(short)
