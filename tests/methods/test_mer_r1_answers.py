"""MER-R1's answers as dictionaries: scores, words and the confidence in each category."""

import numpy as np
import pytest

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods.mer_r1_answers import SCORES, answer_confidence, by_category, describe, scores
from mer_jax.methods.mer_r1_reading import Parsed, Reading

WHEELS = load_wheels(('ekman', 'parrott'))
SHAPE = len(WHEELS.names), max(map(len, WHEELS.categories()))


def reading_of(*answers, gold=('sad',), anchor=None):
    """The Reading of one prompt whose branches answer these words, all but the first formed."""
    anchor = np.full((1, len(answers), 2), -1) if anchor is None else np.array([anchor])
    formed = np.array([[False] + [True] * (len(answers) - 1)])
    return Reading(
        WHEELS.cells([gold]), WHEELS.cells(answers)[None], formed, anchor, None, None, None
    )


def test_confidence_is_the_mean_of_log_probabilities_over_anchors():
    # One prompt, two branches of four tokens, one wheel of two categories.
    chance = np.array([[[0.1, 0.9], [0.5, 0.5], [0.2, 0.8], [1, 1]], np.full((4, 2), 0.3)])
    anchor = np.array([[[0, 2, -1], [-1, -1, -1]]])
    found = answer_confidence(np.log(chance)[None, :, :, None], anchor)
    np.testing.assert_allclose(found[0, 0, 0], [np.sqrt(0.1 * 0.2), np.sqrt(0.9 * 0.8)])
    assert np.isnan(found[0, 1]).all()


def test_the_scores_of_an_answer_are_its_terms_and_its_length():
    mask = np.array([[[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]], bool)
    found = scores(reading_of(['sad'], ['sad', 'happy'], []), mask)
    assert tuple(found) == SCORES == ('recall', 'precision', 'f', 'form', 'tokens')
    for name, wanted in {
        'recall': [1, 1, 0],
        'precision': [1, 0.5, 0],
        'f': [1, 2 / 3, 0],
        'form': [0, 1, 1],
        'tokens': [3, 1, 0],
    }.items():
        np.testing.assert_allclose(found[name], [wanted], rtol=1e-6, err_msg=name)


def test_confidences_are_told_by_wheel_and_category_the_highest_first():
    sure = np.full(SHAPE, 0.01)
    sure[0, 3], sure[0, 1], sure[1, 4] = 0.6, 0.3, 0.9
    found = by_category(WHEELS, sure)
    assert list(found) == ['ekman', 'parrott']
    for wheel, names in zip(found, WHEELS.categories(), strict=True):
        assert sorted(found[wheel]) == sorted(names)  # without the padding of a smaller wheel
    assert list(found['ekman'].items())[:3] == [('joy', 0.6), ('disgust', 0.3), ('anger', 0.01)]
    assert next(iter(found['parrott'].items())) == ('sadness', 0.9)
    assert by_category(WHEELS, np.full(SHAPE, np.nan)) == {}


def test_an_answer_is_described_by_its_text_scores_and_confidence():
    said = [
        Parsed('a', 'eyes down', ('sad', 'lonely'), False),
        Parsed('b', '', (), True),
    ]
    mask = np.array([[[0, 1, 1], [0, 1, 0]]], bool)
    confidence = np.full((1, 2, 3, *SHAPE), np.log(0.25))
    confidence[0, 0, 2, 0, 3] = np.log(0.5)
    reading = reading_of(['sad', 'lonely'], [], anchor=[[2, -1], [-1, -1]])
    ((first, second),) = describe(WHEELS, reading, [said], mask, confidence)
    assert (first['text'], first['think'], first['words']) == ('a', 'eyes down', ('sad', 'lonely'))
    assert first['formed'] is False and second['formed'] is True
    assert (first['recall'], first['precision'], first['form'], first['tokens']) == (1, 1, 0, 2)
    assert first['confidence']['ekman']['joy'] == pytest.approx(0.5)
    assert first['confidence']['ekman']['anger'] == pytest.approx(0.25)
    assert (second['f'], second['form'], second['tokens']) == (0, 1, 1)
    assert second['confidence'] == {}
