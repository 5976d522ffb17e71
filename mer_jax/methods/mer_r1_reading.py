"""Reading MER-R1's branches on the host: texts → answers → wheel categories, anchors, echoes."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
from flax import struct

from mer_jax.data.answer_words import split_answer
from mer_jax.data.clips import Clip
from mer_jax.data.texts import Text
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.group import Array

FAST_OPENING = '<think></think><answer>'
FORM = re.compile(rb'\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*', re.DOTALL)
ANSWER = re.compile(rb'<answer>(.*?)</answer>', re.DOTALL)
THINK = re.compile(rb'<think>(.*?)</think>', re.DOTALL)
TAGS = (b'<think>', b'</think>', b'<answer>', b'</answer>')
SEPARATOR = rb'[,;\r\n]|\xe3\x80\x81|\xef\xbc[\x8c\x9b]'  # the last three are wide, in UTF-8
WORD = re.compile(  # from the first letter: quotes are no part of a word
    rb'(?:%s)|([A-Za-z\x80-\xff](?:(?!%s).)*)' % (SEPARATOR, SEPARATOR), re.DOTALL
)


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
                answer, words = parse(texts[i][j])
                parsed[i].append(answer)
                pairs = self.pair(texts[i][j], words, echo[i, j])
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

    def pair(self, text: Text, words, echo_s) -> list[tuple[str, int, int]]:
        """Write the echo of an answer into echo_s; (word, branch index, echo index) of its words.

        The echo is the fast opening followed by the branch's own answer tokens. Where a token spans
        the border of the answer, the opening ends that much earlier, so the text is exact.
        """
        if not words:
            return []
        ends, opening = text.ends(), FAST_OPENING.encode()
        opened = text.data.index(b'<answer>') + len(b'<answer>')
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


def parse(text: Text) -> tuple[Parsed, list[tuple[str, int]]]:
    """A branch parsed, and the (word, byte at which it begins) of each word of its answer."""
    data = text.data
    answer, think = ANSWER.search(data), THINK.search(data)
    answered = answer.group(1).decode(errors='replace') if answer else ''
    thought = think.group(1).decode(errors='replace').strip() if think else ''
    parsed = Parsed(
        text=str(text),
        think=thought,
        words=tuple(split_answer(answered)),
        formed=all(data.count(tag) == 1 for tag in TAGS) and bool(FORM.fullmatch(data)),
    )
    words = []
    for found in WORD.finditer(data, *answer.span(1)) if answer else ():
        if word := split_answer((found.group(1) or b'').decode(errors='replace')):
            words.append((word[0], found.start()))
    return parsed, words
