"""Labels and predictions by name, from CSV, JSONL, parquet and the published .npz files."""

import csv
import dataclasses
import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mer_jax.data.answer_text import answer_text, is_marked, is_tagged, read_answer
from mer_jax.data.answer_words import is_answer_key, split_answer
from mer_jax.data.formats.npz import read_npz
from mer_jax.data.formats.parquet import read_parquet
from mer_jax.data.wheels.affectgpt_wheel import published_list
from mer_jax.storage.objects import local_copy
from mer_jax.storage.paths import path_of

NAMES = ('name', 'filenames', 'id')  # columns that name the item
ANSWERS = ('answer', 'words', 'fileitems', 'openset')
CORPORA = ('test_corpus', 'test1_corpus')
MOST_LINE = 2**20  # bytes
SHORT = 500  # letters; the parts of shorter answers are remembered, because they recur
MOST_RECALLED = 2**16

Row = tuple[int | str, Mapping[str, Any]]  # where in the file, and the cells by column


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a file: its value for each name."""

    path: str
    key: str
    values: dict[str, Any]
    repeated: int  # rows that repeat an earlier one


def read_column(
    path: str | os.PathLike, keys: Sequence[str], corpus: str = '', mode: str = ''
) -> Column:
    """The first of the columns `keys` that a .csv, .jsonl, .parquet or .npz file has.

    An .npz file holds parallel arrays (`filenames`, `fileitems`) or corpora of name → {emo, val};
    `corpus` chooses one of these, by default the first of CORPORA or the only one. `mode` keeps the
    rows of that mode alone, in a file with answers of several. Rows that repeat a name and its
    value are counted. Raises ValueError, naming file, line and way out, for a name with two values
    and for anything that cannot be read.
    """
    path = path_of(path)
    values: dict[str, Any] = {}
    named = key = ''
    repeated = 0
    for place, row in read_rows(path, corpus):
        if not key:
            named, key = _choose(path, row, NAMES), _choose(path, row, keys)
        if mode and row.get('mode', mode) != mode:
            continue
        try:
            name, value = str(row[named]).strip(), row[key]
        except KeyError as error:
            raise ValueError(
                f'{path}:{place}: no {error} here, but in the first row: give all rows the same'
            ) from error
        if not name:
            raise ValueError(f'{path}:{place}: {named!r} is empty: every row names its item')
        if isinstance(value, str) and len(value) > MOST_LINE:
            raise ValueError(
                f'{path}:{place}: {len(value)} letters of {key!r}, at most {MOST_LINE} are read: '
                'cut it'
            )
        if name not in values:
            values[name] = value
        elif _same(values[name], value):
            repeated += 1
        else:
            hint = ', or choose one mode (--mode)' if 'mode' in row else ''
            raise ValueError(
                f'{path}:{place}: {name!r:.99} comes twice, with another {key!r}: keep one row'
                f'{hint}'
            )
    if not values:
        rule = f'rows of mode {mode!r}' if mode else 'rows'
        raise ValueError(f'{path}: no {rule}: nothing to score')
    return Column(str(path), key, values, repeated)


def published_words(value: Any) -> list[str]:
    """The words of an answer or a label as the published evaluation reads them, lower-case.

    A string is cut by `published_list`, a list is taken as it is; an empty cell or NaN gives an
    empty list. Of a text with tags, tokens or a box, which `published_list` would leave in the
    words, only the answer is cut. ValueError for any other value.
    """
    return published_words_noting([], value)


def published_words_noting(tagged: list[str], value: Any) -> list[str]:
    """`published_words`; a text with tags is added to `tagged`."""
    if not isinstance(value, str):
        return [word for entry in _entries(value) if (word := str(entry).lower().strip())]
    parts = value.strip().removeprefix('[').removesuffix(']').split(',')
    try:
        if len(value) < SHORT:
            return [word for part in parts for word in _published[part]]
        return [word for part in parts for word in _published_part(part)]
    except _Marked:
        tagged.append(value)
        return _published_answer(value)


def plain_words(value: Any) -> list[str]:
    """The words of an answer or a label as `read_answer` reads them, each once.

    The entries of a list are read one by one; an empty cell or NaN gives an empty list. ValueError
    for any other value.
    """
    if not isinstance(value, str):
        words = itertools.chain.from_iterable(plain_words(str(e)) for e in _entries(value))
        return list(dict.fromkeys(words))
    read = _plain.__getitem__ if len(value) < SHORT else _plain_part
    try:
        return list(dict.fromkeys(itertools.chain.from_iterable(map(read, value.split(',')))))
    except _Marked:
        return read_answer(value)


class _Marked(Exception):
    """A part of an answer must be read with the others."""


def _plain_part(part: str) -> list[str]:
    """The words between two commas."""
    if is_marked(part):
        raise _Marked
    return split_answer(part)


def _published_part(part: str) -> list[str]:
    """The words between two commas; the added brackets are removed again, inner ones are kept."""
    if is_tagged(part):
        raise _Marked
    return _lower_entries(f'[{part}]')


def _published_answer(value: str) -> list[str]:
    """The words of the answer in a text with tags; commands of LaTeX in it are left out."""
    text = answer_text(value)
    return _lower_entries(', '.join(split_answer(text)) if '\\' in text else text)


def _lower_entries(text: str) -> list[str]:
    return [word for entry in published_list(text) if (word := entry.lower().strip())]


class _Recalled(dict[str, list[str]]):
    """The words of parts of answers; the first MOST_RECALLED parts are remembered."""

    def __init__(self, read: Callable[[str], list[str]]):
        super().__init__()
        self._read = read

    def __missing__(self, part: str) -> list[str]:
        words = self._read(part)
        if len(self) < MOST_RECALLED:
            self[part] = words
        return words


_published, _plain = _Recalled(_published_part), _Recalled(_plain_part)


def _entries(value: Any) -> Iterable[Any]:
    """The entries of a list of words."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ()
    if isinstance(value, dict) and any(is_answer_key(str(key)) for key in value):
        return read_answer(json.dumps(value, default=str, ensure_ascii=False))
    entries = value.ravel().tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(entries, list | tuple):
        raise ValueError(f'a {type(value).__name__} where words should be: give a list or a string')
    for entry in entries:
        if isinstance(entry, list | tuple | dict | set | np.ndarray):
            raise ValueError(f'a {type(entry).__name__} inside a list of words: give a flat list')
    return entries


def _same(one: Any, other: Any) -> bool:
    """Whether two cells hold the same value; NaN equals NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and (one == other or one != one and other != other)


def _choose(path: pathlib.Path, row: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first of the keys that a row has."""
    for key in keys:
        if key in row:
            return key
    there = ', '.join(f'{key!s:.40}' for key in list(row)[:20])
    raise ValueError(f'{path}: none of {", ".join(keys)} among its columns ({there})')


def read_rows(path: pathlib.Path, corpus: str = '') -> Iterator[Row]:
    """The rows of a file of any of the four kinds, each with its place in it."""
    kind = path.suffix.lower()
    if kind == '.npz':
        return _npz_rows(path, corpus)
    if kind == '.csv':
        return _csv_rows(path)
    if kind == '.jsonl':
        return _jsonl_rows(path)
    if kind == '.parquet':
        return ((f'row {n}', row) for n, row in enumerate(read_parquet(path)))
    raise ValueError(
        f'{path}: a {kind or "nameless"} file; .csv, .jsonl, .parquet and .npz are read'
    )


def _lines(path: pathlib.Path) -> Iterator[str]:
    """The lines of a text in UTF-8, with their ends, without a byte order mark."""
    with local_copy(path) as held, open(held, 'rb') as file:
        number = 0
        while line := file.readline(MOST_LINE + 1):
            number += 1
            if len(line) > MOST_LINE:
                raise ValueError(
                    f'{path}:{number}: a line of more than {MOST_LINE} bytes is no label and no '
                    'answer: cut it, or write one row a line'
                )
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f'{path}:{number}: byte {error.start} is not UTF-8 (0x{line[error.start]:02x}):'
                    ' save the file as UTF-8'
                ) from error
            yield text.removeprefix('\ufeff') if number == 1 else text


def _csv_rows(path: pathlib.Path) -> Iterator[Row]:
    reader = csv.reader(_lines(path), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                twice = [name for name in header if name and header.count(name) > 1]
                if twice:
                    raise ValueError(
                        f'{path}:{reader.line_num}: two columns are named {twice[0]!r:.99}: '
                        'name each column once'
                    )
            elif len(cells) == len(header):
                yield reader.line_num, dict(zip(header, cells, strict=True))
            else:
                raise ValueError(
                    f'{path}:{reader.line_num}: {len(cells)} cells in a table of {len(header)} '
                    'columns: quote cells that hold commas'
                )
    except csv.Error as error:
        raise ValueError(f'{path}:{reader.line_num}: not CSV: {error}') from error


def _jsonl_rows(path: pathlib.Path) -> Iterator[Row]:
    decode = json.JSONDecoder().raw_decode
    for number, line in enumerate(_lines(path), 1):
        text = line.strip()
        if not text:
            continue
        try:
            row, end = decode(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path}:{number}: not JSON: {error}') from error
        if end < len(text):
            raise ValueError(f'{path}:{number}: not JSON: more than one object on the line')
        if not isinstance(row, dict):
            raise ValueError(
                f'{path}:{number}: a {type(row).__name__}; each line is one object {{"name": …}}'
            )
        yield number, row


def _npz_rows(path: pathlib.Path, corpus: str) -> Iterator[Row]:
    members = read_npz(path)
    corpora = {key: value for key, value in members.items() if isinstance(value, dict)}
    if corpora:
        key = _choose_corpus(path, list(corpora), corpus)
        for name, row in corpora[key].items():
            if not isinstance(row, dict):
                raise ValueError(f'{path}: {key}: {name!r:.99} is no dictionary of labels')
            yield f'{key}[{name!r:.99}]', {'name': name} | row
        return
    arrays = {
        key: value
        for key, value in members.items()
        if isinstance(value, np.ndarray) and value.ndim == 1
    }
    named = _choose(path, arrays, NAMES)
    whole = {key: array for key, array in arrays.items() if len(array) == len(arrays[named])}
    for number, cells in enumerate(zip(*(array.tolist() for array in whole.values()), strict=True)):
        yield f'{named}[{number}]', dict(zip(whole, cells, strict=True))


def _choose_corpus(path: pathlib.Path, corpora: list[str], corpus: str) -> str:
    """The requested corpus, or that of the test, or the only one."""
    asked = [corpus] if corpus else [*CORPORA, *(corpora if len(corpora) == 1 else ())]
    for key in asked:
        if key in corpora:
            return key
    raise ValueError(
        f'{path}: holds {", ".join(map(str, corpora))}'
        f'{" and not " + repr(corpus) if corpus else ""}: choose one (--corpus)'
    )
