"""Answers as HTML: every text escaped, votes and shares told, disagreement named."""

import re

import numpy as np

from mer_jax.data.media.look import Look
from mer_jax.demo.answer_html import answer_page, message_page
from mer_jax.demo.answered import Answered
from mer_jax.demo.category_bars import Bar
from mer_jax.evaluation.prediction import Answer

EVIL = '<script>alert("x")</script>\'&amp;'


def look(**changes):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    sound = np.linspace(-0.5, 0.5, 900, dtype=np.float32)
    facts = {'kind': 'film', 'size': (8, 8), 'seconds': 2.0, 'film_track': 0, 'sound_track': 1}
    facts |= {'times': (0.0, 0.5, 1.0), 'frames': frames, 'samples': sound, 'notes': ()}
    return Look(**{'file': 'a.mp4'} | facts | changes)


def answer(emotions, reasoning='', samples=('x',), formed=1):
    return Answer(emotions, reasoning, formed, samples, {}, {})


def answered(fast, slow, **changes):
    bars = {mode: {'ekman': [Bar('sadness', 0.5, 0.25)]} for mode in ('fast', 'slow')}
    facts = {'subtitle': '', 'bars': bars, 'samples': 2, 'grown': 4, 'reading': 0.25}
    facts |= {'answering': 1.5, 'compiled': False, 'tokens': 9, 'trained': 10, 'hears': True}
    return Answered(**{'look': look(), 'answers': {'fast': fast, 'slow': slow}} | facts | changes)


def text_of(page):
    """The text of a page, as a browser shows it."""
    return ' '.join(re.sub(r'<[^>]*>', ' ', page).split())


def test_every_text_of_model_and_visitor_is_escaped():
    evil = answer({EVIL: 2}, EVIL, (EVIL, EVIL), 2)
    page = answer_page(
        answered(
            evil,
            evil,
            look=look(file=EVIL, notes=(EVIL,)),
            subtitle=EVIL,
            bars={mode: {EVIL: [Bar(EVIL, 1.0, None)]} for mode in ('fast', 'slow')},
        ),
        frozenset(),
    )
    assert '<script' not in page + message_page(EVIL)
    assert page.count('&lt;script&gt;') >= 10 and '&lt;script&gt;' in message_page(EVIL)


def test_votes_shares_confidence_and_seconds_are_told():
    page = answer_page(answered(answer({'sad': 2, 'angry': 1}), answer({'sad': 1})), frozenset())
    text = text_of(page)
    assert 'sad 2 of 2' in text and 'angry 1 of 2' in text
    assert 'sadness 50% 0.25' in text and 'width:50.0%' in page and 'width:25.0%' in page
    assert '3 frames seen' in text and 'read in 0.25 s' in text and 'answered in 1.50 s' in text
    assert '2 samples of each mode (4 grow together)' in text and 'no estimate' not in text
    assert page.count('data:image/jpeg') == 3 and '<svg' in page


def test_a_single_sample_is_said_to_be_no_estimate_of_a_probability():
    text = text_of(answer_page(answered(answer({'sad': 1}), answer({}), samples=1), frozenset()))
    assert '1 sample of each mode' in text and 'no estimate of a probability' in text
    assert '1 of 1' not in text and 'names no emotion' in text


def test_words_that_only_one_mode_names_are_told():
    def verdict(fast, slow):
        page = answer_page(answered(answer(fast), answer(slow)), frozenset())
        return text_of(re.search('<div class="verdict.*?</div>', page)[0])

    assert verdict({'sad': 1}, {'sad': 2}) == 'Fast and slow agree'
    assert verdict({}, {}) == 'Neither names an emotion'
    assert verdict({'sad': 1, 'awe': 1}, {'sad': 1, 'joy': 1}) == (
        'Fast and slow disagree in part. Both: sad · Only fast: awe · Only slow: joy'
    )
    assert verdict({'sad': 1}, {}) == 'Fast and slow disagree. Only fast: sad'


def test_steps_are_a_list_and_cues_are_marked_and_explained():
    slow = answer({'sad': 1}, 'a pale face\n\nfeels sad', ('x', 'y'), 1)
    page = answer_page(answered(answer({}), slow), frozenset({'sad'}))
    assert '<li>a <mark class="cue-face">pale</mark>' in page
    assert 'Reasoning (of the first sample). Cues named: face word of the emotion' in text_of(page)
    assert '1 of 2 answers lack their form' in page


def test_what_a_visitor_must_know_about_a_clip_is_noted():
    both = answer({'sad': 1})
    text = text_of(answer_page(answered(both, both, compiled=True, tokens=500), frozenset()))
    assert 'its program was compiled' in text
    assert 'its prompt has 500 tokens, those of training had at most 10' in text
    still = look(kind='picture', samples=None, frames=np.zeros((1, 8, 8, 3), np.uint8))
    page = answer_page(answered(both, both, look=still, hears=False), frozenset())
    assert '<svg' not in page and 'picture · read in' in page
    assert 'its sound is not heard by this model' in answer_page(
        answered(both, both, hears=False), frozenset()
    )
