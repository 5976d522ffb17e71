"""Mutations of files: flipped bits, cuts, splices, and fields set to odd values."""

import random
import re
from typing import NamedTuple

OPERATIONS = ('flip', 'cut', 'drop', 'repeat', 'splice', 'field', 'token', 'text')
TEXTUAL = ('token', 'token', 'token', 'token', 'text', 'drop', 'repeat', 'flip')  # for text
FIELDS = (
    b'\0\0\0\0',
    b'\0\0\0\1',
    b'\1\0\0\0',
    b'\x7f\xff\xff\xff',
    b'\xff\xff\xff\xff',
    b'\x80\0\0\0',
)
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null')
TOKENS = (
    b'-1', b'0', b'1e308', b'1000000000000', b'NaN', b'-Infinity', b'null', b'true', b'""', b'[]',
    b'{}', b'"\\ud800"', b'[[[[1]]]]', b'2.5', b'"x"', b'99',
)  # fmt: skip
TEXTS = (
    b'<answer>', b'</answer>', b'<think>', b'</think>', b'\\boxed{', b'}', b'\xff', b'\0', b'\n',
    b',', b'"', b'[', b'<|im_end|>', '\u202e，。'.encode(), b'Answer: ', b'NaN', b'=1+1', b'\r',
)  # fmt: skip
MOST = 64  # repetitions of a slice


class Edit(NamedTuple):
    """One mutation: its kind, where it begins and ends as shares of the file, and a number."""

    operation: str
    start: float
    end: float
    number: int


def draw_edits(draw: random.Random, textual: bool = False) -> list[Edit]:
    """One to four mutations; places near the beginning, where headers are, come more often.

    Most of those of a text change its numbers, strings and constants.
    """
    operations = TEXTUAL if textual and draw.random() < 0.8 else OPERATIONS

    def place() -> float:
        return draw.random() ** draw.choice((1, 1, 3, 8))

    return [
        Edit(draw.choice(operations), place(), place(), draw.randrange(256))
        for _ in range(draw.choice((1, 1, 2, 4)))
    ]


def mutated(data: bytes, edits: list[Edit], other: bytes = b'') -> bytes:
    """The bytes after the mutations; splices take from `other`, or from the bytes themselves."""
    for edit in edits:
        data = edited(data, edit, other or data)
    return data


def edited(data: bytes, edit: Edit, other: bytes) -> bytes:
    """The bytes after one mutation."""
    first = int(edit.start * len(data))
    last = min(len(data), first + 1 + int(edit.end * min(len(data), 4096)))
    if edit.operation == 'flip':
        return (
            data[:first]
            + bytes(b ^ (1 << edit.number % 8) for b in data[first : first + 1])
            + data[first + 1 :]
        )
    if edit.operation == 'cut':
        return data[:first]
    if edit.operation == 'drop':
        return data[:first] + data[last:]
    if edit.operation == 'repeat':
        return data[:last] + data[first:last] * (edit.number % MOST) + data[last:]
    if edit.operation == 'splice':
        begin = int(edit.end * len(other))
        return data[:first] + other[begin : begin + 1 + edit.number * 16] + data[last:]
    if edit.operation == 'field':
        field = FIELDS[edit.number % len(FIELDS)]
        return data[:first] + field + data[first + len(field) :]
    if edit.operation == 'text':
        return data[:first] + TEXTS[edit.number % len(TEXTS)] + data[first:]
    return retold(data, edit)


def retold(data: bytes, edit: Edit) -> bytes:
    """The bytes with a number, string or constant of JSON set to another one."""
    found = [match.span() for match in TOKEN.finditer(data)]
    if not found:
        return data
    first, last = found[int(edit.start * len(found))]
    return data[:first] + TOKENS[edit.number % len(TOKENS)] + data[last:]
