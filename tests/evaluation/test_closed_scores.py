"""Exact accuracy and means of a method's scores, by hand on crafted lines."""

import types

import pytest

from mer_jax.data.clips import Clip
from mer_jax.evaluation import benchmark_sets
from mer_jax.evaluation.closed_scores import whole_words
from mer_jax.evaluation.defaults import emotion_images
from mer_jax.evaluation.set_scores import score_set
from mer_jax.methods.emo_r3_answers import SCORES

LABELS = ('awe', 'fear', 'joy')
GOLD = {'a': 'awe', 'b': 'awe', 'c': 'fear', 'd': 'joy'}


def line(name, mode, *words, **scores):
    """A line of the predictions file with a boxed word, or with none."""
    return {'id': name, 'mode': mode, 'words': list(words), 'scores': {'form': 1.0} | scores}


def scored(lines):
    """The scores of four pictures, asked for three labels."""
    test = benchmark_sets.TestSet(
        'emotion6', 'Six', 'accuracy', [Clip(name) for name in GOLD], GOLD, '', LABELS
    )
    method = types.SimpleNamespace(scored=SCORES, labels=LABELS)
    setting = types.SimpleNamespace(wheels=None, method=method)
    return score_set(emotion_images(), setting, test, lines)


FAST = [line(name, 'fast', word) for name, word in GOLD.items()]
SLOW = [
    line('a', 'slow', 'Awe', coherence=1.0, consistency=1.0),
    line('b', 'slow', ' awe', coherence=1.0, consistency=0.0),  # a blank
    line('c', 'slow', 'fear.', coherence=0.5, consistency=0.0),  # a full stop
    line('d', 'slow', coherence=0.0, consistency=0.0, form=0.0),  # no box
]


def test_a_blank_or_a_full_stop_is_wrong_exactly_and_right_leniently():
    found = scored(FAST + SLOW)
    assert (found['slow']['accuracy_exact'], found['slow']['accuracy']) == (0.25, 0.75)
    assert (found['fast']['accuracy_exact'], found['fast']['accuracy']) == (1, 1)
    assert found['difference']['accuracy_exact'] == -0.75
    assert found['difference']['accuracy'] == -0.25


def test_macro_f1_and_uar_are_means_over_the_classes():
    found = scored(FAST + SLOW)['slow']
    # Recall and F1 are 1 of awe and of fear, 0 of joy.
    assert found['uar'] == pytest.approx(2 / 3) and found['macro_f1'] == pytest.approx(2 / 3)


def test_scores_of_the_method_are_means_over_clips_with_intervals():
    found = scored(FAST + SLOW)
    slow = found['slow']
    assert (slow['coherence'], slow['consistency'], slow['form']) == (0.625, 0.25, 0.75)
    low, high = slow['ci']['coherence']
    assert 0 < low < 0.625 < high <= 1
    assert 'coherence' not in found['fast'] and 'coherence' not in found['difference']
    assert (found['fast']['form'], found['difference']['form']) == (1, -0.25)
    assert found['difference']['ci']['form'][1] == 0


def test_pictures_without_a_gold_word_do_not_count():
    more = [line('x', mode, 'awe', coherence=0.0, consistency=0.0) for mode in ('fast', 'slow')]
    assert scored(FAST + SLOW + more)['slow']['coherence'] == 0.625


def test_words_are_taken_as_they_are_in_small_letters():
    assert whole_words([' Awe.']) == [' awe.'] and whole_words('Fear') == ['fear']
    assert whole_words('') == whole_words([]) == []
