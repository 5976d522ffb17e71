"""Folders of parquet files as Hugging Face `datasets` writes them, media in bytes or by path."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_jax.data.formats.parquet import parquet_library
from mer_jax.data.prepare.columns import MEDIA_ROLES, guess, is_labelled
from mer_jax.data.prepare.drafts import Row
from mer_jax.data.prepare.media_index import ENDINGS, kind_of_name
from mer_jax.data.prepare.tables import split_of
from mer_jax.data.prepare.talks import is_talk, talk_cells

BATCH = 64  # rows in memory, with their media
FEATURES = {'Video': 'video', 'Audio': 'audio', 'Image': 'image'}
STARTS = {  # the first bytes of a file → its ending
    b'\x89PNG': '.png',
    b'\xff\xd8\xff': '.jpg',
    b'GIF8': '.gif',
    b'BM': '.bmp',
    b'fLaC': '.flac',
    b'OggS': '.ogg',
    b'ID3': '.mp3',
    b'\xff\xfb': '.mp3',
    b'\x1a\x45\xdf\xa3': '.mkv',
}
RIFF = {b'WAVE': '.wav', b'AVI ': '.avi', b'WEBP': '.webp'}
_UNSAFE = re.compile(r'[^\w.-]+')


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files below a folder, in order."""
    return sorted(folder.rglob('*.parquet')) if folder.is_dir() else [folder]


class ParquetRows:
    """The rows of parquet files; bytes of media are written to files in `media`."""

    def __init__(self, paths: Sequence[Path], asked: Mapping[str, str], media: Path):
        self.paths, self.asked, self.media = paths, asked, media
        self.guessed: dict[str, str] = {}
        self.labels: tuple[str, ...] = ()
        self.library = parquet_library()
        self._columns: dict[Path, dict[str, str]] = {}
        for path in paths:
            self._open(path)

    def _open(self, path: Path) -> None:
        """Reads the columns of a file, by the features of `datasets` where it has them."""
        try:
            schema = self.library.read_schema(path)
        except (OSError, ValueError) as error:
            raise ValueError(f'{path}: not a parquet file that can be read: {error}') from None
        features = _features(schema.metadata or {})
        typed = {}
        for name, feature in features.items():
            inner = feature[0] if isinstance(feature, list) and feature else feature
            if not isinstance(inner, dict):
                continue
            inner = inner.get('feature') or inner
            if (role := FEATURES.get(inner.get('_type', ''))) and name in schema.names:
                typed.setdefault(role, name)
        columns = guess(schema.names, typed | dict(self.asked), str(path))
        names = features.get(columns.get('words', ''))
        names = names.get('feature') or names if isinstance(names, dict) else None
        if isinstance(names, dict) and isinstance(names.get('names'), list):
            self.labels = tuple(map(str, names['names']))
        self._columns[path] = columns
        said = ', '.join(f'{role} = {column}' for role, column in columns.items())
        self.guessed[path.name] = said

    def rows(self) -> Iterator[Row]:
        """The rows of all files, 64 in memory at a time."""
        several = len(self.paths) > 1
        for path in self.paths:
            columns = self._columns[path]
            split = split_of(path.name) or (split_of(path.parent.name) if several else '')
            number = 0
            with self.library.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH):
                    for record in batch.to_pylist():
                        where = f'{path}: row {number}'
                        yield Row(
                            where, self._cells(record, columns, where), split, str(path.parent)
                        )
                        number += 1

    def _cells(self, record: dict, columns: dict[str, str], where: str) -> dict[str, Any]:
        cells = {role: record.get(column) for role, column in columns.items()}
        if is_talk(record):
            media = {role: cells[role] for role in MEDIA_ROLES if cells.get(role) is not None}
            held = [columns[role] for role in MEDIA_ROLES if role in columns]
            rest = {key: value for key, value in record.items() if key not in held}
            cells = talk_cells(rest, self.asked, where) | media
        elif not is_labelled(columns):
            there = ', '.join(record)[:200]
            raise ValueError(
                f'{where}: no column of words or of clips among {there}: name them (--words COLUMN '
                '--video COLUMN)'
            )
        place = where.rpartition(': row ')
        stem = f'{Path(place[0]).stem}-{place[2]}'
        for role in MEDIA_ROLES:
            if role in cells:
                cells[role] = self._media(cells[role], role, stem)
        return cells

    def _media(self, value: Any, role: str, stem: str) -> Any:
        """A path, or a list of paths, in place of bytes."""
        if isinstance(value, list):
            made = (self._media(one, role, f'{stem}-{i}') for i, one in enumerate(value))
            return [path for path in made if path]
        if isinstance(value, bytes):
            value = {'bytes': value}
        if not isinstance(value, dict):
            return value
        data, path = value.get('bytes'), value.get('path') or ''
        if data is None:
            return path or None
        name = _UNSAFE.sub('_', f'{stem}-{role}{_ending(data, path, role)}')
        return str(_written(self.media / name, data))


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The features that `datasets` has written into the schema, by column."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return dict(json.loads(metadata[b'huggingface'])['info']['features'])
    return {}


def _ending(data: bytes, path: str, role: str) -> str:
    """The ending of a file by its first bytes, else by its name, else a common one of its kind."""
    for start, ending in STARTS.items():
        if data.startswith(start):
            return ending
    if data[:4] == b'RIFF' and data[8:12] in RIFF:
        return RIFF[data[8:12]]
    if data[4:8] == b'ftyp':
        return '.m4a' if role == 'audio' else '.mp4'
    if kind_of_name(path):
        return os.path.splitext(path)[1].lower()
    return ENDINGS.get(role, ENDINGS['video'])[0]


def _written(path: Path, data: bytes) -> Path:
    """The file with these bytes; one of the same size is kept, from a run that was cut off."""
    if not path.is_file() or path.stat().st_size != len(data):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + '.tmp')
        draft.write_bytes(data)
        os.replace(draft, path)
    return path
