"""The emotion wheels that AffectGPT publishes as a folder, read as its evaluation reads them.

The folder holds `format.csv` (forms of words), `synonym.xlsx` (synonyms of the words of the wheels,
in several runs) and `wheel1.xlsx` … (three levels; an empty cell repeats the one above). A word is
a form of one or several bases, each base a synonym of one or several words of the wheels: M1 takes
the first base of the alphabet (case1), M2 the first synonym of that base (case2), a wheel the first
synonym of any base that it holds (case3). So `fear` may share a category with `fearless`: such
places are kept, because published figures rest on them.
"""

import csv
import hashlib
import itertools
import json
import logging
import os
import pathlib
import re
import tempfile

from mer_jax.data.formats import xlsx
from mer_jax.data.wheels.csv_wheel import Tables, Wheel

log = logging.getLogger(__name__)

_FORMATS, _SYNONYMS = 'format.csv', 'synonym.xlsx'
_WHEEL = re.compile(r'wheel(\d+)\.xlsx')
_LEVELS = ('level1', 'level2', 'level3')
_SPLIT = re.compile(r'[\'",]')


def read_folder(folder: str | os.PathLike) -> Tables:
    """The wheels of a published folder; tables of files that were read before are reused.

    Raises ValueError if a file is missing or has another form than the published one.
    """
    files = _files(pathlib.Path(folder))
    held = {file.name: file.read_bytes() for file in files}
    kept = _cache() / f'{_key(held)}.json'
    try:
        return _from_json(kept.read_text())
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning('%s: the wheels are read again (%s)', kept, error)
    tables = _tables(pathlib.Path(folder), held)
    _keep(kept, tables)
    return tables


def published_list(text: str) -> list[str]:
    """The entries of a list as published files write it, in their own case.

    One bracket is removed from each end, and the rest is cut at quotes and commas, so an apostrophe
    ends a word. The published code raises IndexError for a lone `[`; here it gives an empty list.
    """
    inside = text.strip().removeprefix('[').removesuffix(']')
    return [entry for part in _SPLIT.split(inside) if (entry := part.strip())]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of the folder that are read: forms, synonyms, and the wheels by their number."""
    wheels = [
        (int(found[1]), file) for file in folder.iterdir() if (found := _WHEEL.fullmatch(file.name))
    ]
    files = [folder / _FORMATS, folder / _SYNONYMS, *(file for _, file in sorted(wheels))]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not wheels:
        raise ValueError(
            f'{folder}: {", ".join(missing) or "wheel1.xlsx"} is missing: a published folder of '
            f'wheels holds {_FORMATS}, {_SYNONYMS} and wheel1.xlsx to wheel5.xlsx'
        )
    return files


def _tables(folder: pathlib.Path, held: dict[str, bytes]) -> Tables:
    """The tables of the published files."""
    bases = _bases(folder / _FORMATS, held[_FORMATS])
    raws = _raws(folder / _SYNONYMS, held[_SYNONYMS])
    lost = sorted(set(itertools.chain.from_iterable(bases.values())) - set(raws))
    if lost:
        raise ValueError(
            f'{folder / _FORMATS}: {len(lost)} names, such as {lost[0]!r}, are not in {_SYNONYMS}: '
            'take both files from one release'
        )
    pooled = {
        form: sorted(set().union(*(raws[base] for base in bases_of)))
        for form, bases_of in bases.items()
    }
    base = {form: min(bases_of) for form, bases_of in bases.items()}
    return Tables(
        wheels=tuple(
            _wheel(folder / name, data, pooled)
            for name, data in held.items()
            if name not in (_FORMATS, _SYNONYMS)
        ),
        base=base,
        synonym={form: min(raws[word]) for form, word in base.items()},
    )


def _bases(file: pathlib.Path, data: bytes) -> dict[str, set[str]]:
    """The bases of each form; a base is a form of itself."""
    try:
        rows = list(csv.DictReader(data.decode('utf-8-sig').splitlines()))
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{file}: not UTF-8 ({error}): take the file as it is published'
        ) from error
    bases: dict[str, set[str]] = {}
    for row in _with_columns(file, rows, ('name', 'format')):
        for form in (row['name'], *published_list(row['format'] or '')):
            bases.setdefault(form, set()).add(row['name'])
    return bases


def _raws(file: pathlib.Path, data: bytes) -> dict[str, set[str]]:
    """The words of the wheels that have a word as a synonym in any run, or are that word."""
    rows = xlsx.read_sheet(file, data)
    runs = [name[len('word_') :] for name in next(iter(rows), ()) if name.startswith('word_')]
    pairs = [(f'word_{run}', f'synonym_{run}') for run in runs or ['run1']]
    raws: dict[str, set[str]] = {}
    for row in _with_columns(file, rows, tuple(itertools.chain.from_iterable(pairs))):
        for word, synonyms in pairs:
            raw = row[word].strip().lower()
            for synonym in (raw, *published_list(row[synonyms])):
                raws.setdefault(synonym.strip().lower(), set()).add(raw)
    return raws


def _wheel(file: pathlib.Path, data: bytes, pooled: dict[str, list[str]]) -> Wheel:
    """A wheel with the place of each form, that of its first `pooled` word in the wheel."""
    tree: dict[str, dict[str, list[str]]] = {}
    above = dict.fromkeys(_LEVELS, '')
    for row in _with_columns(file, xlsx.read_sheet(file, data), _LEVELS):
        above = {level: row[level].strip().lower() or above[level] for level in _LEVELS}
        level1, level2, level3 = above.values()
        tree.setdefault(level1, {}).setdefault(level2, []).append(level3)
    wide = tuple(tree)
    narrow = tuple(dict.fromkeys(itertools.chain.from_iterable(tree.values())))
    place: dict[str, tuple[int, int]] = {}  # of a word listed twice, the last place counts
    for level1, branches in tree.items():
        place[level1] = (wide.index(level1), narrow.index(min(branches)))
        for level2, leaves in branches.items():
            for word in (level2, *leaves):
                place[word] = (wide.index(level1), narrow.index(level2))
    found = {
        form: next((raw for raw in raws if raw in place), None) for form, raws in pooled.items()
    }
    known = {form: place[raw] for form, raw in found.items() if raw is not None}
    return Wheel(file.stem, (wide, narrow), known)


def _with_columns(
    file: pathlib.Path, rows: list[dict[str, str]], columns: tuple[str, ...]
) -> list[dict[str, str]]:
    """The rows; ValueError if there are none or a column is missing."""
    named = tuple(rows[0]) if rows else ()
    missing = [column for column in columns if column not in named]
    if missing:
        raise ValueError(
            f'{file}: no column {", ".join(missing)}, but {", ".join(named) or "no rows"}: '
            'take the file as it is published'
        )
    return rows


def _cache() -> pathlib.Path:
    """The folder that keeps tables for all runs of a user."""
    home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    return pathlib.Path(home) / 'mer_jax' / 'wheels'


def _key(held: dict[str, bytes]) -> str:
    """A hash of the files and of the code that reads them."""
    code = {path: pathlib.Path(path).read_bytes() for path in (__file__, xlsx.__file__)}
    about = [(pathlib.Path(name).name, data) for name, data in (code | held).items()]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:32]


def _keep(path: pathlib.Path, tables: Tables) -> None:
    """Keeps tables for the next run; a folder that cannot be written costs only time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False) as file:
            json.dump(tables, file)
        os.replace(file.name, path)
    except OSError as error:
        log.warning('%s: the tables of the wheels are not kept (%s)', path, error)


def _from_json(text: str) -> Tables:
    """Tables as `_keep` wrote them."""
    wheels, base, synonym = json.loads(text)
    return Tables(
        wheels=tuple(
            Wheel(name, tuple(map(tuple, categories)), {w: tuple(p) for w, p in place.items()})
            for name, categories, place in wheels
        ),
        base=base,
        synonym=synonym,
    )
