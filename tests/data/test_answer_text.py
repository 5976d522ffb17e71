"""The reader of answers: tags, boxes and lists in any spelling give the words that are meant."""

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spelt_answers import READ

from mer_jax.data.answer_text import (
    MOST,
    answer_text,
    find_answer,
    is_marked,
    is_tagged,
    read_answer,
)
from mer_jax.data.answer_words import plain_word, says_none, split_answer, word_spans


@pytest.mark.parametrize('text', READ)
def test_an_answer_is_read_in_any_spelling(text):
    assert ', '.join(read_answer(text)) == READ[text]


@pytest.mark.parametrize('text', READ)
def test_an_answer_that_is_read_again_is_the_same(text):
    words = read_answer(text)
    assert read_answer(', '.join(words)) == words
    assert [read_answer(word) for word in words] == [[word] for word in words]


@pytest.mark.parametrize('text', READ)
def test_the_words_of_an_answer_are_where_their_spans_say(text):
    place = find_answer(text)
    spans = word_spans(text, place.start, place.end) if place else []
    assert spans == sorted(spans)
    words = [plain_word(text[start:end]) for start, end in spans]
    assert [word for word in dict.fromkeys(words) if word] == read_answer(text)


@pytest.mark.parametrize(
    'text', ['sad', 'worried, sad', '[worried, sad]', '["worried"]', "don't care", '', '-']
)
def test_plain_lists_hold_no_mark(text):
    assert not is_marked(text) and not is_tagged(text)


@pytest.mark.parametrize('text', ['worried: sad', '{"emotions": ["sad"]}', 'answer: sad', 'a < b'])
def test_text_that_the_published_list_reader_can_cut_holds_no_tag(text):
    assert is_marked(text) and not is_tagged(text)


@pytest.mark.parametrize(
    'text',
    ['a</answer>', '<think>a', r'\boxed{a}', 'a</s>', 'a<|im_end|>', '< / Answer >', '\x08oxed{'],
)
def test_tags_boxes_and_tokens_are_told_from_words(text):
    assert is_marked(text) and is_tagged(text)


@pytest.mark.parametrize(
    'text', ['nan', 'NaN', ' None ', 'N/A', '#N/A', '<NA>', '-', '', 'Unknown.']
)
def test_texts_that_are_no_label(text):
    assert says_none(text)


@pytest.mark.parametrize('text', ['sad', 'neutral', 'other', '3', 'no', 'none of these', 'nano'])
def test_texts_that_are_a_label(text):
    assert not says_none(text)


PARTS = [
    *('<answer>', '</answer>', '< Answer>', '</ answer', '<think>', '</think>', '<|im_end|>'),
    *('</s>', '<br>', '&lt;', '\\boxed{', '\x08oxed{', '\\text{', '{', '}', '[', ']', 'array('),
    *('"emotions": ', '"happy"', 'Answer: ', 'reason: ', 'true', '```json', ' : ', 'is ', 'none'),
    *(', ', '; ', '、', '\n', '. ', '- ', '1. ', ' and ', "'", '"', '\\', '‑', '\u200b', '\ud800'),
    *('sad', 'angry', 'ｓａｄ', 'İ', 'e\u0301'),
]
TEXT = st.one_of(
    st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=12).map(''.join), st.text()
)


@settings(deadline=None, max_examples=500)  # the machine may be busy
@given(text=TEXT)
def test_reading_never_fails_and_gives_clean_words(text):
    words = read_answer(text)
    assert len(set(words)) == len(words)
    assert all(word and word == ' '.join(word.split()) == word.lower() for word in words)
    assert [read_answer(word) for word in words] == [[word] for word in words]
    place = find_answer(text)
    if place:
        assert 0 <= place.block <= place.start <= place.end <= len(text)
    says_none(text)


@settings(deadline=None, max_examples=300)  # the machine may be busy
@given(text=TEXT)
def test_reading_again_changes_nothing(text):
    words = read_answer(text)
    assert read_answer(', '.join(words)) == words


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(
    thought=TEXT, words=st.lists(st.sampled_from(['sad', 'at ease', 'self-conscious']), min_size=1)
)
def test_no_think_block_changes_the_answer_after_it(thought, words):
    said = ', '.join(words)
    assume(not re.search('think|thought|reasoning', thought))
    for answer in (f'<answer>{said}</answer>', f'\\boxed{{{said}}}', said):
        assert read_answer(f'<think>{thought}</think>{answer}') == list(dict.fromkeys(words))


def seconds(text):
    """The least CPU seconds of three readings."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        read_answer(text)
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.parametrize(
    'part', [*PARTS, '!', '" ', 'a</think>', '<answer ' + ' ' * 50, 'the ', ' ']
)
def test_reading_takes_time_in_proportion_to_the_length(part):
    short, long = (part * (size // len(part)) for size in (5_000, 40_000))
    assert seconds(long) < 24 * seconds(short) + 0.02  # 64 times the seconds if it were quadratic


@pytest.mark.slow
def test_only_the_end_of_a_very_long_text_is_read():
    assert read_answer('<answer>happy</answer>' + ' ' * MOST) == []
    assert read_answer('happy ' * MOST + '</think>sad') == ['sad']
    assert len(answer_text('a' * (2 * MOST))) == MOST


@pytest.mark.parametrize(
    ('text', 'closed'),
    [
        ('<answer>sad</answer>', True),
        ('<Answer>sad</ answer>', True),
        ('sad</answer>', False),
        ('<answer>sad', False),
        ('<answer>sad<answer>', False),
        ('sad', False),
    ],
)
def test_a_closed_answer_has_both_of_its_tags(text, closed):
    assert find_answer(text).closed is closed


def test_words_are_split_without_a_look_at_tags():
    assert split_answer('<answer>sad') == ['answer', 'sad']
