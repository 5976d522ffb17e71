"""Cues in a reasoning: found by modality, marked in HTML, nothing else changed."""

import html
import re

import pytest

from mer_jax.data.stage.picture import picture
from mer_jax.data.stage.stage import draw
from mer_jax.demo.cues import find_cues, kinds_in, marked

FELT = {'sad', 'gentle', 'happy'}


@pytest.mark.parametrize(
    ('text', 'kinds'),
    [
        ('The voice is loud.', {'voice': 'voice', 'loud': 'voice'}),
        ('His eyes and brows; a shaky voice', {'eyes': 'face', 'brows': 'face', 'voice': 'voice'}),
        ('a lifted face, flames behind.', {'lifted': 'face', 'face': 'face', 'flames': 'scene'}),
        ('voice gentle: sad.', {'voice': 'voice', 'gentle': 'voice', 'sad': 'emotion'}),
        ('face gentle: Happy.', {'face': 'face', 'gentle': 'emotion', 'Happy': 'emotion'}),
        ('loud, but nothing is named', {}),
        ('surface, invoice, eyesight', {}),
        ('', {}),
    ],
)
def test_a_cue_has_the_modality_that_its_clause_names(text, kinds):
    assert {text[cue.start : cue.end]: cue.kind for cue in find_cues(text, FELT)} == kinds


def test_marks_leave_the_text_as_it_is_and_escape_it():
    text = 'voice <b>loud</b> & "sad" \u202e<script>alert(1)</script> </mark>'
    made = marked(text, FELT)
    assert html.unescape(re.sub(r'</?mark[^>]*>', '', made)) == text
    assert '<mark class="cue-emotion">sad</mark>' in made
    assert re.findall(r'<(?!/?mark)', made) == []


def test_the_traces_of_the_stage_name_their_cues():
    trace = draw(0, 'test', 0).reasoning
    assert {'face', 'voice', 'words'} <= set(kinds_in(trace, frozenset()))
    assert 'scene' in kinds_in(picture(0, 'test', 0, 'home').reasoning, frozenset())
