"""The layouts of other people's folders: which one a folder has, and the rows in it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mer_jax.data.benchmarks.layouts import FILMS, SOUNDS, NamedMedia
from mer_jax.data.prepare.drafts import Row
from mer_jax.data.prepare.media_index import MediaIndex
from mer_jax.data.prepare.parquet import ParquetRows, parquet_files
from mer_jax.data.prepare.tables import (
    ENDINGS_OF_TALKS,
    TABLES,
    Tables,
    read_records,
    split_of,
)
from mer_jax.data.prepare.talks import is_talk, later_turns, talk_cells

LAYOUTS = {
    'table': 'a table (CSV, TSV, JSON, JSON lines) of clips and words',
    'mertools': 'AffectGPT or MERTools: media folders, tables or .npz of labels by name',
    'parquet': 'parquet files of Hugging Face datasets',
    'llava': 'JSON of conversations, as LLaVA',
    'messages': 'JSON lines of messages, as TRL',
    'folders': 'a sub-folder for each label',
}
INNER = ('annotations', 'data', 'labels')  # folders in which tables are looked for
OURS = ('.report.json', '.probes.jsonl')  # endings of files that prepare writes


@dataclasses.dataclass
class Found:
    """The rows of a folder and how they were read."""

    layout: str
    rows: Iterable[Row]
    guessed: dict[str, str]  # by file
    notes: list[str]
    labels: tuple[str, ...] = ()  # of numbers, as the files name them


def find_rows(
    place: Path,
    layout: str,
    asked: Mapping[str, str],
    tables: Sequence[str],
    *,
    media: Path,
    ours: Path,
) -> Found:
    """The rows of a folder, or of one file, in the layout that is asked for or looks right.

    `asked` names columns by role, `tables` the files to read. Bytes of media are written below
    `media`. `ours` is the manifest to be written, which is not read. ValueError if nothing is
    found.
    """
    files = [place] if place.is_file() else _tables_of(place, tables, ours)
    parquet = [path for path in parquet_files(place) if path.suffix == '.parquet']
    parquet = [path for path in parquet if not tables or path.name in tables]
    if layout in ('', 'parquet') and parquet:
        found = ParquetRows(parquet, asked, media)
        return Found('parquet', found.rows(), found.guessed, [], found.labels)
    if layout in ('', 'llava', 'messages'):
        talks = [path for path in files if path.suffix.lower() in ENDINGS_OF_TALKS]
        found = _talks(talks, asked)
        if found:
            return found
    if layout in ('', 'table', 'mertools') and files:
        found = Tables(files, asked)
        if found:
            folder = place if place.is_dir() else place.parent
            if layout == 'mertools' or not layout and _is_mertools(folder, files):
                rows = _with_named_media(found.rows(), folder)
                return Found('mertools', rows, found.guessed, found.notes)
            return Found('table', found.rows(), found.guessed, found.notes)
    if layout in ('', 'folders') and place.is_dir():
        rows = _labelled_folders(place)
        if rows:
            return Found('folders', rows, {'folder': 'words = the first sub-folder'}, [])
    raise ValueError(_nothing(place, layout, files))


def _nothing(place: Path, layout: str, files: list[Path]) -> str:
    """The message where nothing was found."""
    seen = ', '.join(path.name for path in files[:8]) or 'no table'
    wanted = LAYOUTS[layout] if layout else '; '.join(LAYOUTS.values())
    return (
        f'{place}: found no clips with words, looking for {wanted}. Tables in it: {seen}. Name the '
        'columns (--id NAME --words NAME --video NAME) or the file itself'
    )


def _tables_of(folder: Path, names: Sequence[str], ours: Path) -> list[Path]:
    """The tables directly in a folder, in one of INNER, and in folders named as splits."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    places = (folder, *(path for path in inner if path.name in INNER or split_of(path.name)))
    found = [
        path
        for place in places
        for path in sorted(place.iterdir())
        if path.suffix.lower() in TABLES and path.is_file() and not _is_ours(path, ours)
    ]
    if not names:
        return found
    if absent := set(names) - {path.name for path in found}:
        there = ', '.join(path.name for path in found) or 'none'
        raise ValueError(
            f'--table={sorted(absent)[0]}: there is no such table in {folder}; its tables: {there}'
        )
    return [path for path in found if path.name in names]


def _is_ours(path: Path, manifest: Path) -> bool:
    """Whether an earlier start has written a file."""
    of_split = path.name.startswith(f'{manifest.stem}-') and path.suffix == manifest.suffix
    return path == manifest or of_split or path.name.endswith(OURS)


def _is_mertools(folder: Path, files: list[Path]) -> bool:
    """Whether a folder has the media folders of MERTools and labels by name."""
    has_media = any((folder / name).is_dir() for name in (*FILMS, *SOUNDS))
    labels = any(path.suffix == '.npz' for path in files)
    tracks = any(path.name.startswith(('track', 'ovlabel', 'subtitle_')) for path in files)
    return has_media and (labels or tracks)


def _with_named_media(rows: Iterable[Row], folder: Path) -> Iterable[Row]:
    """The rows with the film and the sound of their names, from the best folder of each kind."""
    media = NamedMedia(folder, '')
    for row in rows:
        entry = media.entry(str(row.cells.get('id', '')).strip(), {})
        named = {'video': entry.video, 'audio': entry.audio}
        yield dataclasses.replace(row, cells={**row.cells, **named})


def _talks(paths: list[Path], asked: Mapping[str, str]) -> Found | None:
    """The conversations of some files; None if they hold none."""
    rows, guessed, later, jsonl = [], {}, 0, False
    for path in paths:
        records = read_records(path)
        if not records or not is_talk(records[0][1]):
            continue
        jsonl = jsonl or 'conversations' not in records[0][1]
        guessed[path.name] = 'question = the first turn, words = the first answer or a column'
        for where, record in records:
            cells = talk_cells(record, asked, where)
            later += later_turns(record)
            rows.append(Row(where, cells, split_of(path.name), str(path.parent)))
    if not rows:
        return None
    notes = [f'{later} answers after the first of a conversation are left out'] if later else []
    return Found('messages' if jsonl else 'llava', rows, guessed, notes)


def _labelled_folders(folder: Path) -> list[Row]:
    """The media below sub-folders: SPLIT/LABEL/…/FILE or LABEL/…/FILE, at least two labels."""
    rows = []
    for path in MediaIndex(folder).files:
        inner = Path(path).relative_to(folder)
        parts = list(inner.parts[:-1])
        split = split_of(parts[0]) if parts else ''
        if split and len(parts) > 1:
            parts.pop(0)
        else:
            split = ''
        if not parts:
            continue
        cells = {'media': path, 'words': parts[0].replace('_', ' ')}
        if len(parts) > 1:
            cells['source'] = parts[-1]
        rows.append(Row(str(inner), cells, split))
    labels = {row.cells['words'] for row in rows}
    return rows if len(labels) > 1 else []
