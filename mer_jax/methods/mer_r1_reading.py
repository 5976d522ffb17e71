"""Reading MER-R1's branches on the host: texts → answers → wheel categories, anchors, echoes."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
from flax import struct

from mer_jax.data.answer_text import find_answer
from mer_jax.data.answer_words import plain_word, word_spans
from mer_jax.data.clips import Clip
from mer_jax.data.texts import Text
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.group import Array

FAST_OPENING = '<think></think><answer>'
FORM = re.compile(rb'\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*', re.DOTALL)
TAGS = (b'<think>', b'</think>', b'<answer>', b'</answer>')


@struct.dataclass
class Reading:
    """Categories and anchors of branches, and the echo of each answer after an empty think block.

    An anchor is the first token of an emotion word of the answer.
    """

    gold: Array  # bool[b, w, c], categories of the clip's gold words
    named: Array  # bool[b, g, w, c], categories of the answer's words
    formed: Array  # bool[b, g], all tags are there, once and in order
    anchor: Array  # i[b, g, a], index in the branch, −1 = none
    right: Array  # bool[b, g, a], some wheel has the word in a gold category
    echo: Array  # i[b, g, s], tokens of the echo branch; token 0 is set on the device
    echo_anchor: Array  # i[b, g, a], index of the same words in the echo, −1 = none


@dataclasses.dataclass(frozen=True)
class Parsed:
    """One branch as text: all of it, the think block, the words of the answer, its form."""

    text: str
    think: str
    words: tuple[str, ...]
    formed: bool


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads branches with one set of wheels.

    Sizes are fixed so that the training step compiles once: `anchors` words of an answer and
    `echo_tokens` of an echo are used; the rest of a longer one is left out.
    """

    wheels: Wheels
    encode: Callable[[str], list[int]]
    end: int
    anchors: int
    echo_tokens: int

    def read(
        self, texts: Sequence[Sequence[Text]], clips: Sequence[Clip]
    ) -> tuple[Reading, list[list[Parsed]]]:
        """The Reading of texts [b][g], as numpy, and each of them parsed."""
        b, g = len(texts), len(texts[0])
        gold = self.wheels.cells([clip.words for clip in clips])
        anchor = np.full((b, g, self.anchors), -1, np.int32)
        echo_anchor = np.full((b, g, self.anchors), -1, np.int32)
        right = np.zeros((b, g, self.anchors), bool)
        echo = np.full((b, g, self.echo_tokens), self.end, np.int32)
        parsed = []
        for i in range(b):
            parsed.append([])
            for j in range(g):
                answer, words, opened = parse(texts[i][j])
                parsed[i].append(answer)
                pairs = self.pair(texts[i][j], words, opened, echo[i, j])
                for a, (word, here, there) in enumerate(pairs[: self.anchors]):
                    anchor[i, j, a], echo_anchor[i, j, a] = here, there
                    right[i, j, a] = (self.wheels.cells([[word]])[0] & gold[i]).any()
        named = self.wheels.cells([answer.words for row in parsed for answer in row])
        reading = Reading(
            gold=gold,
            named=named.reshape(b, g, *named.shape[1:]),
            formed=np.array([[answer.formed for answer in row] for row in parsed]),
            anchor=anchor,
            right=right,
            echo=echo,
            echo_anchor=echo_anchor,
        )
        return reading, parsed

    def pair(self, text: Text, words, opened: int, echo_s) -> list[tuple[str, int, int]]:
        """Write the echo of an answer into echo_s; (word, branch index, echo index) of its words.

        `opened` is the byte after the opening tag. The echo is the fast opening followed by the
        branch's own answer tokens. Where a token spans the border of the answer, the opening ends
        that much earlier, so the text is exact.
        """
        if not words:
            return []
        ends, opening = text.ends(), FAST_OPENING.encode()
        first = int(np.searchsorted(ends, opened, side='right'))
        border = int(ends[first - 1]) if first else 0
        shared = text.data[border:opened]
        if not opening.endswith(shared):
            return []
        prefix = self.prefix(opening[: len(opening) - len(shared)])
        spoken = (prefix + text.ids[first:])[: self.echo_tokens - 1]
        echo_s[1 : 1 + len(spoken)] = spoken
        shift = len(prefix) - first
        pairs = []
        for word, start in words:
            here = int(np.searchsorted(ends, start, side='right'))
            if here + shift < len(spoken):
                pairs.append((word, here + 1, here + shift + 1))
        return pairs

    @functools.lru_cache  # noqa: B019, one reader lives as long as its run
    def prefix(self, text: bytes) -> tuple[int, ...]:
        """The tokens of the beginning of an echo."""
        return tuple(self.encode(text.decode()))


def parse(text: Text) -> tuple[Parsed, list[tuple[str, int]], int]:
    """A branch parsed, (word, byte at which it begins) of its words, and the byte of its answer.

    The answer is that of `find_answer`, but it names nothing without both of its tags.
    """
    data = text.data
    said = data.decode(errors='surrogateescape')  # so that letters can be counted as bytes
    place = find_answer(said)
    closed = place is not None and place.closed
    spans = word_spans(said, place.start, place.end) if closed else []
    words, at, byte = [], 0, 0
    for start, end in spans:
        at, byte = start, byte + _size(said[at:start])
        if word := plain_word(_in_utf_8(said[start:end])):
            words.append((word, byte))
    parsed = Parsed(
        text=str(text),
        think=thought(data).decode(errors='replace').strip(),
        words=tuple(dict.fromkeys(word for word, _ in words)),
        formed=all(data.count(tag) == 1 for tag in TAGS) and bool(FORM.fullmatch(data)),
    )
    return parsed, words, _size(said[: place.block]) if closed else 0


def thought(data: bytes) -> bytes:
    """The first think block of a branch; empty if it has no end."""
    _, opened, rest = data.partition(b'<think>')
    inside, closed, _ = rest.partition(b'</think>')
    return inside if opened and closed else b''


def _size(text: str) -> int:
    """The number of bytes of a text."""
    return len(text.encode(errors='surrogateescape'))


def _in_utf_8(text: str) -> str:
    """A text whose bytes that are no UTF-8 are replaced."""
    return text.encode(errors='surrogateescape').decode(errors='replace')
