"""Emotion wheels in CSV files, and the lexicon by which a wheel places words that it does not list.

A wheel has three columns, from few wide categories to many narrow words. `words.csv` adds forms and
kin of words for all wheels: a word that a wheel does not list takes the category of its other forms
or, failing that, of its kin.
"""

import csv
import importlib.resources
import pathlib
from collections.abc import Iterable, Sequence
from importlib.resources.abc import Traversable
from typing import NamedTuple

BUILTIN = ('parrott', 'feeling', 'ekman', 'plutchik', 'geneva')
FOLDER = importlib.resources.files(__package__)
_LEXICON = 'words.csv'
_LEXICON_COLUMNS = ('word', 'kin', 'forms')
_WHEEL_COLUMNS = ('level1', 'level2', 'level3')


class Wheel(NamedTuple):
    """One wheel: its categories, and the category of each word that it knows."""

    name: str
    categories: tuple[tuple[str, ...], tuple[str, ...]]  # of level 1, of level 2
    place: dict[str, tuple[int, int]]  # word → its category of level 1, of level 2


class Tables(NamedTuple):
    """Several wheels, and two maps of words that need no categories."""

    wheels: tuple[Wheel, ...]
    base: dict[str, str]  # a form of a word → the word
    synonym: dict[str, str]  # a form of a word → the word of a wheel with the same meaning


class Entry(NamedTuple):
    """A word of the lexicon; `kin` is the nearest word of a wider meaning, or ''."""

    forms: tuple[str, ...]  # the word itself first
    kin: str


def read_wheels(names: Sequence[str]) -> Tables:
    """The wheels of these names, each a shipped one or the path of a CSV file.

    Raises ValueError for a name that is not shipped, and for a file whose columns are not level1,
    level2, level3 or which puts a word under two categories.
    """
    lexicon = read_lexicon()
    own = [read_wheel(name) for name in names]
    known = set().union(*(wheel.place for wheel in own))
    return Tables(
        wheels=tuple(wheel._replace(place=_spread(lexicon, wheel.place)) for wheel in own),
        base={word: word for word in known}
        | {form: word for word, entry in lexicon.items() for form in entry.forms},
        synonym={word: word for word in known}
        | {
            form: _nearest_known(lexicon, word, known) or word
            for word, entry in lexicon.items()
            for form in entry.forms
        },
    )


def read_wheel(name: str) -> Wheel:
    """A wheel of the words in its own file, its categories in the order of the file.

    The name of a wide category takes the narrow category of its first row.
    """
    file = _find(name)
    rows = [(line, _levels(file, line, cells)) for line, cells in read_rows(file, _WHEEL_COLUMNS)]
    if not rows:
        raise ValueError(f'{file}: no rows below the header: a wheel needs at least one category')
    wide = tuple(dict.fromkeys(levels[0] for _, levels in rows))
    narrow = tuple(dict.fromkeys(levels[1] for _, levels in rows))
    first: dict[str, tuple[str, int]] = {}
    for line, levels in rows:
        for word in _spellings(levels):
            _refuse_second_category(file, first, word, levels[0], line)
    place: dict[str, tuple[int, int]] = {}
    for depth in (1, 2, 0):  # a name of level 2 is in its own category, wherever else it is listed
        for _, levels in rows:
            for word in _spellings([levels[depth]]):
                place.setdefault(word, (wide.index(levels[0]), narrow.index(levels[1])))
    return Wheel(pathlib.PurePath(file.name).stem, (wide, narrow), place)


def _find(name: str) -> Traversable:
    """The file of a wheel."""
    if name.endswith('.csv'):
        return pathlib.Path(name)
    if name not in BUILTIN:
        raise ValueError(
            f'wheel {name!r} is not shipped: choose from {", ".join(sorted(BUILTIN))} or builtin '
            '(all five), or give the path of a .csv file or of a published folder'
        )
    return FOLDER / f'{name}.csv'


def _levels(file: Traversable, line: int, cells: list[str]) -> tuple[str, str, str]:
    """The levels of a row; an empty level 2 repeats level 1."""
    if not cells[0]:
        raise ValueError(f'{file}:{line}: level1 is empty: every row names its category')
    return cells[0], cells[1] or cells[0], cells[2]


def _refuse_second_category(
    file: Traversable, first: dict[str, tuple[str, int]], word: str, category: str, line: int
) -> None:
    """Refuses a word under a second category of level 1."""
    earlier, earlier_line = first.setdefault(word, (category, line))
    if earlier != category:
        raise ValueError(
            f'{file}:{line}: {word!r} is under {category!r} and, in line {earlier_line}, '
            f'under {earlier!r}: keep one, a word has one category'
        )


def read_lexicon() -> dict[str, Entry]:
    """The forms and the kin of each word."""
    return {
        word: Entry(_spellings([word, *forms.split()]), kin)
        for _, (word, kin, forms) in read_rows(FOLDER / _LEXICON, _LEXICON_COLUMNS)
    }


def read_rows(file: Traversable, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file with these columns, lower-case, each with the number of its line."""
    try:
        lines = file.read_text('utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{file}: not UTF-8 ({error}): save it as UTF-8') from error
    rows = [
        (number, [cell.strip().lower() for cell in next(csv.reader([line]))])
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith('#')
    ]
    number, header = rows[0] if rows else (1, [])
    if tuple(header) != columns:
        raise ValueError(
            f'{file}:{number}: the columns are {",".join(header) or "missing"}, '
            f'they must be {",".join(columns)}'
        )
    for number, cells in rows[1:]:
        if len(cells) != len(columns):
            raise ValueError(
                f'{file}:{number}: {len(cells)} cells ({",".join(cells)}) '
                f'in a table of {len(columns)} columns'
            )
    return rows[1:]


def _spellings(words: Iterable[str]) -> tuple[str, ...]:
    """The words that are not empty; those with a hyphen also with a space in its place."""
    both = (spelling for word in words if word for spelling in (word, word.replace('-', ' ')))
    return tuple(dict.fromkeys(both))


def _nearest_known(lexicon: dict[str, Entry], word: str, known: Iterable[str]) -> str | None:
    """The nearest form of a word, or of its kin, that is known."""
    while word:
        forms, word = lexicon[word]
        for form in forms:
            if form in known:
                return form
    return None


def _spread(
    lexicon: dict[str, Entry], place: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """The place of every word that a wheel knows: its own words, their forms and their kin."""
    reached = {word: _nearest_known(lexicon, word, place) for word in lexicon}
    spread = {
        form: place[known]
        for word, known in reached.items()
        if known is not None
        for form in lexicon[word].forms
    }
    return spread | place
