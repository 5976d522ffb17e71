"""Emotion wheels: the categories of published taxonomies to which an emotion word belongs.

`load_wheels` reads the shipped wheels and CSV files of your own (csv_wheel), or the folder of
wheels that AffectGPT publishes (affectgpt_wheel). All words are in one table: a word costs one
look-up, a batch of answers one pass.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from mer_jax.data.wheels.affectgpt_wheel import read_folder
from mer_jax.data.wheels.csv_wheel import BUILTIN, Tables, read_wheels


@dataclasses.dataclass(frozen=True, eq=False)
class Wheels:
    """Several wheels, and the categories of each known word in each of them.

    `base` and `synonym` serve the metrics without categories. They give the word of which a word is
    a form (M1), and the word of a wheel with the same meaning (M2). A word that they lack is
    unknown.
    """

    names: tuple[str, ...]
    categories_lw: tuple[tuple[tuple[str, ...], ...], ...]  # names at each level, of each wheel
    row: dict[str, int]
    place_lnw: np.ndarray  # i[l, n, w], −1 where the wheel lacks the word; the last row is unknown
    base: dict[str, str]
    synonym: dict[str, str]

    def categories(self, level: int = 1) -> tuple[tuple[str, ...], ...]:
        """The names of the categories of each wheel, in the order of the axis c of `cells`."""
        return self.categories_lw[_index(level)]

    def cells(self, answers: Sequence[Sequence[str]], level: int = 1) -> np.ndarray:
        """The categories that each list of words names: bool[n, w, c], c of the largest wheel."""
        if any(isinstance(words, str) for words in answers):
            raise TypeError(
                'an answer is a list of words, not a string: see answer_words.split_answer'
            )
        place_nw = self.place_lnw[_index(level)]
        find = self.row.get
        size_n = np.fromiter(map(len, answers), np.int64, len(answers))
        row_m = np.fromiter(
            (find(word.strip().lower(), -1) for words in answers for word in words),
            np.int64,
            size_n.sum(),
        )
        answer_m = np.repeat(np.arange(len(answers)), size_n)
        cell_nwc = np.zeros((len(answers), len(self.names), self._width(level)), bool)
        for wheel, place_n in enumerate(place_nw.T):
            place_m = place_n[row_m]
            known_m = place_m >= 0
            cell_nwc[answer_m[known_m], wheel, place_m[known_m]] = True
        return cell_nwc

    def category(self, word: str, level: int = 1) -> tuple[str | None, ...]:
        """The category of a word in each wheel, None where the wheel lacks it."""
        place_w = self.place_lnw[_index(level), self.row.get(word.strip().lower(), -1)]
        return tuple(
            names[index] if index >= 0 else None
            for names, index in zip(self.categories(level), place_w, strict=True)
        )

    def words(self) -> tuple[str, ...]:
        """All words that at least one wheel knows."""
        return tuple(self.row)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of all that the wheels hold: 16 hexadecimal digits, the same on every machine."""
        held = (self.names, self.categories_lw, list(self.row), self.place_lnw.tolist())
        maps = (sorted(self.base.items()), sorted(self.synonym.items()))
        return hashlib.sha256(repr((held, maps)).encode()).hexdigest()[:16]

    def first_tokens(self, encode: Callable[[str], list[int]]) -> np.ndarray:
        """The tokens that begin a word of one category and of no other: i[w, c, n], padded with −1.

        The categories are those of level 1. Every word is encoded alone and after one space, as in
        running text; `encode` must add no special tokens. A token that begins words of several
        categories of a wheel is left out of that wheel, so a category may have no token.
        """
        starts = [
            {ids[0] for ids in (encode(word), encode(f' {word}')) if ids} for word in self.row
        ]
        tokens_wc = [
            [
                sorted(token for token, owner in owners.items() if owner == category)
                for category in range(self._width())
            ]
            for owners in (_owners(starts, place_n) for place_n in self.place_lnw[0].T)
        ]
        longest = max(len(tokens) for wheel in tokens_wc for tokens in wheel)
        token_wcn = np.full((len(self.names), self._width(), max(longest, 1)), -1, np.int32)
        for wheel, category in np.ndindex(token_wcn.shape[:2]):
            tokens = tokens_wc[wheel][category]
            token_wcn[wheel, category, : len(tokens)] = tokens
        return token_wcn

    def _width(self, level: int = 1) -> int:
        return max(map(len, self.categories(level)))


def load_wheels(names: Sequence[str] = ('parrott', 'feeling', 'ekman')) -> Wheels:
    """The wheels of these names; `builtin` means all that are shipped.

    A name is that of a shipped wheel, the path of a CSV file of your own or, if it is the only
    name, a folder of wheels as AffectGPT publishes them. Raises ValueError for any other name, and
    for files that break the rules of their kind.
    """
    if isinstance(names, str):
        raise TypeError(f'wheels={names!r} is one string: give a list, such as ({names!r},)')
    names = BUILTIN if tuple(names) == ('builtin',) else tuple(names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f'wheels={names}: name at least one wheel, and each only once')
    folders = [name for name in names if pathlib.Path(name).is_dir()]
    if not folders:
        return _side_by_side(read_wheels(names))
    if len(names) > 1:
        raise ValueError(
            f'wheels={names}: {folders[0]} is a folder of wheels and must be the only name'
        )
    return _side_by_side(read_folder(folders[0]))


def _side_by_side(tables: Tables) -> Wheels:
    """One table of all wheels, with a row for each word."""
    wheels = tables.wheels
    row = {
        word: n for n, word in enumerate(dict.fromkeys(w for wheel in wheels for w in wheel.place))
    }
    place_lnw = np.full((2, len(row) + 1, len(wheels)), -1, np.int16)
    for w, wheel in enumerate(wheels):
        place_lnw[:, [row[word] for word in wheel.place], w] = np.array(
            list(wheel.place.values())
        ).T
    return Wheels(
        names=tuple(wheel.name for wheel in wheels),
        categories_lw=tuple(zip(*(wheel.categories for wheel in wheels), strict=True)),
        row=row,
        place_lnw=place_lnw,
        base=tables.base,
        synonym=tables.synonym,
    )


def _index(level: int) -> int:
    if level not in (1, 2):
        raise ValueError(f'level={level}: wheels have level 1 and level 2')
    return level - 1


def _owners(starts: Sequence[set[int]], place_n: np.ndarray) -> dict[int, int]:
    """The category whose words each token begins, −1 if it begins words of several."""
    owners: dict[int, int] = {}
    for tokens, category in zip(starts, place_n[:-1].tolist(), strict=True):
        if category < 0:
            continue
        for token in tokens:
            owners[token] = category if owners.get(token, category) == category else -1
    return owners
