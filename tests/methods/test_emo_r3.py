r"""EMO-R3: its reward in numbers, its advantage, gold answers, lessons of the reflection."""

import dataclasses

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.methods.emo_r3 import (
    Lessons,
    Reflection,
    Rules,
    advantage,
    gold_text,
    reward_terms,
    unusable,
)
from mer_jax.methods.emo_r3_reading import Reading, story_of, view_of

LABELS = ('anger', 'awe', 'fear')
NOTHING = np.zeros((1, 4, 1), np.int32)
RULES = Rules(labels=LABELS)
PICTURE = np.zeros((56, 56, 3), np.uint8)


def steps(number):
    return f'<step1>cue {number}</step1><step2>one feels</step2><step3>high</step3>'


def clip(number, word='awe', said='awe', **more):
    return Clip(f'c{number}', image=PICTURE, words=(word,), answer=(said,), **more)


CLIPS = [clip(0, reasoning=steps(0)), clip(1, 'fear', reasoning=steps(1)), clip(2)]


def reading(right, formed, coherence, consistency):
    row = lambda *x: np.array([x])  # noqa: E731
    return Reading(
        right=row(*map(bool, right)),
        formed=row(*map(bool, formed)),
        truth=row(0, 0, 0, 0),
        story=NOTHING,
        story_length=row(1, 1, 1, 1),
        view=NOTHING,
        view_length=row(1, 1, 1, 1),
        too_long=row(0, 0, 0, 0),
        coherence=row(*coherence).astype(np.float32),
        consistency=row(*consistency).astype(np.float32),
    )


READING = reading((1, 0, 1, 0), (1, 1, 0, 0), (1, 0.5, 0, 1), (1, 0, 1, 0))


@pytest.mark.parametrize(
    ('total', 'rewards'),
    [
        # 0.8 accuracy + 0.1 (coherence + consistency) / 2 + 0.1 format: the paper, at most 1
        ('mean', [0.8 + 0.1 + 0.1, 0.025 + 0.1, 0.8 + 0.05, 0.05]),
        # 0.8 accuracy + 0.1 (coherence + consistency) + 0.1 format: its code, at most 1.1
        ('sum', [0.8 + 0.2 + 0.1, 0.05 + 0.1, 0.8 + 0.1, 0.1]),
    ],
)
@pytest.mark.parametrize(('std', 'ddof'), [('population', 0), ('unbiased', 1)])
def test_the_advantage_is_that_of_one_sum_in_the_form_of_the_paper_or_of_its_code(
    total, rewards, std, ddof
):
    rules = dataclasses.replace(RULES, reflection=Reflection(total=total), std=std)
    rewards = np.array(rewards)
    wanted = (rewards - rewards.mean()) / (rewards.std(ddof=ddof) + 1e-6)
    found = advantage(reward_terms(READING, rules.reflection), rules)
    np.testing.assert_allclose(found, wanted[None], rtol=1e-4)


@pytest.mark.parametrize('total', ['mean', 'sum'])
@pytest.mark.parametrize(
    ('of', 'earned'), [('coherence', (1, 0.5, 0, 1)), ('consistency', (1, 0, 1, 0))]
)
def test_one_reflection_alone_earns_its_own_reward(total, of, earned):
    terms = reward_terms(READING, Reflection(total=total, of=of))
    np.testing.assert_array_equal(terms['reflection'], [earned])


def test_terms_of_the_users_own_are_part_of_the_sum():
    terms = reward_terms(READING, Reflection()) | {'own': np.float32([[0, 0, 0, 8]])}
    weights = {'accuracy': 1.0, 'reflection': 0.0, 'format': 0.0, 'own': 0.25}
    rules = dataclasses.replace(RULES, weights=weights, standardise=False)
    # 1, 0, 1 and 2 less their mean of 1
    np.testing.assert_allclose(advantage(terms, rules), [[0, -1, 0, 1]])


def test_a_gold_branch_ends_with_the_annotators_word_and_a_fast_one_with_that_of_the_crowd():
    one = clip(0, 'awe', 'fear', reasoning=steps(0))
    assert gold_text(one, 'slow') == steps(0) + r'\boxed{fear}'
    assert gold_text(one, 'fast') == 'awe}'  # behind the opening \boxed{
    assert gold_text(clip(2), 'slow') is None


def test_a_gold_word_is_taught_without_outer_blanks_and_in_small_letters():
    one = clip(0, ' Awe', 'Fear ', reasoning=steps(0))
    assert gold_text(one, 'slow') == steps(0) + r'\boxed{fear}'
    assert gold_text(one, 'fast') == 'awe}'
    assert gold_text(Lessons([one], LABELS)[2], 'slow') == 'fear'


@pytest.mark.parametrize(
    ('words', 'said'),
    [(('joy',), 'joy'), ((), 'none'), (('awe', 'joy'), None), ((' AWE ',), None)],
)
def test_a_clip_whose_gold_word_is_no_label_is_named(words, said):
    reason = unusable(LABELS, Clip('c7', image=PICTURE, words=words))
    assert (reason is None) == (said is None)
    assert said is None or (f'({said})' in reason and 'data.labels=anger,awe,fear' in reason)


def test_a_clip_without_a_picture_is_named():
    assert 'no image' in unusable(LABELS, Clip('c7', subtitle='hello', words=('awe',)))


def test_a_clip_with_a_question_and_an_answer_of_its_own_is_no_lesson():
    asked = clip(7, question='Which emotion?')  # as a manifest may have it, without gold steps
    assert gold_text(asked, 'slow') is None and gold_text(asked, 'fast') == 'awe}'
    assert 'no image' in unusable(LABELS, dataclasses.replace(asked, image=None))
    assert '(joy)' in unusable(LABELS, dataclasses.replace(asked, words=('joy',)))


def test_of_four_lessons_two_are_answers_and_two_are_questions():
    lessons = Lessons(CLIPS, LABELS)
    assert len(lessons) == 12 and lessons[0] is lessons[1] is CLIPS[0]
    story, view = lessons[2], lessons[3]
    assert story.image is None and story.question == story_of(steps(0), LABELS)
    assert gold_text(story, 'slow') == 'awe' and gold_text(story, 'fast') is None
    assert view.image is PICTURE and view.question == view_of(steps(1))
    assert gold_text(view, 'slow') == 'no'  # it quotes the step of another picture
    assert lessons[7].question == view_of(steps(1)) and gold_text(lessons[7], 'slow') == 'yes'
    assert unusable(LABELS, story) is None and unusable(LABELS, view) is None


def test_a_lesson_shows_no_more_than_the_question_of_the_reflection():
    told = clip(0, reasoning=steps(0), subtitle='Hello.', audio=np.zeros(16000, np.float32))
    lessons = Lessons([told], LABELS)
    assert lessons[2].media == () and lessons[2].subtitle == lessons[3].subtitle == ''
    assert lessons[0].subtitle == 'Hello.' and lessons[3].image is PICTURE


def test_a_clip_without_steps_teaches_its_answer_alone():
    lessons = Lessons(CLIPS, LABELS)
    assert [lessons[i] for i in range(8, 12)] == [CLIPS[2]] * 4


def test_a_question_without_a_false_step_to_quote_is_true():
    alone = Lessons([clip(0, reasoning=steps(0))], LABELS)
    assert gold_text(alone[3], 'slow') == 'yes'
