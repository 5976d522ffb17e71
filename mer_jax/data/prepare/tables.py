"""Tables of clips as rows by role: CSV, TSV, JSON and JSON lines, and labels in .npz files."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_jax.data.benchmarks.files import read_text, read_value
from mer_jax.data.formats.npz import read_npz
from mer_jax.data.prepare.columns import guess, is_labelled
from mer_jax.data.prepare.drafts import Row

TABLES = ('.csv', '.tsv', '.jsonl', '.json', '.npz')
ENDINGS_OF_TALKS = ('.jsonl', '.json')
DELIMITERS = ',\t;|'
_SPLITS = re.compile(r'(?:^|[^a-z])(train|val|valid|validation|dev|test)(?=$|[^a-z])')
SAME_SPLIT = {'valid': 'val', 'validation': 'val', 'dev': 'val'}

Record = tuple[str, Mapping[str, Any]]  # file and line, and the cells by column


def split_of(name: str) -> str:
    """The split that a path names: train, val or test, the last one in it; '' for none."""
    found = _SPLITS.findall(name.lower())
    return SAME_SPLIT.get(found[-1], found[-1]) if found else ''


def read_records(path: Path) -> list[Record]:
    """The records of a table; ValueError names file and line of one that cannot be read."""
    if path.suffix.lower() == '.npz':
        return _npz_records(path)
    if path.suffix.lower() in ('.csv', '.tsv'):
        return _csv_records(path)
    if path.suffix.lower() == '.json':
        return _json_records(path)
    return list(_lines(path))


def _csv_records(path: Path) -> list[Record]:
    text = read_text(path)
    header = text.partition('\n')[0]
    delimiter = max(DELIMITERS, key=header.count) if path.suffix.lower() == '.csv' else '\t'
    reader = csv.DictReader(io.StringIO(text, newline=''), restval='', delimiter=delimiter)
    try:
        return [(f'{path}:{reader.line_num}', row) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f'{path}:{reader.line_num}: not a row of CSV: {error}; quote cells that hold '
            f'{delimiter!r}'
        ) from None


def _lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(read_text(path).split('\n'), 1):
        if line.strip():
            yield f'{path}:{number}', _object(line, f'{path}:{number}')


def _object(line: str, where: str) -> dict:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{where}: each line must be one JSON object: {error}') from None
    if not isinstance(value, dict):
        raise ValueError(f'{where}: each line must be one JSON object, not {value!r:.99}')
    return value


def _json_records(path: Path) -> list[Record]:
    """The objects of a list, or of an object of objects, whose keys are their ids."""
    value = read_value(path)
    if isinstance(value, dict):
        value = [{'id': key} | row for key, row in value.items() if isinstance(row, dict)]
    if not isinstance(value, list):
        raise ValueError(f'{path}: must hold a list of objects, not {value!r:.99}')
    for number, row in enumerate(value):
        if not isinstance(row, dict):
            raise ValueError(f'{path}: entry {number} must be an object, not {row!r:.99}')
    return [(f'{path}: entry {number}', row) for number, row in enumerate(value)]


def _npz_records(path: Path) -> list[Record]:
    """The entries of all corpora of MERTools, name → {emo, val}, which are splits."""
    records = []
    for corpus, entries in read_npz(path).items():
        if not isinstance(entries, dict):
            continue
        split = corpus.removesuffix('_corpus')
        for name, label in entries.items():
            where = f'{path}: {corpus}[{name!r:.99}]'
            if not isinstance(label, dict):
                raise ValueError(f'{where}={label!r:.99} must be a dictionary such as {{emo, val}}')
            records.append((where, {'name': name, 'split': split} | label))
    return records


class Tables:
    """The tables of a folder: those with words give rows, the others add texts by name."""

    def __init__(self, paths: Sequence[Path], asked: Mapping[str, str]):
        self.guessed: dict[str, str] = {}
        self.notes: list[str] = []
        self._labelled: list[tuple[Path, list[Record], dict[str, str]]] = []
        self._texts: dict[str, dict[str, str]] = {'subtitle': {}, 'reasoning': {}}
        names = {name for path in paths for name in self._add(path, asked)}
        for role, column in asked.items():
            if column not in names:
                there = ', '.join(sorted(names))[:200] or 'none'
                raise ValueError(
                    f'{paths[0].parent}: --{role}={column}: no table has this column; they have '
                    f'{there}'
                )

    def _add(self, path: Path, asked: Mapping[str, str]) -> list[str]:
        """Reads a table; gives the names of its columns."""
        records = read_records(path)
        if not records:
            self.notes.append(f'{path.name}: holds no row')
            return []
        names = list(dict.fromkeys(name for _, row in records[:50] for name in row if name))
        columns = guess(names, {k: v for k, v in asked.items() if v in names}, str(path))
        if is_labelled(columns):
            self._labelled.append((path, records, columns))
            said = ', '.join(f'{role} = {column}' for role, column in columns.items())
            self.guessed[path.name] = said
            return names
        joined = [role for role in self._texts if role in columns and 'id' in columns]
        for role in joined:
            texts = self._texts[role]
            for _, row in records:
                texts.setdefault(_plain(row.get(columns['id'])), row.get(columns[role]))
            self.guessed[path.name] = f'{role} = {columns[role]}, joined by {columns["id"]}'
        if not joined:
            self.notes.append(f'{path.name}: names no words of clips, it is not used')
        return names

    def __bool__(self) -> bool:
        return bool(self._labelled)

    def rows(self) -> Iterator[Row]:
        """The rows of the labelled tables; an empty cell is filled from the other tables."""
        several = len(self._labelled) > 1
        for path, records, columns in self._labelled:
            split = split_of(path.name)
            if several and not split:
                split = split_of(path.parent.name) or path.stem
            for where, record in records:
                cells = {role: record.get(column) for role, column in columns.items()}
                for role, texts in self._texts.items():
                    if not cells.get(role):
                        cells[role] = texts.get(_plain(cells.get('id')))
                yield Row(where, cells, split, str(path.parent))


def _plain(name: Any) -> str:
    return str(name).strip()
