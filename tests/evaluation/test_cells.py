"""Cells of labels and predictions: words, numbers and sentiments, and cells that hold none."""

import math

import numpy as np
import pytest
from spelt_answers import READ

from mer_jax.evaluation.cells import (
    Cells,
    emotion_of,
    examples,
    is_empty,
    named_sentiment,
    number_of,
    sentiment_of,
    value_of,
)
from mer_jax.evaluation.label_files import Column, plain_words, published_words


@pytest.mark.parametrize('text', READ)
def test_a_cell_is_read_in_any_spelling(text):
    assert ', '.join(plain_words(text)) == READ[text]
    assert ', '.join(plain_words([text])) == READ[text]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('worried, sad</answer>', ['worried', 'sad']),
        ('<answer>[worried, sad]</answer>', ['worried', 'sad']),
        ('<think>happy, angry</think>\nworried', ['worried']),
        (r'\boxed{\text{sad}, \text{angry}}', ['sad', 'angry']),
        ("<answer>don't know</answer>", ['don', 't know']),  # an apostrophe ends a word there
        ('sad<|im_end|>', ['sad']),
        ('happy; sad', ['happy; sad']),
        ('Answer: happy', ['answer: happy']),
        ('“happy”, sad', ['“happy”', 'sad']),
        ('self‑conscious', ['self‑conscious']),
        ('nan', ['nan']),
        ("['worried' 'sad']", ['worried', 'sad']),
        ('a < b', ['a < b']),
    ],
)
def test_the_published_reader_gets_the_answer_of_tagged_texts_and_all_of_others(text, words):
    assert published_words(text) == words


@pytest.mark.parametrize('cell', [{'emotions': ['sad']}, {'Answer': 'sad'}, {'label': 'Sad.'}])
def test_an_object_with_an_answer_is_read(cell):
    assert plain_words(cell) == ['sad']


@pytest.mark.parametrize(
    'cell',
    [None, '', ' ', 'nan', 'None', 'N/A', '<NA>', '-', math.nan, -10, -10.0, '-10', '-10.0']
    + [np.int64(-10), np.float64('nan'), [], [None], ['nan', ''], np.array([]), 'unknown']
    + ['<answer></answer>', '<answer>none</answer>'],
)
def test_cells_without_a_label(cell):
    assert is_empty(cell)
    assert value_of(cell) is None and emotion_of(cell, ()) == ''


@pytest.mark.parametrize('cell', ['sad', 0, 1, -9.5, '12', '<think>sad', ['nan', 'sad'], 'neutral'])
def test_cells_that_say_something(cell):
    assert not is_empty(cell)


@pytest.mark.parametrize(
    ('cell', 'number'),
    [('1', 1), ('-1', -1), ('+0.5', 0.5), ('−2', -2), (' 3. ', 3), (1, 1), (np.int64(2), 2)]
    + [('<answer>1</answer>', 1), ('one', None), ('1e3', None), ('', None), (math.nan, None)],
)
def test_the_number_of_a_cell(cell, number):
    assert number_of(cell) == number


@pytest.mark.parametrize(
    ('text', 'sentiment'),
    [
        ('positive', 'positive'),
        ('Positive sentiment', 'positive'),
        ('very positive', 'positive'),
        ('slightly negative', 'negative'),
        ('The sentiment is negative.', 'negative'),
        ('NEG', 'negative'),
        ('neutral', 'neutral'),
        ('积极', 'positive'),
        ('负面情绪', 'negative'),
        ('中性', 'neutral'),
        ('not positive', 'not positive'),
        ("isn't negative", "isn't negative"),
        ('positive and negative', 'positive and negative'),
        ('positivity', 'positivity'),
        ('mixed', 'mixed'),
    ],
)
def test_the_one_sentiment_that_a_text_names(text, sentiment):
    assert named_sentiment(text) == sentiment


@pytest.mark.parametrize(
    ('cell', 'sentiment'),
    [
        ('very positive', 'positive'),
        ('Sentiment: Positive', 'positive'),
        ('<answer>Negative</answer>', 'negative'),
        ('1', 'positive'),
        ('-1', 'negative'),
        (1, 'positive'),
        (-0.4, 'negative'),
        (0, 'neutral'),
        ('0', 'neutral'),
        (-10, ''),
        (None, ''),
    ],
)
@pytest.mark.parametrize('read', [plain_words, published_words])
def test_a_sentiment_column_is_read_as_words_or_numbers(cell, sentiment, read):
    assert sentiment_of(cell, read, named=True) == sentiment


def test_the_sentiment_of_emotions_is_their_valence():
    assert sentiment_of('[happy, zorp]', plain_words, named=False) == 'positive'
    assert sentiment_of('<think>happy</think>sad', plain_words, named=False) == 'negative'
    assert sentiment_of('[zorp, blib]', plain_words, named=False) == 'zorp, blib'


def test_a_value_of_0_is_read():
    cells = Cells(Column('x', 'val', {'a': 0, 'b': -10}, 0), ['a', 'b'], value_of)
    assert cells[:] == [0, None] and list(cells.empty) == ['b'] and not cells.unread


def test_a_gold_sentiment_may_be_a_word():
    words = ('positive', 'Very negative', 'neutral', '0.5', -2)
    assert [value_of(cell) for cell in words] == [1, -1, 0, 0.5, -2]
    with pytest.raises(ValueError, match="'good' is no number"):
        value_of('good')


def test_cells_in_which_nothing_is_found_are_kept_apart():
    values = {'a': 'sad', 'b': 'nan', 'c': '<think>sad', 'd': '12', 'e': None, 'f': '???'}
    cells = Cells(Column('x', 'answer', values, 0), list(values), plain_words)
    assert cells[:] == [['sad'], [], [], [], [], []]
    assert list(cells.empty) == ['b', 'e', 'f'] and list(cells.unread) == ['c', 'd']


def test_examples_are_few_short_and_different():
    cells = {'a': 'nan', 'b': 'nan', 'c': 'x' * 99, 'd': 'a\nb', 'e': 'more'}
    assert examples(cells) == {'a': 'nan', 'c': 'x' * 60, 'd': 'a?b'}
