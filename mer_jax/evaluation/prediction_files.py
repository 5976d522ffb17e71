"""Predictions as rows, one an answer, in CSV, JSON lines or parquet, by the ending of a file.

    python -m mer_jax.evaluation.prediction_files predictions/ov_merd_plus.jsonl answers.csv

writes the rows of one file in the form of the other; --mode slow keeps one mode.
"""

import argparse
import csv
import io
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mer_jax.data.formats.parquet import parquet_library, write_parquet
from mer_jax.errors import printable, quiet_pipes
from mer_jax.evaluation.label_files import NAMES, read_rows
from mer_jax.storage.objects import write_whole

ENDINGS = ('.csv', '.jsonl', '.parquet')
WORDS = ('answer', 'words')  # columns whose lists become texts such as "sad, lonely"


def check_ending(path: pathlib.Path, flag: str) -> None:
    """ValueError for a file of no known ending, or of one whose library is not installed."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f'--{flag}={path}: the ending decides the form: name a file that ends in '
            f'{", ".join(ENDINGS)}'
        )
    if path.suffix.lower() == '.parquet':
        parquet_library()
    if not path.parent.is_dir():
        raise ValueError(f'--{flag}={path}: there is no folder {path.parent}; make it first')


def write_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows in the form that the ending of the file asks for.

    In CSV and parquet a row has the columns of all rows; words are texts, and other lists and
    dictionaries JSON.
    """
    if path.suffix.lower() == '.jsonl':
        lines = (json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
        write_whole(path, ''.join(lines))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    flat = [{name: _flat(name, row.get(name)) for name in columns} for row in rows]
    if path.suffix.lower() == '.parquet':
        write_parquet(path, flat)
        return
    write_csv(path, columns, flat)


def write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Mapping]) -> None:
    """Writes these columns of rows as CSV."""
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _flat(name: str, value: Any) -> Any:
    """A cell of a table: a text or a number."""
    if name in WORDS and isinstance(value, list | tuple):
        return ', '.join(map(str, value))
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def answered_rows(path: pathlib.Path, mode: str = '') -> list[dict[str, Any]]:
    """The rows of a predictions file that hold an answer, each with its item's name as `name`.

    `mode` keeps the rows of that mode. ValueError if none is left.
    """
    rows, modes = [], {}
    for place, row in read_rows(path):
        key = next((key for key in NAMES if key in row), None)
        if key is None:
            there = ', '.join(map(str, row))[:200]
            raise ValueError(
                f'{path}:{place}: no column {" or ".join(NAMES)} among {there}: a row names its '
                'item'
            )
        own = str(row.get('mode', mode))
        modes[own] = None
        if own == 'none' or mode and own != mode:
            continue
        rest = {name: value for name, value in row.items() if name != key}
        rows.append({'name': str(row[key]).strip()} | rest)
    if not rows:
        raise ValueError(
            f'{path}: no answers of mode {mode!r}; its modes are {", ".join(modes)} (--mode)'
            if mode
            else f'{path}: holds no answers'
        )
    return rows


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.evaluation.prediction_files',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=pathlib.Path, help='.csv, .jsonl, .parquet or .npz')
    parser.add_argument('out', type=pathlib.Path, help=' or '.join(ENDINGS))
    parser.add_argument('--mode', default='', help='rows of this mode only, such as slow')
    return parser.parse_args(arguments)


def main(arguments: Iterable[str] | None = None) -> None:
    """Runs the command line."""
    asked = read_flags(arguments)
    try:
        check_ending(asked.out, 'out')
        rows = answered_rows(asked.source, asked.mode)
        write_rows(asked.out, rows)
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    print(f'{asked.out} holds {len(rows)} answers')


if __name__ == '__main__':
    with quiet_pipes():
        main()
