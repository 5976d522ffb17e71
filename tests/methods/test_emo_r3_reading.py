r"""Reading EMO-R3's answers: steps, boxed word, form, and the questions of the reflection."""

import re

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.texts import Text
from mer_jax.methods.emo_r3_reading import (
    IN_BOX,
    Reader,
    boxed,
    has_form,
    parse,
    story_of,
    view_of,
)

LABELS = ('anger', 'awe', 'fear')
STEPS = '<step1>a dog</step1><step2>one smiles</step2><step3>positive</step3>'
WHOLE = STEPS + r'\boxed{awe}'
# The expression of the published code (FIELD: white space around < > / goes, then a full match).
PUBLISHED = re.compile(
    r'<step1>.*</step1>.*<step2>.*</step2>.*<step3>.*</step3>.*\\boxed\{.*\}.*', re.DOTALL
)
AWKWARD = [
    '',
    ' ',
    r'\boxed{awe}',
    'awe',
    WHOLE,
    WHOLE + ' and more',
    WHOLE + '\n',
    '\n' + WHOLE,
    'Well: ' + WHOLE,
    STEPS,
    STEPS + r'\boxed{}',
    STEPS + r'\boxed{awe',
    STEPS + r'\boxed awe}',
    STEPS + 'boxed{awe}',
    STEPS + ' so ' + r'\boxed{awe}',
    STEPS + '\n\n' + r'\boxed{a{w}e}',
    STEPS + r'\boxed{awe}\boxed{fear}',
    WHOLE.replace('<step1>', '< step1 >'),
    WHOLE.replace('<step1>', '<\nstep1\t>'),
    WHOLE.replace('</step2>', '< / step2>'),
    WHOLE.replace('<step2>', '< s t e p 2 >'),
    WHOLE.replace('<step1>', '<Step1>'),
    WHOLE.replace('<step2>', '<step1>'),
    WHOLE.replace('</step1>', ''),
    WHOLE.replace('<step3>', ''),
    WHOLE.replace('<step2>', '').replace('</step2>', ''),
    WHOLE.replace('one smiles', ''),
    WHOLE.replace('one smiles', '<step2></step2>'),
    WHOLE.replace('one smiles', '<step3>x</step3>'),
    WHOLE.replace('a dog', 'a\ndog\n'),
    WHOLE.replace('a dog', '</step1>'),
    '<step1>' + WHOLE,
    '<step1></step1><step2></step2><step3></step3>' + r'\boxed{}',
    '<step1></step1>x<step2></step2>y<step3></step3>z' + r'\boxed{}w',
    r'\boxed{awe}' + STEPS,
    r'\boxed{awe}' + STEPS + r'\boxed{awe}',
    '<step1>a</step1><step3>c</step3><step2>b</step2>' + r'\boxed{awe}',
    '<step1><step2><step3>' + r'\boxed{awe}' + '</step3></step2></step1>',
    STEPS + STEPS + r'\boxed{awe}',
    STEPS + r'\Boxed{awe}',
    STEPS + r'\\boxed{awe}',
    STEPS + 'ünï🙂' + r'\boxed{🙂}',
    STEPS.replace('dog', 'a < b / c > d') + r'\boxed{awe}',
    STEPS + r'} \boxed{',
]


@pytest.mark.parametrize('text', AWKWARD)
def test_the_form_is_that_of_the_published_expression(text):
    bare = re.sub(r'\s*(<|>|/)\s*', r'\1', text)
    assert has_form(text) == bool(PUBLISHED.fullmatch(bare))


def test_the_awkward_answers_are_forty_with_and_without_the_form():
    formed = [has_form(text) for text in AWKWARD]
    assert len(set(AWKWARD)) >= 40 and 10 < sum(formed) < len(formed) - 10


def test_the_form_of_an_answer_full_of_tags_is_found_in_linear_time():
    assert not has_form('<step1></step1><step2></step2><step3></step3>' * 20_000)


@pytest.mark.parametrize('part', ['<step1>', '</step1>', r'\boxed{', '{', '< '])
def test_an_answer_full_of_parts_is_parsed_in_linear_time(part):
    text = part * (200_000 // len(part))
    assert parse(text).steps == ()
    assert story_of(text, LABELS) is None and view_of(text) is None


def test_the_form_of_the_baseline_is_a_box_alone():
    assert has_form(r'I think \boxed{awe}', IN_BOX)
    assert not has_form('awe', IN_BOX)


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        (r'\boxed{awe}', 'awe'),
        (r'\boxed{ Awe.}', ' Awe.'),
        (r'\boxed{awe} or \boxed{fear}', 'fear'),
        (r'\boxed{a{w}e} }', 'a{w}e'),
        (r'\boxed{}', ''),
        (r'\boxed{awe', None),
        (r'\boxed{awe} \boxed{', None),
        ('awe', None),
        ('', None),
    ],
)
def test_the_word_is_the_content_of_the_last_box(text, word):
    assert boxed(text) == word


@pytest.mark.parametrize(
    ('box', 'word'),
    [
        (r'\boxed{\text{awe}}', 'awe'),
        (r'\boxed{\textbf{ Awe }}', 'awe'),
        (r'\boxed{\mathrm{awe}\ }', 'awe'),
        (r'\boxed{\text{}}', ''),
        (r'\boxed{ Awe.}', ' Awe.'),
        ('awe', None),
    ],
)
def test_commands_in_the_box_are_no_part_of_the_word(box, word):
    assert parse(STEPS + box).word == word


def test_an_answer_is_parsed_into_its_steps_as_far_as_they_are_there():
    assert parse(WHOLE).steps == ('a dog', 'one smiles', 'positive')
    assert parse('<step1> a </step1><step3>c</step3>').steps == ('a', 'c')
    assert parse('<step1>a').steps == ()


def test_the_question_of_coherence_quotes_two_steps_and_names_the_labels():
    asked = story_of('so ' + WHOLE + WHOLE, LABELS)
    quoted, _, rest = asked.partition('\n')
    assert quoted == '<step1>a dog</step1><step2>one smiles</step2>'
    assert rest.endswith('anger, awe, fear.')
    assert story_of('<step2>b</step2><step1>a</step1>', LABELS) is None


def test_the_question_of_consistency_quotes_the_first_step_as_far_as_the_second():
    assert view_of(WHOLE).endswith('<step1>a dog</step1>')
    assert view_of('<step1>a dog <step2>').endswith('<step1>a dog ')
    assert view_of('<step1>a dog</step1>') is None


def ask(text, pictured):
    """A token a letter; a chat begins with 1, and 2 stands behind a picture."""
    return [2 if pictured else 1] + [3 + ord(letter) for letter in text]


def read(*said, words=('awe',), **options):
    rules = dict(labels=LABELS, ask=ask, most=256, steps=True, truth='gold') | options
    texts = [[Text((0,), (text.encode(),)) for text in said]]
    reading, answers = Reader(**rules).read(texts, [Clip('c7', words=words)])
    return reading, answers[0]


def test_a_word_is_right_only_if_it_is_the_gold_word_without_a_blank_or_a_stop():
    said = [r'\boxed{awe}', r'\boxed{AWE}', r'\boxed{ awe}', r'\boxed{awe.}', r'\boxed{fear}', '']
    reading, _ = read(*said, words=(' Awe',))
    assert reading.right.tolist() == [[True, True, False, False, False, False]]


@pytest.mark.parametrize(('truth', 'found'), [('gold', [1, 1, 1, 1]), ('own', [1, 2, -1, -1])])
def test_coherence_looks_for_the_gold_word_or_for_the_answers_own(truth, found):
    said = [WHOLE, STEPS + r'\boxed{Fear}', STEPS + r'\boxed{joy}', STEPS]
    assert read(*said, truth=truth)[0].truth.tolist() == [found]


def test_coherence_of_a_clip_without_a_gold_word_looks_for_the_answers_own():
    reading, _ = read(WHOLE, STEPS + r'\boxed{fear}', words=())
    assert reading.truth.tolist() == [[1, 2]] and not reading.right.any()


def test_without_a_gold_word_no_answer_is_right_not_even_an_empty_one():
    assert read('', r'\boxed{}', 'awe', words=())[0].right.tolist() == [[False] * 3]


def test_both_questions_are_the_tokens_of_their_chats():
    reading, _ = read(WHOLE, '<step1>no second step</step1>')
    for token, length, text, pictured in (
        (reading.story, reading.story_length, story_of(WHOLE, LABELS), False),
        (reading.view, reading.view_length, view_of(WHOLE), True),
    ):
        wanted = ask(text, pictured)
        assert length.tolist() == [[len(wanted), 0]]
        assert token[0, 0, : len(wanted)].tolist() == wanted
        assert not token[0, 0, len(wanted) :].any() and not token[0, 1].any()


def test_a_question_that_is_too_long_is_counted_and_not_asked_and_never_cut():
    length = len(ask(story_of(WHOLE, LABELS), False))
    reading, _ = read(WHOLE, most=length)
    assert reading.too_long.tolist() == [[0]] and reading.story.shape == (1, 1, length)
    reading, _ = read(WHOLE, most=length - 1)
    assert reading.too_long.tolist() == [[1]]
    assert (reading.story_length.tolist(), reading.view_length.tolist()) == (
        [[0]],
        [[len(ask(view_of(WHOLE), True))]],
    )


def test_bytes_that_are_no_text_are_read():
    text = Text((0,), (b'<step1>\xff</step1><step2>',))
    rules = dict(labels=LABELS, ask=ask, most=256, steps=True, truth='gold')
    reading, _ = Reader(**rules).read([[text]], [Clip('c7', words=('awe',))])
    assert reading.view_length[0, 0] > 0 and not np.asarray(reading.formed).any()
