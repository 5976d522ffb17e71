"""Reading branches: thought, words and form, where the words begin, and the echo."""

import numpy as np
import pytest
from spelt_answers import READ

from mer_jax.data.answer_text import find_answer, read_answer
from mer_jax.data.answer_words import plain_word
from mer_jax.data.clips import Clip
from mer_jax.data.stage.stage import stage_tokenizer
from mer_jax.data.texts import Text, TextReader
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods.mer_r1 import OPENINGS
from mer_jax.methods.mer_r1_reading import FAST_OPENING, Parsed, Reader, parse

TOKENIZER = stage_tokenizer()
END, START, SIZE = TOKENIZER.eos_token_id, 1, 80
WHEELS = load_wheels(('parrott', 'ekman'))
CLIP = Clip('c7', words=('sad', 'angry'))

THOUGHT = ' She looks down.'


def encode(text, tokenizer=TOKENIZER):
    return tokenizer.encode(text, add_special_tokens=False)


def reader_of(tokenizer=TOKENIZER, anchors=4, echo_tokens=40):
    return Reader(WHEELS, lambda text: encode(text, tokenizer), END, anchors, echo_tokens)


def branches_of(*said):
    """One group whose branches open with <think> and sample these tokens or texts, then the end."""
    opening = encode(OPENINGS['slow'])
    token = np.full((1, len(said), SIZE), END, np.int32)
    mask = np.zeros(token.shape, bool)
    first = 1 + len(opening)
    for g, ids in enumerate(said):
        ids = encode(ids) + [END] if isinstance(ids, str) else ids
        token[0, g, 0], token[0, g, 1:first] = START, opening
        token[0, g, first : first + len(ids)] = ids
        mask[0, g, first : first + len(ids)] = True
    return token, mask


def read(*said, reader=None, tokenizer=TOKENIZER):
    """Tokens of branches, their Reading without the axis b, and each of them parsed."""
    token, mask = branches_of(*said)
    texts = TextReader(tokenizer, END).read(token, mask)
    reading, (parsed,) = (reader or reader_of(tokenizer)).read(texts, [CLIP])
    arrays = dict(vars(reading))
    gold = arrays.pop('gold')
    assert [x.shape[:2] for x in arrays.values()] == [(1, len(said))] * 6
    np.testing.assert_array_equal(gold, WHEELS.cells([CLIP.words]))
    return token[0], type(reading)(gold=gold, **{k: x[0] for k, x in arrays.items()}), parsed


def spoken(echo_s, tokenizer=TOKENIZER):
    """The text of an echo behind token 0."""
    return tokenizer.decode([i for i in echo_s[1:] if i != END])


def anchored(token_s, anchor_a):
    """The texts of the tokens at the anchors."""
    return [TOKENIZER.decode([token_s[at]]) for at in anchor_a if at >= 0]


def test_a_branch_is_read_into_thought_words_and_form():
    _, reading, parsed = read(f'{THOUGHT}</think><answer>Sad, lonely, sad</answer>')
    text = f'<think>{THOUGHT}</think><answer>Sad, lonely, sad</answer>'
    assert parsed == [Parsed(text, 'She looks down.', ('sad', 'lonely'), True)]
    assert reading.formed.tolist() == [True]


@pytest.mark.parametrize(
    ('said', 'formed', 'words'),
    [
        ('x</think><answer>sad</answer>', True, ('sad',)),
        ('</think>\n\n<answer> sad </answer>\n', True, ('sad',)),
        ('x</think><answer></answer>', True, ()),
        ('x</think><answer>sad; angry\nafraid</answer>', True, ('sad', 'angry', 'afraid')),
        ('x</think><answer>["sad", "angry"]</answer>', True, ('sad', 'angry')),
        ('x</think><answer>sad、angry</answer>', True, ('sad', 'angry')),
        ('x</think><answer>1. sad\n2. angry</answer>', True, ('sad', 'angry')),
        ('x</think><answer>sad', False, ()),
        ('x</think>sad</answer>', False, ()),
        ('x</think>sad', False, ()),
        ('x<answer>sad</answer>', False, ('sad',)),
        ('x</think><answer>sad</answer> indeed', False, ('sad',)),
        ('x</think> so <answer>sad</answer>', False, ('sad',)),
        ('x</think><answer>sad</answer><answer>angry</answer>', False, ('angry',)),
        ('x</think>y</think><answer>sad</answer>', False, ('sad',)),
        ('<think>x</think><answer>sad</answer>', False, ('sad',)),
        ('x<answer>angry</answer></think><answer>sad</answer>', False, ('sad',)),
        ('write <answer></answer></think><answer>sad</answer>', False, ('sad',)),
        ('x</think><Answer>sad</ answer>', False, ('sad',)),
        (r'x</think><answer>\boxed{\text{sad}}</answer>', True, ('sad',)),
        ('x</think><answer>{"emotions": ["sad"]}</answer>', True, ('sad',)),
        ("x</think><answer>['sad' 'angry']</answer>", True, ('sad', 'angry')),
        ('x</think><answer>Answer: sad and angry</answer>', True, ('sad', 'angry')),
        ('x</think><answer>none</answer>', True, ()),
        ('x<answer>sad</answer></think>', False, ('sad',)),
        ('', False, ()),
    ],
)
def test_only_one_thought_and_one_answer_and_nothing_else_is_the_form(said, formed, words):
    _, reading, parsed = read(said)
    assert (parsed[0].formed, parsed[0].words) == (formed, words)
    assert reading.formed[0] == formed
    np.testing.assert_array_equal(reading.named[0], WHEELS.cells([words])[0])


def test_a_branch_without_an_end_is_read_as_one_with_an_end():
    ids = encode(f'{THOUGHT}</think><answer>sad</answer>')
    _, reading, parsed = read([*ids, END], ids)
    assert parsed[0] == parsed[1]
    for name, array in vars(reading).items():
        if name != 'gold':
            np.testing.assert_array_equal(array[0], array[1], err_msg=name)


def test_a_branch_that_sampled_nothing_says_nothing():
    _, reading, parsed = read([])
    assert parsed == [Parsed('', '', (), False)]
    assert not reading.named.any()
    assert (reading.anchor == -1).all() and (reading.echo_anchor == -1).all()


def test_a_word_is_right_where_a_wheel_puts_it_into_a_gold_category():
    _, reading, _ = read('</think><answer>lonely, happy, furious, blue sky</answer>')
    assert reading.right[0].tolist() == [True, False, True, False]
    # The row of an anchor that does not exist is not right.
    _, reading, _ = read('</think><answer>sad</answer>')
    assert reading.right[0].tolist() == [True, False, False, False]


def test_gold_of_one_prompt_is_not_that_of_its_neighbour():
    token, mask = (np.repeat(x, 2, 0) for x in branches_of('</think><answer>sad</answer>'))
    texts = TextReader(TOKENIZER, END).read(token, mask)
    clips = [Clip('a', words=('sad',)), Clip('b', words=('happy', 'qwerty'))]
    reading, parsed = reader_of().read(texts, clips)
    np.testing.assert_array_equal(reading.gold, WHEELS.cells([clip.words for clip in clips]))
    assert reading.right[:, 0, 0].tolist() == [True, False]
    assert parsed[0] == parsed[1]


@pytest.mark.parametrize(
    ('answer', 'starts'),
    [
        ('sad', ['sad']),
        ('sad, happy', ['sad', ' happy']),
        ('happy,sad;angry\nafraid', ['happy', 'sad', 'angry', 'afraid']),
        ('["sad", "happy"]', ['sad', 'happy']),
        ('- sad\n- happy', [' sad', ' happy']),
        ('1. sad, 2. happy', [' sad', ' happy']),
        (', , sad,,', [' sad']),
        ('sad, sad', ['sad', ' sad']),
        ('happy and sad', ['happy', ' sad']),
        ('Answer: happy', [' happy']),
        ('{"emotions": ["happy", "sad"]}', ['happy', 'sad']),
        (r'\boxed{\text{sad}}', ['sad']),
        ('“…” — sad', [' sad']),
        ('12, ...', []),
    ],
)
def test_anchors_point_at_the_tokens_that_begin_the_words(answer, starts):
    token, reading, _ = read(f'{THOUGHT}</think><answer>{answer}</answer>')
    assert anchored(token[0], reading.anchor[0]) == starts
    assert anchored(reading.echo[0], reading.echo_anchor[0]) == starts


@pytest.mark.parametrize(
    'rest',
    ['sad</answer>', ' sad, lonely \n</answer>', '“triste”, happy</answer>', 'sad</answer> so!\n'],
)
def test_the_echo_is_an_emptied_thought_and_the_branchs_own_answer(rest):
    token, reading, _ = read(f'{THOUGHT}</think>\n<answer>{rest}')
    assert spoken(reading.echo[0]) == FAST_OPENING + rest
    said, echo = token[0, token[0] != END], reading.echo[0, reading.echo[0] != END]
    size = len(encode(rest))
    np.testing.assert_array_equal(echo[-size:], said[-size:])


def test_the_answer_is_echoed_token_by_token_however_it_was_spelt():
    letters = [encode(letter)[0] for letter in 'sad']
    ids = [*encode('x</think><answer>'), *letters, *encode('</answer>')]
    token, reading, parsed = read(ids)
    assert parsed[0].words == ('sad',)
    assert spoken(reading.echo[0]) == f'{FAST_OPENING}sad</answer>'
    at = reading.echo_anchor[0, 0]
    assert reading.echo[0, at : at + 3].tolist() == letters
    assert token[0, reading.anchor[0, 0]] == letters[0]


def test_anchors_of_branch_and_echo_pair_and_name_the_same_tokens():
    said = [
        f'{"very " * n}</think><answer>{", ".join(words)}</answer>'
        for n, words in enumerate([['sad'], ['happy', 'sad'], [], ['calm', 'angry', 'afraid']])
    ]
    token, reading, _ = read(*said)
    np.testing.assert_array_equal(reading.anchor >= 0, reading.echo_anchor >= 0)
    assert (reading.anchor >= 0).sum(-1).tolist() == [1, 2, 0, 3]
    for g, a in zip(*np.nonzero(reading.anchor >= 0), strict=True):
        assert token[g, reading.anchor[g, a]] == reading.echo[g, reading.echo_anchor[g, a]]


def test_an_echo_of_a_branch_without_words_is_blank():
    _, reading, _ = read('x</think><answer> , </answer>')
    assert reading.echo[0].tolist() == [END] * 40


def test_more_words_than_anchors_are_named_but_not_compared():
    words = ('sad', 'happy', 'angry', 'afraid', 'calm', 'proud')
    _, reading, parsed = read(f'</think><answer>{",".join(words)}</answer>')
    assert parsed[0].words == words
    assert (reading.anchor[0] >= 0).all() and (reading.echo_anchor[0] >= 0).all()
    np.testing.assert_array_equal(reading.named[0], WHEELS.cells([words])[0])


def test_an_echo_longer_than_its_room_is_cut_with_its_anchors():
    opening = len(encode(FAST_OPENING))
    text = 'x</think><answer>sad,happy,angry</answer>'
    for room, anchors in [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3)]:
        reader = reader_of(echo_tokens=1 + opening + room)
        _, reading, parsed = read(text, reader=reader)
        assert reading.echo.shape == (1, 1 + opening + room)
        kept = TOKENIZER.decode(encode('sad,happy,angry</answer>')[:room])
        assert spoken(reading.echo[0]) == FAST_OPENING + kept
        assert (reading.anchor[0] >= 0).sum() == (reading.echo_anchor[0] >= 0).sum() == anchors
        assert len(parsed[0].words) == 3


def test_an_echo_is_exact_where_a_token_spans_the_border_of_the_answer():
    tokenizer = stage_tokenizer()
    tokenizer.add_tokens(['>sad'])
    ids = encode('x</think><answer>sad, happy</answer>', tokenizer)
    spanning = tokenizer.convert_tokens_to_ids('>sad')
    assert spanning in ids
    token, reading, parsed = read(ids, tokenizer=tokenizer)
    assert parsed[0].words == ('sad', 'happy')
    assert spoken(reading.echo[0], tokenizer) == f'{FAST_OPENING}sad, happy</answer>'
    assert token[0, reading.anchor[0, 0]] == spanning
    assert reading.echo[0, reading.echo_anchor[0, 0]] == spanning


def test_a_token_that_no_echo_can_hold_leaves_words_but_no_anchors():
    tokenizer = stage_tokenizer()
    tokenizer.add_tokens(['\n<answer>sad'])
    ids = encode('x</think>\n<answer>sad</answer>', tokenizer)
    _, reading, parsed = read(ids, tokenizer=tokenizer)
    assert parsed[0].words == ('sad',) and parsed[0].formed
    assert (reading.anchor == -1).all() and (reading.echo_anchor == -1).all()
    assert spoken(reading.echo[0]) == ''


def test_no_bytes_make_reading_fail():
    rng = np.random.default_rng(0)
    tags = [encode(tag) for tag in ('</think><answer>', '</answer>', ', ', '')]
    lone = TOKENIZER.convert_tokens_to_ids(['Ã', 'ð'])  # the bytes c3 and f0 begin a letter
    said = []
    for _ in range(100):
        parts = [rng.integers(0, len(TOKENIZER), rng.integers(0, 9)).tolist() for _ in tags]
        parts[rng.integers(4)] += lone
        said.append(sum((part + tag for part, tag in zip(parts, tags, strict=True)), [])[:70])
    token, reading, parsed = read(*said)
    assert any('\ufffd' in one.text for one in parsed)
    assert any(one.words for one in parsed)
    pairs = np.nonzero(reading.anchor >= 0)
    echoed = reading.echo[pairs[0], reading.echo_anchor[pairs]]
    np.testing.assert_array_equal(token[pairs[0], reading.anchor[pairs]], echoed)


def test_where_a_token_ends_with_the_tag_the_whole_opening_is_encoded_at_once():
    def spelt(text):
        return [50] if text == FAST_OPENING else [ord(letter) for letter in text]

    text = Text((1, 2, 3, 4), (b'<think>', b'x</think><answer', b'>', b'sad</answer>'))
    reader = Reader(WHEELS, spelt, end=0, anchors=2, echo_tokens=5)
    reading, _ = reader.read([[text]], [CLIP])
    assert reading.echo[0, 0, 1:].tolist() == [50, 4, 0, 0]
    assert (reading.anchor[0, 0, 0], reading.echo_anchor[0, 0, 0]) == (4, 2)


def test_anchors_are_exact_in_the_last_block_and_behind_letters_of_several_bytes():
    said = 'é <answer>angry</answer></think>\n<answer>“happy”、sad</answer>'
    token, reading, parsed = read(said)
    assert parsed[0].words == ('happy', 'sad')
    assert anchored(token[0], reading.anchor[0]) == ['happy', 'sad']
    assert anchored(reading.echo[0], reading.echo_anchor[0]) == ['happy', 'sad']
    assert spoken(reading.echo[0]) == f'{FAST_OPENING}“happy”、sad</answer>'


@pytest.mark.parametrize('text', READ)
def test_rewards_and_scores_read_the_same_words_of_a_closed_answer(text):
    data = text.encode(errors='surrogateescape')
    parsed, words, _ = parse(Text((0,), (data,)))
    place = find_answer(text)
    assert list(parsed.words) == (read_answer(text) if place and place.closed else [])
    for word, start in words:
        assert plain_word(data[start:].decode()).startswith(word[:1])


@pytest.mark.parametrize('part', ['<think>', '</think>', '<answer>', '</answer>', '<', '\\boxed{'])
def test_a_branch_full_of_tags_is_parsed_in_linear_time(part):
    for tail in ('', '<think></think><answer>sad</answer>'):
        parse(Text((0,), (part.encode() * (100_000 // len(part)) + tail.encode(),)))
