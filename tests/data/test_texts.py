"""Token ids of branches as texts, and the bytes of each token."""

import numpy as np
from tokenizers import pre_tokenizers

from mer_jax.data.stage.stage import stage_tokenizer
from mer_jax.data.texts import Text, TextReader, branch_ids, byte_letters, token_bytes

TOKENIZER = stage_tokenizer()
END = TOKENIZER.eos_token_id
READER = TextReader(TOKENIZER, END)


def encode(text):
    return TOKENIZER.encode(text, add_special_tokens=False)


def test_a_branch_ends_with_its_last_sampled_token():
    token, mask = np.array([7, 5, 11, 12, END, 13]), np.array([0, 0, 1, 1, 1, 0], bool)
    assert branch_ids(token, mask, END) == [5, 11, 12]
    assert branch_ids(token, mask & (token != END), END) == [5, 11, 12]
    assert branch_ids(token, np.zeros(6, bool), END) == []


def test_branches_are_read_row_by_row_without_token_0_and_the_end():
    said = [['sad, she', 'calm'], ['', '日本']]
    token, mask = np.full((2, 2, 12), END), np.zeros((2, 2, 12), bool)
    token[:, :, 0] = 1  # the last token of the prompt
    for b, row in enumerate(said):
        for g, text in enumerate(row):
            ids = [*encode(text), END]
            token[b, g, 1 : 1 + len(ids)] = ids
            mask[b, g, 1 : 1 + len(ids)] = True
    texts = READER.read(token, mask)
    assert [[str(text) for text in row] for row in texts] == said
    assert texts[0][0].ids == tuple(encode('sad, she'))


def test_the_ends_of_tokens_are_the_places_of_their_bytes():
    ids = encode('“sad”, calm')
    text = READER.text(np.array([1, *ids, END]), np.array([0] + [1] * (len(ids) + 1), bool))
    starts = [0, *text.ends()[:-1]]
    pieces = [text.data[a:b] for a, b in zip(starts, text.ends(), strict=True)]
    assert tuple(pieces) == text.pieces and text.ends()[-1] == len(text.data)
    assert text.data == '“sad”, calm'.encode()


def test_a_text_that_ends_within_a_letter_can_be_shown():
    text = Text((1, 2), (b'sad ', '🙂'.encode()[:2]))
    assert str(text) == 'sad \ufffd' and len(text.data) == 6


def test_bytes_of_tokens_in_a_row_are_those_that_the_tokenizer_decodes():
    piece = token_bytes(TOKENIZER)
    assert len(piece) == len(TOKENIZER)
    rng = np.random.default_rng(0)
    for _ in range(100):
        ids = rng.integers(0, len(TOKENIZER), 20).tolist()
        joined = b''.join(piece[i] for i in ids)
        assert joined.decode(errors='replace') == TOKENIZER.decode(ids)
    text = 'Ach — she’s “sad”…  日本\n🙂'
    assert b''.join(piece[i] for i in encode(text)) == text.encode()


def test_a_control_token_is_read_as_its_name_and_not_as_letters_of_bytes():
    tokenizer = stage_tokenizer()
    tokenizer.add_tokens(['<é>', 'plain'], special_tokens=True)
    assert token_bytes(tokenizer)[-2:] == ['<é>'.encode(), b'plain']


def test_every_byte_has_its_letter():
    letters = byte_letters()
    assert sorted(letters.values()) == list(range(256))
    assert set(letters) == set(pre_tokenizers.ByteLevel.alphabet())
