r"""Writes the file that a track of MER2025 or MER2026 takes, from predictions of any form.

    python -m mer_jax.evaluation.submissions --track mer2026-fg --predictions fused.jsonl \
        --candidates track1_track2_candidate.csv --out track2-openset.npz

mer2025-semi, mer2026-cross: CSV with name and discrete, one of six labels. mer2025-fg, mer2026-fg:
-openset.npz with filenames and fileitems, or CSV with name and openset. mer2025-des: CSV with name
and reason. mer2026-prefer: the table of candidates with preference, from evaluation.preference.
"""

import argparse
import dataclasses
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mer_jax.errors import printable, quiet_pipes
from mer_jax.evaluation.label_files import ANSWERS, NAMES, plain_words, read_rows
from mer_jax.evaluation.prediction_files import answered_rows, write_csv
from mer_jax.storage.objects import write_whole

SIX = ('neutral', 'angry', 'happy', 'sad', 'worried', 'surprise')  # as MERTools writes them
SPELT = {
    'anger': 'angry',
    'happiness': 'happy',
    'joy': 'happy',
    'joyful': 'happy',
    'sadness': 'sad',
    'worry': 'worried',
    'anxious': 'worried',
    'surprised': 'surprise',
}
REASONS = ('reason', 'think', 'reasoning', 'description')
PREFERENCES = ('a1', 'a2')
MOST_NAMED = 3  # items in a message


@dataclasses.dataclass(frozen=True)
class Track:
    """A track: the column that its file needs and how a row of predictions becomes its cell."""

    column: str
    cell: Callable[[Mapping[str, Any]], str]  # '' if the row holds nothing that fits
    rule: str
    endings: tuple[str, ...] = ('.csv',)


def discrete(row: Mapping[str, Any]) -> str:
    """The first word of an answer that is one of the six labels."""
    words = (SPELT.get(word, word) for word in _words(row))
    return next((word for word in words if word in SIX), '')


def openset(row: Mapping[str, Any]) -> str:
    """The words of an answer as '[sad, lonely]', the form of the published files."""
    words = _words(row)
    return f'[{", ".join(words)}]' if words else ''


def description(row: Mapping[str, Any]) -> str:
    """The reasoning of an answer on one line."""
    return next((' '.join(str(row[key]).split()) for key in REASONS if row.get(key)), '')


def preference(row: Mapping[str, Any]) -> str:
    """The preferred description, a1 or a2."""
    said = str(row.get('preference', '')).strip().lower()
    return said if said in PREFERENCES else ''


def _words(row: Mapping[str, Any]) -> list[str]:
    return plain_words(next((row[key] for key in ANSWERS if key in row), ''))


_SIX = Track('discrete', discrete, f'a word of {", ".join(SIX)}')
_OPEN = Track('openset', openset, 'at least one word', ('.npz', '.csv'))
TRACKS = {
    'mer2025-semi': _SIX,
    'mer2025-fg': _OPEN,
    'mer2025-des': Track('reason', description, f'a text in {", ".join(REASONS)}'),
    'mer2026-cross': _SIX,
    'mer2026-fg': _OPEN,
    'mer2026-prefer': Track('preference', preference, 'a1 or a2 in preference'),
}


def submission(
    track: Track,
    rows: Sequence[Mapping[str, Any]],
    candidates: Sequence[Mapping[str, Any]],
    fill: str,
) -> list[dict[str, Any]]:
    """The rows of the file: those of the candidates, in their order, with the track's column.

    A name that candidates repeat, as pairs do, is answered in the order of its rows. `fill` is the
    cell of a candidate without one. ValueError if a candidate has no cell, or no rows are left.
    """
    cells: dict[str, list[str]] = {}
    for row in rows:
        cells.setdefault(row['name'], []).append(track.cell(row))
    wanted: dict[str, int] = {}
    filled, absent, unfit = [], [], []
    for row in candidates:
        name = str(row['name']).strip()
        number = wanted.get(name, 0)
        wanted[name] = number + 1
        given = cells.get(name, [])
        if number >= len(given):
            absent.append(name)
        elif not given[number]:
            unfit.append(name)
        cell = given[number] if number < len(given) else ''
        filled.append(dict(row) | {'name': name, track.column: cell or fill})
    for names, reason in (
        (absent, 'have no prediction'),
        (unfit, f'have a prediction that does not hold {track.rule}'),
    ):
        if names and not fill:
            shown = ', '.join(names[:MOST_NAMED])
            raise ValueError(
                f'{len(names)} of {len(candidates)} candidates {reason} ({shown}): answer them, or '
                'name the cell that they get (--fill neutral)'
            )
    repeated = [name for name, count in wanted.items() if 0 < len(cells.get(name, [])) != count]
    if repeated:
        name = repeated[0]
        raise ValueError(
            f'{name!r:.99} has {len(cells[name])} predictions and {wanted[name]} rows among the '
            'candidates: choose one mode (--mode slow), or give the rows of one track'
        )
    return filled


def write_submission(path: pathlib.Path, track: Track, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows as CSV, or as an .npz of filenames and fileitems without pickles."""
    if path.suffix == '.npz':
        held = io.BytesIO()
        names, items = ([row[key] for row in rows] for key in ('name', track.column))
        np.savez_compressed(held, filenames=np.array(names), fileitems=np.array(items))
        write_whole(path, held.getvalue())
        return
    columns = ['name', track.column]
    if track.column == 'preference':  # pairs of a film differ in their descriptions alone
        columns = list(dict.fromkeys(['name', *rows[0]]))
    write_csv(path, columns, rows)


def read_candidates(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a table of candidates, each with its `name`."""
    found = []
    for place, row in read_rows(path):
        key = next((key for key in NAMES if key in row), None)
        if key is None:
            raise ValueError(f'{path}:{place}: no column {" or ".join(NAMES)}: name the candidates')
        found.append({'name': row[key]} | {k: v for k, v in row.items() if k != key})
    return found


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.evaluation.submissions',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--track', required=True, choices=tuple(TRACKS), metavar='TRACK', help=', '.join(TRACKS)
    )
    parser.add_argument('--predictions', required=True, type=pathlib.Path, metavar='FILE')
    parser.add_argument('--candidates', type=pathlib.Path, help='its names, in its order')
    parser.add_argument('--out', required=True, type=pathlib.Path, help='.csv or .npz')
    parser.add_argument('--mode', default='', help='rows of this mode only, such as slow')
    parser.add_argument('--fill', default='', help='the cell of candidates without an answer')
    asked = parser.parse_args(arguments)
    endings = TRACKS[asked.track].endings
    if asked.out.suffix not in endings:
        parser.error(f'--out={asked.out}: {asked.track} takes a file that ends in {endings[0]}')
    if not asked.out.parent.is_dir():
        parser.error(f'--out={asked.out}: there is no folder {asked.out.parent}; make it first')
    if asked.track == 'mer2026-prefer' and not asked.candidates:
        parser.error('--candidates: mer2026-prefer needs the table of pairs; name it')
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    asked = read_flags(arguments)
    track = TRACKS[asked.track]
    try:
        rows = answered_rows(asked.predictions, asked.mode)
        listed = read_candidates(asked.candidates) if asked.candidates else None
        named = listed or [{'name': row['name']} for row in rows]
        filled = submission(track, rows, named, asked.fill)
        write_submission(asked.out, track, filled)
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    extra = len({row['name'] for row in rows} - {row['name'] for row in filled})
    told = f', {extra} predictions are of no candidate' if extra else ''
    print(f'{asked.out} holds {len(filled)} rows of {asked.track}{told}')


if __name__ == '__main__':
    with quiet_pipes():
        main()
