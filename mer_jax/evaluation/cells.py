"""Cells of label and prediction columns as words, emotions and sentiments."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mer_jax.data.answer_text import answer_text, find_answer
from mer_jax.data.answer_words import NO_VALUE, NONE, says_none
from mer_jax.evaluation.label_files import Column
from mer_jax.evaluation.valence import is_known, valence

SHOWN = 3  # examples in a result
_NUMBER = re.compile(r'(\d+)(?:\.0)?')
_SIGNED = re.compile(r'\s*[-+−]?\d+(?:\.\d*)?\s*')
_SENTIMENTS = {
    'positive': re.compile(r'(?<![a-z])(?:positive|pos)(?![a-z])|积极|正面|正向'),
    'negative': re.compile(r'(?<![a-z])(?:negative|neg)(?![a-z])|消极|负面|负向'),
    'neutral': re.compile(r'(?<![a-z])(?:neutral|neu)(?![a-z])|中性|中立'),
}
_SIGNS = {1: 'positive', -1: 'negative', 0: 'neutral'}
_NOT = re.compile(r"(?<![a-z])(?:not|no|non|neither|never|nor)(?![a-z])|n['’]t(?![a-z])|不|无")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The values of the cells of these names, read block by block.

    To keep a million lists of words would cost more than to make them. Cells in which `read` finds
    nothing are kept by name: `empty` ones say nothing or that there is no label, `unread` ones say
    something.
    """

    column: Column
    names: list[str]
    read: Callable[[Any], Any]
    empty: dict[str, Any] = dataclasses.field(default_factory=dict)
    unread: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, block: slice) -> list:
        values, read, cells = self.column.values, self.read, []
        name = ''
        try:
            for name in self.names[block]:
                found = read(values[name])
                if not found and found != 0:
                    kind = self.empty if is_empty(values[name]) else self.unread
                    kind[name] = values[name]
                cells.append(found)
        except ValueError as error:
            place = f'{self.column.path}: {self.column.key!r} of {shown(name)!r}'
            raise ValueError(f'{place}: {error}') from error
        return cells


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing, or that there is no label."""
    if isinstance(cell, list | tuple | np.ndarray):
        return all(map(is_empty, cell))
    if isinstance(cell, str):
        return _says_nothing(cell)
    return cell is None or cell != cell or number_of(cell) == NO_VALUE


@functools.lru_cache(2**12)
def _says_nothing(text: str) -> bool:
    """`is_empty` of a text; one that is a think block alone says something."""
    place = find_answer(text)
    said = text[place.start : place.end] if place else text
    return says_none(said) or number_of(said) == NO_VALUE


def number_of(cell: Any) -> float | None:
    """The number that a cell is or writes; None for NaN and for anything else."""
    if isinstance(cell, str):
        cell = answer_text(cell).strip().replace('−', '-')
        if not _SIGNED.fullmatch(cell):
            return None
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def value_of(cell: Any) -> float | None:
    """A sentiment value, the sign of a named sentiment, or None without a label."""
    if is_empty(cell):
        return None
    if (number := number_of(cell)) is not None:
        return number
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        named = named_sentiment(cell) if isinstance(cell, str) else ''
    if named in _SENTIMENTS:
        return {'positive': 1.0, 'negative': -1.0, 'neutral': 0.0}[named]
    raise ValueError(
        f'{shown(cell)!r} is no number: give one, below 0 if negative, above 0 if positive'
    )


def emotion_of(cell: Any, emotions: Sequence[str]) -> str:
    """The one emotion of a label, a name, a number or a list of one; '' without a label."""
    if isinstance(cell, list | tuple | np.ndarray):
        cell = only([one for one in cell if not is_empty(one)])
    if is_empty(cell):
        return ''
    text = str(cell).lower().strip()
    number = _NUMBER.fullmatch(text)
    if not number:
        return text
    if int(number[1]) >= len(emotions):
        raise ValueError(
            f'{shown(text)} is a number, and {len(emotions)} emotions are named: name all in the '
            'order of the numbers (--emotions angry,happy,…)'
        )
    return emotions[int(number[1])]


def only(words: list[str]) -> str:
    """The only word of a label."""
    if len(words) > 1:
        raise ValueError(f'{len(words)} labels where one is scored: score it as multilabel')
    return words[0] if words else ''


def labels_of(cell: Any, read: Callable[[Any], list[str]]) -> list[str]:
    """The words of a label, without those that say that there is none."""
    return [word for word in read(cell) if word not in NONE]


def sentiment_of(cell: Any, read: Callable[[Any], list[str]], named: bool) -> str:
    """The sentiment that an answer names or, if it names emotions, their valence.

    An answer without a known word is returned as it is, which is none of the sentiments.
    """
    if named and (number := number_of(cell)) is not None:
        return _SIGNS[(number > 0) - (number < 0)] if number != NO_VALUE else ''
    words = read(cell)
    text = ', '.join(words)
    if named:
        return named_sentiment(text)
    return valence(words) if any(map(is_known, words)) else text


@functools.lru_cache(2**12)
def named_sentiment(text: str) -> str:
    """The one sentiment that a text such as `very positive` names; else the text itself."""
    text = text.lower()
    found = [name for name, pattern in _SENTIMENTS.items() if pattern.search(text)]
    return found[0] if len(found) == 1 and not _NOT.search(text) else text


def shown(text: Any) -> str:
    """A word for messages: at most 60 characters, unprintable ones as question marks."""
    return ''.join(letter if letter.isprintable() else '?' for letter in f'{text!s:.60}')


def examples(cells: dict[str, Any]) -> dict[str, str]:
    """The first cells with different texts, at most SHOWN, as messages show them."""
    found: dict[str, str] = {}
    for name, cell in cells.items():
        if len(found) == SHOWN:
            break
        if (text := shown(cell)) not in found.values():
            found[shown(name)] = text
    return found
