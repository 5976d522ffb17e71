r"""Where the answer is in a model's text: one reader for scores, evaluation, rewards, manifests.

A text with turns or think blocks is read from the end of the last one that something follows, so a
block that a think block quotes does not count. There the last block of answer tags that holds a
letter counts, else all of the text; in it the last \boxed{…}, then what follows the last `Answer:`.
A token that ends a turn ends the answer.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mer_jax.data.answer_words import split_answer

MOST = 2**20  # letters that are read, from the end of a text
BOXES = 8  # that are tried, from the end of an answer

_LETTER = re.compile(r'[^\W_]')
_TAG = re.compile(
    r"""
      (?:
        (?:[<＜]|&lt;)\s{0,4}(?P<slash>\\?[/／]?)\s{0,4}
        (?:(?P<answer>(?:final[_ ]?)?answers?|ans|答案)
          |(?P<think>think(?:ing)?|thoughts?|reasoning))
        (?:\s[^<>＜＞]{0,80})?(?:[>＞]|&gt;)
      | \[(?P<end>/?)(?:(?P<block>answer)|(?P<thought>think))\]
      )
    | (?P<turn>
        <\|im_start\|>\s?assistant\b | <\|start_header_id\|>\s?assistant\s?<\|end_header_id\|>
      | <start_of_turn>\s?model\b | \[/INST\] | <[|｜]assistant[|｜]> | ◁/think▷
      | <\|channel\|>final<\|message\|> | (?:\A|(?<=\n))assistant:?[ ]?\n | (?:\A|(?<=\s))ASSISTANT:
      )
    | (?P<token>
        <[|｜][^<>|｜\s]{1,40}[|｜]> | </?s> | <(?:eos|bos|pad|unk|end_of_turn|end_of_utterance)>
      | <start_of_turn> | \[(?:INST|EOS|SEP|PAD|CLS)\]
      | [<＜]\s{0,4}[/|]\s{0,4}[a-z_|]{0,12}\Z  # a tag that is cut
      )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BOX = re.compile(r'(?:\\[bf]|\x08|(?<![A-Za-z])b)(?:oxed|ox)\s{0,3}\{')
_BRACE = re.compile(r'[{}]')
_LINE = re.compile(
    r'(?<![\w"\'])(?:answer|答案)(?:\sis|是)?[*_\s]{0,4}[:：]|(?<!\w)answer\sis(?=\s)',
    re.IGNORECASE,
)
# A text without one of these is read as a whole, and all of its commas are separators.
_MARK = re.compile(
    r'[<＜\\\x08:：=◁]|&lt;|ox(?:ed)?\s*\{|\s(?:is|are)\s|\[/|assistant|\[[a-z]{3,6}\]',
    re.IGNORECASE,
)


class _Tag(NamedTuple):
    """A tag or token: 'open' and 'close' of an answer, 'think', 'thought', 'turn' or 'token'."""

    kind: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an answer begins and ends in a text."""

    block: int  # after the opening tag; the answer may begin later, in a box
    start: int
    end: int
    closed: bool  # between an opening and a closing tag


def read_answer(text: str) -> list[str]:
    """The words of a model's answer, lower-case, each once; of a marked text the answer alone."""
    return split_answer(answer_text(text))


def answer_text(text: str) -> str:
    """The part of a text that is the answer; '' if all of it is a think block."""
    if not is_marked(text):
        return text
    place = find_answer(text)
    return text[place.start : place.end] if place else ''


def is_marked(text: str) -> bool:
    """Whether a text may hold a mark of an answer, a key or a command."""
    return _MARK.search(text) is not None or len(text) > MOST


def is_tagged(text: str) -> bool:
    """Whether a text holds tags, tokens or a box, which no list of words has."""
    return _TAG.search(text) is not None or _BOX.search(text) is not None


def find_answer(text: str) -> Place | None:
    """The place of the answer in a text; None if all of it is a think block.

    Takes time in proportion to the length of the text.
    """
    begin = max(0, len(text) - MOST)
    tags = [_Tag(_kind(found), *found.span()) for found in _TAG.finditer(text, begin)]
    start = _speech(text, tags, begin)
    tags = [tag for tag in tags if tag.start >= start]
    blocks = list(_blocks(text, tags, start))
    said = [place for place in blocks if _LETTER.search(text, place.start, place.end)]
    if said:
        return _inside(text, said[-1])
    if _box(text, start, len(text)):
        return _inside(text, Place(start, start, len(text), False))
    return blocks[-1] if blocks else _unmarked(text, tags, start)


def _kind(found: re.Match) -> str:
    """The kind of a tag."""
    if found['answer'] or found['block']:
        return 'close' if found['slash'] or found['end'] else 'open'
    if found['think'] or found['thought']:
        return 'thought' if found['slash'] or found['end'] else 'think'
    return 'turn' if found['turn'] else 'token'


def _speech(text: str, tags: Sequence[_Tag], begin: int) -> int:
    """Where speech begins: after the last think block or turn that letters or tags follow."""
    followed, end = False, len(text)
    for tag in reversed(tags):
        followed = followed or bool(_LETTER.search(text, tag.end, end))
        if followed and tag.kind in ('thought', 'turn'):
            return tag.end
        followed, end = followed or tag.kind in ('open', 'close'), tag.start
    return begin


def _blocks(text: str, tags: Sequence[_Tag], start: int) -> Iterator[Place]:
    """The blocks of answer tags, one of whose tags may be missing.

    An opening tag, the end of a turn or the end of the text ends a block too. A closing tag without
    an opening one counts if it is the first: the opening one was in the prompt.
    """
    block, first, opened = start, start, None
    for kind, here, after in tags:
        if kind in ('open', 'close'):
            if opened or opened is None and kind == 'close':
                yield Place(block, first, here, bool(opened) and kind == 'close')
            opened, block, first = kind == 'open', after, after
        elif kind == 'think':
            opened = opened or False
        elif kind == 'token' and opened is not False:
            if opened and _LETTER.search(text, first, here):
                yield Place(block, first, here, False)
                opened = False
            first = after if opened else first
    if opened:
        yield Place(block, first, len(text), False)


def _unmarked(text: str, tags: Sequence[_Tag], start: int) -> Place | None:
    """The answer in a text without answer tags: all that is said before a turn or thought ends."""
    first = start
    for kind, here, after in tags:
        if kind == 'thought':
            return None
        if _LETTER.search(text, first, here):
            return _inside(text, Place(start, first, here, False))
        if kind == 'think':
            return None
        first = after
    return _inside(text, Place(start, first, len(text), False))


def _inside(text: str, place: Place) -> Place:
    """The part of a block in its last box, and there what follows the last `Answer:`."""
    start, end = _box(text, place.start, place.end) or (place.start, place.end)
    lines = [start, *(found.end() for found in _LINE.finditer(text, start, end))]
    if len(lines) > 1 and not _LETTER.search(text, lines[-1], end):
        lines.pop()  # nothing follows it
    return dataclasses.replace(place, start=lines[-1], end=end)


def _box(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Where the content of the last box begins and ends; an empty one counts only if all are."""
    boxes = [found.end() for found in _BOX.finditer(text, start, end)][-BOXES:]
    inner = [(first, _closing(text, first, end)) for first in boxes]
    said = [span for span in inner if _LETTER.search(text, *span)]
    return (said or inner or [None])[-1]


def _closing(text: str, start: int, end: int) -> int:
    """The brace that closes a box, or the end of the text."""
    depth = 1
    for found in _BRACE.finditer(text, start, end):
        depth += 1 if found.group() == '{' else -1
        if not depth:
            return found.start()
    return end
