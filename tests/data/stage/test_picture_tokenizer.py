"""The tokenizer of the pictures: short branches, labels of one token, plain tags."""

import json
from pathlib import Path

import numpy as np
import pytest

from mer_jax.data.stage import picture_tokenizer as pictures
from mer_jax.data.stage.generator import generator
from mer_jax.data.stage.picture import PICTURES, annotate, draw_scene
from mer_jax.data.stage.picture_words import LABELS, QUESTION
from mer_jax.data.stage.stage import stage_tokenizer
from mer_jax.data.stage.tokenizer import SPECIAL, VOCABULARY


@pytest.fixture(scope='module')
def tokenizer():
    return pictures.picture_tokenizer()


def branches(count, domain):
    """Gold steps with the boxed answer."""
    for index in range(count):
        rng = generator(9, 'test', index, domain)
        clip = annotate(rng, draw_scene(rng), domain, '')
        yield f'{clip.reasoning}\\boxed{{{clip.answer[0]}}}'


def test_the_shipped_tokenizer_is_the_one_that_is_trained():
    shipped = Path(pictures.__file__).with_name(pictures.TOKENIZER_FILE).read_text('utf-8')
    assert json.loads(shipped) == json.loads(pictures.build_picture_tokenizer().to_str())


def test_special_tokens_and_the_chat_are_those_of_the_films(tokenizer):
    films = stage_tokenizer()
    assert len(tokenizer) == len(films) == VOCABULARY
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == films.convert_tokens_to_ids(
        list(SPECIAL)
    )
    assert (tokenizer.eos_token, tokenizer.pad_token) == ('<|im_end|>', '<|endoftext|>')
    assert tokenizer.chat_template == films.chat_template


def test_a_label_is_one_token_after_a_brace_a_space_and_nothing(tokenizer):
    for label in LABELS:
        assert len(tokenizer.encode(label)) == len(tokenizer.encode(f' {label}')) == 1
        assert tokenizer.tokenize(f'\\boxed{{{label}}}')[-3:] == ['{', label, '}']


def test_tags_are_few_tokens_and_do_not_split_the_words_beside_them(tokenizer):
    text = (
        '<step1>a pale face, rain behind.</step1><step2>one would cry.</step2>'
        '<step3>negative, low arousal.</step3>\\boxed{sadness}'
    )
    pieces = (
        '<step 1 > a Ġpale Ġface , Ġrain Ġbehind .</ step 1 >< step 2 > one Ġwould Ġcry .</ '
        'step 2 >< step 3 > negative , Ġlow Ġarousal .</ step 3 >\\ boxed { sadness }'
    )
    assert tokenizer.tokenize(text) == pieces.split()


@pytest.mark.parametrize('domain', PICTURES)
def test_a_gold_branch_is_short_enough_to_be_decoded_token_by_token(tokenizer, domain):
    lengths = [len(tokenizer.encode(branch)) for branch in branches(500, domain)]
    assert 36 < np.mean(lengths) < 41 and max(lengths) <= 42


def test_texts_are_decoded_as_they_were_encoded(tokenizer):
    others = (QUESTION, *pictures.REFLECTION, *pictures.INSTRUCTION, 'Größe, naïve 不是 🙂 <step4>')
    for text in (*others, *branches(30, 'home'), *branches(30, 'away')):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_questions_of_the_reflection_are_a_token_a_word(tokenizer):
    for text in pictures.REFLECTION:
        marks = sum(text.count(mark) for mark in ',.:?')
        assert len(tokenizer.encode(text)) == len(text.split()) + marks
