"""Reading branches on the host: tokens → answers → wheel cells, anchors, echoes of answers."""

import dataclasses
import functools
import re

import numpy as np

from mer_jax.data.prompts import FAST_OPENING
from mer_jax.data.wheels.wheel import Wheels, split_answer
from mer_jax.group import Branches, Reading

FORM = re.compile(rb'\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*', re.DOTALL)
ANSWER = re.compile(rb'<answer>(.*?)</answer>', re.DOTALL)
THINK = re.compile(rb'<think>(.*?)</think>', re.DOTALL)
TAGS = (b'<think>', b'</think>', b'<answer>', b'</answer>')
SEPARATOR = rb'[,;\r\n]|\xe3\x80\x81|\xef\xbc[\x8c\x9b]'  # the last three are wide, in UTF-8
WORD = re.compile(  # from the first letter: quotes are no word
    rb'(?:%s)|([A-Za-z\x80-\xff](?:(?!%s).)*)' % (SEPARATOR, SEPARATOR), re.DOTALL
)
ECHO = FAST_OPENING.encode()


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What one branch says: its whole text, the think block, the words of the answer, its form."""

    text: str
    think: str
    words: tuple[str, ...]
    formed: bool


class Reader:
    """Reads branches of one tokenizer with one set of wheels.

    Sizes are fixed so that the training step compiles once: `anchors` words of an answer and
    `echo_tokens` of an echo are used; what is longer is cut there.
    """

    def __init__(self, tokenizer, wheels: Wheels, end: int, anchors: int, echo_tokens: int):
        self.wheels, self.end = wheels, end
        self.anchors, self.echo_tokens = anchors, echo_tokens
        self.piece = token_bytes(tokenizer)
        self.encode = functools.lru_cache(
            lambda text: tokenizer.encode(text.decode(), add_special_tokens=False)
        )

    def read(self, branches: Branches, gold_bwc) -> tuple[Reading, list[list[Parsed]]]:
        """The Reading of branches (numpy) and what each of them says, [b][g]."""
        token, mask = branches.token, branches.mask
        b, g, _ = token.shape
        anchor = np.full((b, g, self.anchors), -1, np.int32)
        echo_anchor = np.full((b, g, self.anchors), -1, np.int32)
        right = np.zeros((b, g, self.anchors), bool)
        echo = np.full((b, g, self.echo_tokens), self.end, np.int32)
        echo[:, :, 0] = token[:, :, 0]
        parsed = []
        for i in range(b):
            parsed.append([])
            for j in range(g):
                ids = branch_ids(token[i, j], mask[i, j], self.end)
                said, words = self.parse(ids)
                parsed[i].append(said)
                pairs = self.pair(ids, words, echo[i, j])
                for a, (word, here, there) in enumerate(pairs[: self.anchors]):
                    anchor[i, j, a], echo_anchor[i, j, a] = here, there
                    right[i, j, a] = (self.wheels.cells([[word]])[0] & gold_bwc[i]).any()
        answers = [said.words for row in parsed for said in row]
        named = self.wheels.cells(answers)
        formed = np.array([[said.formed for said in row] for row in parsed])
        reading = Reading(
            named=named.reshape(b, g, *named.shape[1:]),
            formed=formed,
            anchor=anchor,
            right=right,
            echo=echo,
            echo_anchor=echo_anchor,
        )
        return reading, parsed

    def parse(self, ids: list[int]) -> tuple[Parsed, list[tuple[str, int]]]:
        """What the tokens say, and the (word, byte where it starts) of each word of the answer."""
        text = b''.join(self.piece[i] for i in ids)
        answer, think = ANSWER.search(text), THINK.search(text)
        said = answer.group(1).decode(errors='replace') if answer else ''
        thought = think.group(1).decode(errors='replace').strip() if think else ''
        parsed = Parsed(
            text=text.decode(errors='replace'),
            think=thought,
            words=tuple(split_answer(said)),
            formed=all(text.count(tag) == 1 for tag in TAGS) and bool(FORM.fullmatch(text)),
        )
        words = []
        for found in WORD.finditer(text, *answer.span(1)) if answer else ():
            if word := split_answer((found.group(1) or b'').decode(errors='replace')):
                words.append((word[0], found.start()))
        return parsed, words

    def pair(self, ids, words, echo_s) -> list[tuple[str, int, int]]:
        """Write the echo of an answer into echo_s; (word, branch index, echo index) of its words.

        The echo is the fast opening followed by the branch's own answer tokens. Where a token spans
        the border of the answer, the opening ends that much earlier, so the text is exact.
        """
        if not words:
            return []
        ends = np.cumsum([len(self.piece[i]) for i in ids])
        text = b''.join(self.piece[i] for i in ids)
        opened = text.index(b'<answer>') + len(b'<answer>')
        first = int(np.searchsorted(ends, opened, side='right'))
        border = int(ends[first - 1]) if first else 0
        shared = text[border:opened]
        if not ECHO.endswith(shared):
            return []
        prefix = self.encode(ECHO[: len(ECHO) - len(shared)])
        spoken = (prefix + ids[first:])[: self.echo_tokens - 1]
        echo_s[1 : 1 + len(spoken)] = spoken
        shift = len(prefix) - first
        pairs = []
        for word, start in words:
            here = int(np.searchsorted(ends, start, side='right'))
            if here + shift < len(spoken):
                pairs.append((word, here + 1, here + shift + 1))
        return pairs


def branch_ids(token_s, mask_s, end: int) -> list[int]:
    """The tokens that a branch says: after token 0, up to the last sampled one, without the end."""
    sampled = np.flatnonzero(mask_s)
    ids = token_s[1 : sampled[-1] + 1].tolist() if sampled.size else []
    return ids[:-1] if ids and ids[-1] == end else ids


def token_bytes(tokenizer) -> list[bytes]:
    """The bytes each token of a byte-level tokenizer stands for; special ones are their names."""
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
