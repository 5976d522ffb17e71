r"""Turns a folder of clips, in the layout it has, into a manifest and a report of what is wrong.

    python -m mer_jax.data.prepare FOLDER
    python -m mer_jax.data.prepare FOLDER --words emotion --video file --source speaker --no-media

docs/DATA.md has the layouts.
"""

import argparse
import json
import os
import re
from pathlib import Path

from mer_jax.data.prepare.columns import ROLES
from mer_jax.data.prepare.findings import HELD_OUT
from mer_jax.data.prepare.layouts import LAYOUTS
from mer_jax.data.prepare.prepare import Asked, beside, prepare
from mer_jax.errors import printable, quiet_pipes


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.data.prepare',
        usage='%(prog)s FOLDER [flags]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    layouts = '; '.join(f'{name}: {said}' for name, said in LAYOUTS.items())
    parser.add_argument('place', type=Path, metavar='FOLDER', help='a folder, or one table in it')
    parser.add_argument('--out', type=Path, help='the manifest; FOLDER/manifest.jsonl if not named')
    parser.add_argument('--layout', choices=tuple(LAYOUTS), default='', help=layouts)
    parser.add_argument('--table', action='append', default=[], help='read this table only; again')
    for role in ROLES:
        parser.add_argument(f'--{role}', default='', metavar='COLUMN', help=f'column of {role}')
    parser.add_argument('--labels', default='', help='words of numbered labels: angry,happy,…')
    parser.add_argument(
        '--sentences', action='store_true', help='take the words of the wheels out of sentences'
    )
    parser.add_argument(
        '--source-pattern',
        default='',
        metavar='REGEX',
        help='its first group, in an id, is a source',
    )
    parser.add_argument('--wheels', default='builtin', help='names, with commas: builtin')
    parser.add_argument('--held-out', type=float, default=HELD_OUT, help='as data.held_out')
    parser.add_argument('--no-media', '--no_media', action='store_true', help='open no media file')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads')
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    asked = parser.parse_args(arguments)
    if not asked.place.exists():
        parser.error(
            f'{asked.place}: there is no such folder; name one that holds clips or a table'
        )
    if not 0 <= asked.held_out < 1:
        parser.error(f'--held-out={asked.held_out}: must be from 0 to below 1, e.g. {HELD_OUT}')
    if asked.workers < 1:
        parser.error(f'--workers={asked.workers}: must be at least 1')
    try:
        groups = re.compile(asked.source_pattern).groups
    except re.error as error:
        parser.error(f'--source-pattern={asked.source_pattern!r}: no regular expression ({error})')
    if asked.source_pattern and not groups:
        parser.error(
            f'--source-pattern={asked.source_pattern!r}: needs a group, e.g. (dia[0-9]+)_utt'
        )
    folder = asked.place if asked.place.is_dir() else asked.place.parent
    asked.out = asked.out or folder / 'manifest.jsonl'
    if not asked.out.parent.is_dir():
        parser.error(f'--out={asked.out}: there is no folder {asked.out.parent}; make it first')
    return asked


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    flags = read_flags(arguments)
    asked = Asked(
        place=flags.place,
        manifest=flags.out,
        layout=flags.layout,
        columns={role: column for role in ROLES if (column := vars(flags)[role])},
        tables=tuple(flags.table),
        labels=_parts(flags.labels),
        sentences=flags.sentences,
        source=flags.source_pattern,
        wheels=_parts(flags.wheels),
        held_out=flags.held_out,
        media=not flags.no_media,
        workers=flags.workers,
    )
    try:
        report = prepare(asked)
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    except KeyboardInterrupt:
        raise SystemExit('mer_jax: stopped; the same command continues from here') from None
    print(json.dumps(report) if flags.json else as_text(report))


def _parts(text: str) -> tuple[str, ...]:
    """The parts of a text between commas."""
    return tuple(part.strip() for part in text.split(',') if part.strip())


def as_text(report: dict) -> str:
    """A report for the terminal."""
    sides = ', '.join(f'{side} {count}' for side, count in report['sides'].items())
    lines = [
        f'{report["folder"]}: layout {report["layout"]}, {report["clips"]} clips',
        *(f'  {file}: {said}' for file, said in report['columns'].items()),
        *(f'  {note}' for note in report['notes']),
        f'  sides ({report["sides_are"]}): {sides}',
        *(f'  {count} {said}' for count, said in report['problems'] if count),
        *(f'  {path}' for path in report['manifests'].values()),
        f'  report: {beside(Path(report["manifest"]), "report.html")} and .json',
    ]
    return '\n'.join(map(printable, lines))


if __name__ == '__main__':
    with quiet_pipes():
        main()
