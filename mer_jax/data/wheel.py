"""Emotion wheels: the categories of published taxonomies to which an emotion word belongs.

A wheel is a CSV file of three levels, from few wide categories to many narrow words; only level 1
is told apart here. `wheels/words.csv` adds the forms and the kin of the words, for all wheels: a
word that a wheel lacks stands where its other forms stand, or else where its kin stands.
"""

import csv
import dataclasses
import importlib.resources
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib.resources.abc import Traversable

import numpy as np

_FOLDER = importlib.resources.files('mer_jax.data') / 'wheels'
_LEXICON = 'words.csv'
_LEXICON_COLUMNS = ('word', 'kin', 'forms')
_WHEEL_COLUMNS = ('level1', 'level2', 'level3')
_SEPARATOR = re.compile(r'[,;、\r\n]')
# From the first letter to the last: around it are blanks, brackets, quotes and list numbers.
_WORD = re.compile(r'[^\W\d_](?:.*[^\W\d_])?', re.DOTALL)


@dataclasses.dataclass(frozen=True, eq=False)
class Wheels:
    """Several wheels side by side, and where each known word stands in each of them."""

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    row: dict[str, int]
    category_nw: np.ndarray  # i[n, w], −1 where the wheel lacks the word; the last row is unknown

    def cells(self, answers: Sequence[Sequence[str]]) -> np.ndarray:
        """The categories that each list of words names: bool[n, w, c], c of the largest wheel."""
        if any(isinstance(words, str) for words in answers):
            raise TypeError('an answer is a list of words, not a string: see split_answer')
        find = self.row.get
        size_n = np.fromiter(map(len, answers), np.int64, len(answers))
        row_m = np.fromiter(
            (find(word.strip().lower(), -1) for words in answers for word in words),
            np.int64,
            size_n.sum(),
        )
        answer_m = np.repeat(np.arange(len(answers)), size_n)
        cell_nwc = np.zeros((len(answers), len(self.names), self._width()), bool)
        for wheel, category_n in enumerate(self.category_nw.T):
            category_m = category_n[row_m]
            known_m = category_m >= 0
            cell_nwc[answer_m[known_m], wheel, category_m[known_m]] = True
        return cell_nwc

    def category(self, word: str) -> tuple[str | None, ...]:
        """The level-1 category of a word in each wheel, None where the wheel lacks it."""
        category_w = self.category_nw[self.row.get(word.strip().lower(), -1)]
        return tuple(
            names[index] if index >= 0 else None
            for names, index in zip(self.categories, category_w, strict=True)
        )

    def words(self) -> tuple[str, ...]:
        """All words that at least one wheel knows."""
        return tuple(self.row)

    def first_tokens(self, encode: Callable[[str], list[int]]) -> np.ndarray:
        """The tokens that begin a word of one category and of no other: i[w, c, n], padded with −1.

        Every word is encoded bare and after one space, as it stands in running text; `encode` must
        add no special tokens. A token that begins words of several categories of a wheel tells
        nothing in that wheel and is left out of it; a category may thus be left without a token.
        """
        starts = [
            {ids[0] for ids in (encode(word), encode(f' {word}')) if ids} for word in self.row
        ]
        tokens_wc = [
            [
                sorted(token for token, owner in owners.items() if owner == category)
                for category in range(self._width())
            ]
            for owners in (_owners(starts, category_n) for category_n in self.category_nw.T)
        ]
        longest = max(len(tokens) for wheel in tokens_wc for tokens in wheel)
        token_wcn = np.full((len(self.names), self._width(), max(longest, 1)), -1, np.int32)
        for wheel, category in np.ndindex(token_wcn.shape[:2]):
            tokens = tokens_wc[wheel][category]
            token_wcn[wheel, category, : len(tokens)] = tokens
        return token_wcn

    def _width(self) -> int:
        return max(map(len, self.categories))


def load_wheels(names: Sequence[str] = ('parrott', 'feeling', 'ekman')) -> Wheels:
    """The wheels of these names; a name that ends in .csv is the path of a wheel of your own.

    Raises ValueError for a name that is not shipped, and for a file whose columns are not level1,
    level2, level3 or which puts a word under two categories of level 1.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f'wheels={tuple(names)}: name at least one wheel, and each only once')
    lexicon = _read_lexicon()
    read = [_read_wheel(_find(name)) for name in names]
    tables = [_spread(lexicon, category_of) for _, category_of in read]
    words = dict.fromkeys(word for table in tables for word in table)
    category_nw = np.full((len(words) + 1, len(names)), -1, np.int16)
    for wheel, table in enumerate(tables):
        category_nw[:-1, wheel] = [table.get(word, -1) for word in words]
    return Wheels(
        names=tuple(pathlib.PurePath(name).stem for name in names),
        categories=tuple(categories for categories, _ in read),
        row={word: row for row, word in enumerate(words)},
        category_nw=category_nw,
    )


def split_answer(text: str) -> list[str]:
    """The words of an answer such as `["Sad", "lonely"]` or `sad; lonely`, lower-case, each once.

    Words end at a comma, a semicolon or a new line, of any width; no word, no entry.
    """
    parts = _SEPARATOR.split(unicodedata.normalize('NFKC', text).lower())
    words = (' '.join(found.group().split()) for part in parts if (found := _WORD.search(part)))
    return list(dict.fromkeys(words))


def _owners(starts: Sequence[set[int]], category_n: np.ndarray) -> dict[int, int]:
    """The category whose words each token begins, −1 where words of several do."""
    owners: dict[int, int] = {}
    for tokens, category in zip(starts, category_n[:-1].tolist(), strict=True):
        if category < 0:
            continue
        for token in tokens:
            owners[token] = category if owners.get(token, category) == category else -1
    return owners


def _find(name: str) -> Traversable:
    """The file of a wheel."""
    if name.endswith('.csv'):
        return pathlib.Path(name)
    shipped = sorted(
        file.name.removesuffix('.csv') for file in _FOLDER.iterdir() if file.name != _LEXICON
    )
    if name not in shipped:
        raise ValueError(
            f'wheel {name!r} is not shipped: choose from {", ".join(shipped)}, '
            'or give the path of a .csv file'
        )
    return _FOLDER / f'{name}.csv'


def _read_wheel(file: Traversable) -> tuple[tuple[str, ...], dict[str, int]]:
    """The categories of a wheel in the order of the file, and the category of each of its words."""
    categories: list[str] = []
    first: dict[str, tuple[int, int]] = {}
    for line, levels in _rows(file, _WHEEL_COLUMNS):
        if not levels[0]:
            raise ValueError(f'{file}:{line}: level1 is empty: every row names its category')
        if levels[0] not in categories:
            categories.append(levels[0])
        category = categories.index(levels[0])
        for word in _spellings(levels):
            elsewhere, earlier = first.setdefault(word, (category, line))
            if elsewhere != category:
                raise ValueError(
                    f'{file}:{line}: {word!r} stands under {levels[0]!r} and, in line {earlier}, '
                    f'under {categories[elsewhere]!r}: keep one, a word has one category'
                )
    if not categories:
        raise ValueError(f'{file}: no rows below the header: a wheel needs at least one category')
    return tuple(categories), {word: category for word, (category, _) in first.items()}


def _read_lexicon() -> dict[str, tuple[tuple[str, ...], str]]:
    """The forms (the word itself first) and the kin of each word."""
    return {
        word: (_spellings([word, *forms.split()]), kin)
        for _, (word, kin, forms) in _rows(_FOLDER / _LEXICON, _LEXICON_COLUMNS)
    }


def _rows(file: Traversable, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
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
    """The words without the empty ones; those with a hyphen also with a space in its place."""
    both = (spelling for word in words if word for spelling in (word, word.replace('-', ' ')))
    return tuple(dict.fromkeys(both))


def _spread(
    lexicon: dict[str, tuple[tuple[str, ...], str]], category_of: dict[str, int]
) -> dict[str, int]:
    """The category of every word that a wheel knows itself, by another form or by its kin."""

    def climb(word: str) -> int:
        while word:
            forms, word = lexicon[word]
            for form in forms:
                if form in category_of:
                    return category_of[form]
        return -1

    reached = {word: climb(word) for word in lexicon}
    spread = {form: reached[word] for word, (forms, _) in lexicon.items() for form in forms}
    return {word: category for word, category in spread.items() if category >= 0} | category_of
