"""Lists which benchmarks are below a folder, which are missing, and where to get them.

    python -m mer_jax.data.benchmarks --root /data
    python -m mer_jax.data.benchmarks --root /data --gold labels mer2023 mer2024

The second looks for two sets and writes their gold labels for `mer_jax.score`.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from mer_jax.data.benchmarks.sets import BENCHMARKS, Benchmark, Found
from mer_jax.errors import quiet_pipes


@dataclasses.dataclass(frozen=True)
class Survey:
    """The state of one benchmark, its counts, and notes on differences from the published ones."""

    title: str
    task: str
    state: str  # 'found', 'missing' or 'broken'
    expected: int | None
    examples: int = 0
    labelled: int = 0
    films: int = 0
    sounds: int = 0
    images: int = 0
    subtitles: int = 0
    absent: int = 0
    folder: str = ''
    notes: tuple[str, ...] = ()
    get: str = ''


def survey(benchmark: Benchmark, found: Found) -> Survey:
    """The survey of a benchmark that was found."""
    examples = len(found.clips) + len(found.absent)
    notes = []
    if benchmark.count not in (None, examples):
        notes.append(f'{examples} examples, {benchmark.count} are published')
    for names, what in (
        (found.absent, 'without a media file'),
        (found.repeated, 'occur more than once, the first counts'),
        (found.unlisted, 'are gold words outside the label set'),
    ):
        if names:
            notes.append(f'{len(names)} {what}: {", ".join(names[:3])}{", …" * (len(names) > 3)}')
    return Survey(
        title=benchmark.title,
        task=benchmark.task,
        state='found',
        expected=benchmark.count,
        examples=examples,
        labelled=len(found.gold),
        films=sum(clip.video is not None for clip in found.clips),
        sounds=sum(clip.audio is not None for clip in found.clips),
        images=sum(bool(clip.images) for clip in found.clips),
        subtitles=sum(bool(clip.subtitle) for clip in found.clips),
        absent=len(found.absent),
        folder=found.folder,
        notes=tuple(notes),
    )


def look(root: Path, benchmark: Benchmark, gold_folder: Path | None = None) -> Survey:
    """The survey of one benchmark; writes its gold labels to `gold_folder`/KEY.jsonl if given."""
    try:
        found = benchmark.read(root)
    except FileNotFoundError as error:
        reason = str(error).removesuffix(f'; get it: {benchmark.get}')
        state, reason = 'missing', reason.removeprefix(f'{root}: ')
    except (ValueError, OSError) as error:
        state, reason = 'broken', str(error)
    else:
        if gold_folder and found.gold:
            write_gold(gold_folder / f'{benchmark.key}.jsonl', found)
        return survey(benchmark, found)
    return Survey(
        benchmark.title,
        benchmark.task,
        state,
        benchmark.count,
        notes=(reason,),
        get=benchmark.get,
    )


def write_gold(path: Path, found: Found) -> None:
    """Writes gold labels in the form that `mer_jax.score` reads, one JSON object a line."""
    lines = [
        json.dumps({'name': name, **gold}, ensure_ascii=False) + '\n'
        for name, gold in found.gold.items()
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SystemExit(f'--gold={path.parent}: must be a folder, not a file') from None
    path.write_text(''.join(lines), encoding='utf-8')


def line(key: str, seen: Survey) -> str:
    """A survey as lines for the terminal."""
    if seen.state != 'found':
        return f'{key:15} {seen.state}: {seen.notes[0]}\n{"":16}get it: {seen.get}'
    expected = '?' if seen.expected is None else seen.expected
    counts = [f'{seen.examples}/{expected} examples', f'{seen.labelled} labelled']
    for count, what in (
        (seen.films, 'films'),
        (seen.sounds, 'sounds'),
        (seen.images, 'images'),
        (seen.subtitles, 'subtitles'),
    ):
        if count:
            counts.append(f'{count} {what}')
    notes = ''.join(f'\n{"":16}{note}' for note in seen.notes)
    return f'{key:15} {", ".join(counts)} in {seen.folder}{notes}'


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.data.benchmarks',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--root', type=Path, required=True, help='holds the folders of all sets')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.add_argument('--gold', type=Path, help='also write KEY.jsonl with gold labels here')
    parser.add_argument('keys', nargs='*', help=f'of {", ".join(BENCHMARKS)}; none means all')
    flags = parser.parse_args(arguments)
    if not flags.root.is_dir():
        parser.error(f'--root={flags.root}: there is no such folder')
    if unknown := [key for key in flags.keys if key not in BENCHMARKS]:
        parser.error(f'{", ".join(unknown)}: not among {", ".join(BENCHMARKS)}')
    seen = {key: look(flags.root, BENCHMARKS[key], flags.gold) for key in flags.keys or BENCHMARKS}
    if flags.json:
        sets = {key: dataclasses.asdict(value) for key, value in seen.items()}
        json.dump({'root': os.fspath(flags.root), 'benchmarks': sets}, sys.stdout, indent=2)
        print()
        return
    order = sorted(seen, key=lambda key: ('found', 'broken', 'missing').index(seen[key].state))
    print('\n'.join(line(key, seen[key]) for key in order))
    count = sum(value.state == 'found' for value in seen.values())
    print(f'{count} of {len(seen)} sets found below {flags.root}')


if __name__ == '__main__':
    with quiet_pipes():
        main()
