"""EMO-R3's answers as dictionaries: scores of slow answers, and of fast ones without reflection."""

import numpy as np

from mer_jax.methods.emo_r3_answers import SCORES, describe
from mer_jax.methods.emo_r3_reading import Reading, parse

STEPS = '<step1>a dog</step1><step2>one smiles</step2><step3>positive</step3>'
LABELS = ('anger', 'awe')


def described(texts, forced, chance=None):
    """The dictionaries of the answers of one clip; `forced` says which openings are."""
    g = len(texts)
    mask = np.ones((1, g, 4), bool)
    mask[:, :, 0] = False
    mask[0, forced, 1] = False
    ones, nothing = np.ones((1, g), int), np.zeros((1, g, 1), int)
    answers = [[parse(text) for text in texts]]
    reading = Reading(
        right=np.array([[answer.word == 'awe' for answer in answers[0]]]),
        formed=np.array([[answer.formed for answer in answers[0]]]),
        truth=ones,
        story=nothing,
        story_length=ones,
        view=nothing,
        view_length=ones,
        too_long=nothing[..., 0],
        coherence=np.full((1, g), 0.5),
        consistency=np.full((1, g), 0.25),
        chance=chance,
    )
    return describe(LABELS, reading, answers, mask, ())[0]


def test_an_answer_has_its_steps_its_word_and_all_scores():
    chance = np.array([[[0.25, 0.75]]])
    (slow,) = described([STEPS + r'\boxed{awe}'], [], chance)
    assert slow['think'] == 'a dog\none smiles\npositive' and slow['words'] == ['awe']
    assert [slow[name] for name in SCORES] == [1, 1, 0.5, 0.25, 3]
    assert list(slow['confidence']['coherence'].items()) == [('awe', 0.75), ('anger', 0.25)]


def test_a_fast_answer_has_the_form_of_its_box_and_no_reflection():
    slow, fast, open_box = described([r'\boxed{awe}', r'\boxed{awe}', r'\boxed{awe'], [1, 2])
    assert slow['form'] == 0 and 'coherence' in slow  # it should have had steps
    assert fast['form'] == 1 and fast['formed'] and 'coherence' not in fast
    assert open_box['form'] == 0 and open_box['words'] == [] and open_box['accuracy'] == 0
    assert (slow['tokens'], fast['tokens']) == (3, 2) and fast['confidence'] == {}
