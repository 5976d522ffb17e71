"""Confusion: counts by hand, and the texts of its picture."""

import numpy as np

from mer_jax.evaluation.confusion import confusion_figure, confusion_of
from mer_jax.evaluation.label_files import plain_words

GOLD = {'a': 'awe', 'b': 'awe', 'c': 'fear', 'd': 'longing'}


def lines(mode, *answers):
    """The lines of a mode: for each clip the words that are answered."""
    return [
        {'id': name, 'mode': mode, 'words': words}
        for name, words in zip(GOLD, answers, strict=True)
    ]


def test_answers_are_counted_by_gold_word():
    slow = lines('slow', ['Awe.'], ['fear'], ['none'], ['longing'])
    fast = lines('fast', [], ['awe, fear'], ['fear'], ['joy'])
    more = [{'id': 'x', 'mode': 'slow', 'words': ['awe']}, {'id': 'b', 'mode': 'none'}]
    found = confusion_of(('fear', 'awe', 'joy'), GOLD, slow + fast + more, plain_words)
    assert found['words'] == ['fear', 'awe', 'joy', 'longing']  # a gold word that is no label last
    assert found['slow'] == [
        [0, 0, 0, 0, 1],  # fear: `none` is no word of the vocabulary
        [1, 1, 0, 0, 0],  # awe
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0],
    ]
    # No word, and two words, are `other`.
    assert found['fast'] == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 2], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_a_picture_shows_counts_as_texts_and_shares_of_rows_as_colours():
    count_xy = np.array([[3, 1, 0], [0, 0, 0]])
    axes = confusion_figure(['awe', 'fear'], count_xy, 'Six, slow').axes[0]
    assert [text.get_text() for text in axes.texts] == ['3', '1', '0', '0', '0', '0']
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0]])
    assert [text.get_text() for text in axes.get_xticklabels()] == ['awe', 'fear', 'other']
    assert [text.get_text() for text in axes.get_yticklabels()] == ['awe', 'fear']
    assert axes.get_title() == 'Six, slow'
