"""Token ids of branches as texts: bytes of each token, so that places in a text can be found."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Text:
    """The text of one branch: its token ids after token 0 and without the end, and their bytes."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """The whole text in UTF-8; a model may end it within a letter."""
        return b''.join(self.pieces)

    def __str__(self) -> str:
        return self.data.decode(errors='replace')

    def ends(self) -> np.ndarray:
        """The byte after the last one of each token, i[s]."""
        return np.cumsum([len(piece) for piece in self.pieces])


class TextReader:
    """Reads branches of a byte-level tokenizer whose turns end with the token `end`."""

    def __init__(self, tokenizer, end: int):
        self.end = end
        self.piece = token_bytes(tokenizer)

    def read(self, token_bgs: np.ndarray, mask_bgs: np.ndarray) -> list[list[Text]]:
        """The text of each branch, [b][g]."""
        return [
            [self.text(token_s, mask_s) for token_s, mask_s in zip(token_gs, mask_gs, strict=True)]
            for token_gs, mask_gs in zip(token_bgs, mask_bgs, strict=True)
        ]

    def text(self, token_s: np.ndarray, mask_s: np.ndarray) -> Text:
        """The text of a branch, up to its last sampled token."""
        ids = branch_ids(token_s, mask_s, self.end)
        return Text(tuple(ids), tuple(self.piece[i] for i in ids))


def branch_ids(token_s, mask_s, end: int) -> list[int]:
    """The tokens of a branch: after token 0, up to the last sampled one, without the end."""
    sampled = np.flatnonzero(mask_s)
    ids = token_s[1 : sampled[-1] + 1].tolist() if sampled.size else []
    return ids[:-1] if ids and ids[-1] == end else ids


def token_bytes(tokenizer) -> list[bytes]:
    """The bytes each token of a byte-level tokenizer represents; special ones are their names."""
    letters = byte_letters()
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    pieces = []
    for i, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        known = i not in special and all(letter in letters for letter in token)
        pieces.append(bytes(letters[x] for x in token) if known else token.encode())
    return pieces


def byte_letters() -> dict[str, int]:
    """The byte of each letter of byte-level BPE (GPT-2); printable bytes are their own letters."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in set(plain)]
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}
