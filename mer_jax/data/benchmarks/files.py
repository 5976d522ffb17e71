"""Files of benchmark folders: bounded label files, names that stay inside, media by name."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 28  # of a label file; the largest published ones have some 10 MB
FILM = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.flv')
SOUND = ('.wav', '.mp3', '.flac', '.m4a', '.ogg')
PICTURE = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
_CODES = re.compile(r'[\0-\x1f]')


def first_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that exists; FileNotFoundError names the folder and all of them."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f'{folder}: expected {" or ".join(names)} in it')


def read_text(path: Path) -> str:
    """A label file as text, without a byte order mark; ValueError if too large or not UTF-8."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f'{path}: {size} bytes; a label file has at most {MOST_BYTES}')
    try:
        return path.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path}: byte {error.start} is not UTF-8; save the file as UTF-8'
        ) from None


def read_value(path: Path) -> Any:
    """The value in a JSON file; ValueError if it is none."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not a JSON file that can be read: {error}') from None


def read_json(path: Path) -> list:
    """The list in a JSON file; ValueError if it holds no list."""
    value = read_value(path)
    if not isinstance(value, list):
        raise ValueError(f'{path}: holds a {type(value).__name__}, a list was expected')
    return value


def read_rows(path: Path) -> list[tuple[str, object]]:
    """The rows of a list, each with its place.

    A .json file holds a list, a .jsonl file a value a line, a .csv file dictionaries of cells.
    """
    if path.suffix == '.csv':
        return read_table(path, ('image',))
    if path.suffix != '.jsonl':
        return [(f'{path}: entry {index}', row) for index, row in enumerate(read_json(path))]
    rows = []
    for number, line in enumerate(read_text(path).split('\n'), 1):
        where = f'{path}:{number}'
        if line.strip():
            try:
                rows.append((where, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ValueError(f'{where}: each line must be one JSON value: {error}') from None
    return rows


def read_table(path: Path, needed: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file by column, each with its place (file:line); '' for a missing cell.

    ValueError if a needed column is missing or a cell has more than 128 KiB.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=''), restval='')
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        if absent := [column for column in needed if column not in columns]:
            raise ValueError(
                f'{path}: needs the column {", ".join(absent)}; it has {", ".join(columns)[:200]}'
            )
        reader.fieldnames = columns
        return [(f'{path}:{reader.line_num}', row) for row in reader]
    except csv.Error as error:
        raise ValueError(f'{path}:{reader.line_num}: not a CSV row: {error}') from None


def inside(name: object, where: str) -> str:
    """A name or relative path from a label file, normalised; ValueError if it leads outside."""
    if not isinstance(name, str) or not name.strip() or _CODES.search(name):
        raise ValueError(
            f'{where}: {name!r:.99} must be a name in printable characters, and not empty'
        )
    inner = os.path.normpath(name.strip().replace('\\', '/'))
    if os.path.isabs(inner) or inner.split(os.sep)[0] in (os.pardir, os.curdir):
        raise ValueError(f'{where}: {name!r:.99} must stay below the folder of the benchmark')
    return inner


def files_by_name(folder: Path, inner: Sequence[str], endings: Sequence[str]) -> dict[str, str]:
    """The paths of the files below the `inner` folders, at any depth, by name without its ending.

    Of two files with one name, that of the earlier inner folder counts, then the alphabet decides.
    """
    found = {}
    for parent, files in walk_once([folder / name for name in inner]):
        for file in files:
            stem, ending = os.path.splitext(file)
            if ending.lower() in endings and not file.startswith('.'):
                found.setdefault(stem, os.path.join(parent, file))
    return found


def walk_once(
    tops: Iterable[str | os.PathLike], hidden: tuple[str, ...] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Every folder below some folders, with the names of its files, both by the alphabet.

    Links to folders are followed, each folder once, so that a loop of links ends. Folders whose
    names begin like one of `hidden` are left out.
    """
    seen = set()
    for top in tops:
        for parent, folders, files in os.walk(top, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith(hidden))
            place = os.path.realpath(parent)
            if place in seen:
                folders.clear()
                continue
            seen.add(place)
            yield parent, sorted(files)
