"""Reads many mutated files of each kind, and prints how many were read, refused or crashed.

    python tests/fuzz/run.py [--files N] [--kinds film,sound,…] [--seed S] [--keep FOLDER]

Files are made from small ones (seeds.py) and read in a process of their own, which is started anew
after a crash of a native decoder. A file counts as crashed if the process ends, if an error is not
one that the reader documents, or if it takes more than 10 CPU seconds, a minute, or 1 GB. The exit
status is 1 if one did; --keep saves such files.
"""

import argparse
import collections
import contextlib
import json
import pathlib
import random
import select
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from fuzz.mutations import draw_edits, mutated  # noqa: E402, after the path is set
from fuzz.seeds import KINDS, Seed, make_seeds  # noqa: E402

SECONDS, MEGABYTES = 10, 1024  # that a file may take, in CPU time
WAIT = 60  # seconds for a file on a machine with other work
FIRST = 120  # seconds for the first file of a process, which imports


class Found(NamedTuple):
    """How the reading of a file went."""

    outcome: str
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def crashed(self) -> str:
        """Why the file counts as crashed; '' if it does not."""
        if self.outcome not in ('read', 'refused'):
            return self.outcome
        if self.seconds > SECONDS:
            return f'takes {self.seconds:.1f} s'
        return f'takes {self.megabytes:.0f} MB' if self.megabytes > MEGABYTES else ''


class Worker:
    """A process that reads files of a kind; started anew if it ends."""

    def __init__(self, kind: str):
        self.kind, self.process = kind, None

    def read(self, path: pathlib.Path) -> Found:
        """How a file went."""
        limit = WAIT
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / 'worker.py'), self.kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            limit = FIRST
        with contextlib.suppress(BrokenPipeError):  # it has ended; no line follows
            print(path, file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.close()
            return Found(f'no answer after {limit} s', limit)
        if not (line := self.process.stdout.readline()):
            status = self.process.wait()
            self.close()
            return Found(f'the process ended with status {status}')
        return Found(**json.loads(line))

    def close(self) -> None:
        """Ends the process."""
        if self.process:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def mutant(seeds: list[Seed], draw: random.Random) -> tuple[str, bytes]:
    """The name and the bytes of a mutated file; a part is mutated before or after it is packed."""
    seed, other = draw.choice(seeds), draw.choice(seeds)
    name = draw.choice(list(seed.parts))
    if len(seed.parts) == 1 or draw.random() < 0.2:
        whole = seed.data()
        return seed.name, mutated(whole, draw_edits(draw, is_text(whole)), other.data())
    part = seed.parts[name]
    return seed.name, seed.data(seed.parts | {name: mutated(part, draw_edits(draw, is_text(part)))})


def is_text(data: bytes) -> bool:
    """Whether the beginning of a file is text."""
    return all(byte >= 32 or byte in b'\t\n\r' for byte in data[:200])


def fuzz(kind: str, files: int, seed: int, keep: pathlib.Path | None) -> list[Found]:
    """How mutated files of a kind went; prints those that crashed."""
    (seeds, beside), found = make_seeds(kind), []
    draw, worker = random.Random(f'{kind} {seed}'), Worker(kind)
    with contextlib.closing(worker), tempfile.TemporaryDirectory(prefix='fuzzed_') as home:
        home = pathlib.Path(home)
        for name, data in beside.items():
            (home / name).write_bytes(data)
        for whole in seeds:
            told = read_one(worker, home / whole.name, whole.data(), beside)
            if told.outcome != 'read':
                raise SystemExit(f'{kind}: the whole file {whole.name} is not read: {told.outcome}')
        for number in range(files):
            name, data = mutant(seeds, draw)
            found.append(read_one(worker, home / name, data, beside))
            if why := found[-1].crashed:
                print(f'{kind} {number} ({name}): {why:.300}', flush=True)
                if keep:
                    (keep / f'{kind}_{seed}_{number}_{name}').write_bytes(data)
    return found


def read_one(worker: Worker, path: pathlib.Path, data: bytes, beside: dict[str, bytes]) -> Found:
    """How a file of these bytes goes, which then gives way to the one beside the others."""
    path.write_bytes(data)
    found = worker.read(path)
    if path.name in beside:
        path.write_bytes(beside[path.name])
    else:
        path.unlink()
    return found


def row(kind: str, found: list[Found]) -> str:
    """A line of the table."""
    counts = collections.Counter('crashed' if one.crashed else one.outcome for one in found)
    slowest = max((one.seconds for one in found), default=0.0)
    largest = max((one.megabytes for one in found), default=0.0)
    return (
        f'| {kind} | {len(found)} | {counts["refused"]} | {counts["read"]} | {counts["crashed"]} '
        f'| {slowest:.2f} | {largest:.0f} |'
    )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--files', type=int, default=1000, help='mutated files of each kind')
    parser.add_argument('--kinds', default=','.join(KINDS), help='joined by commas')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=pathlib.Path, help='a folder for files that crashed')
    asked = parser.parse_args()
    kinds = asked.kinds.split(',')
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f'--kinds={unknown[0]}: must be some of {",".join(KINDS)}')
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
    table, failed = [], False
    for kind in kinds:
        found = fuzz(kind, asked.files, asked.seed, asked.keep)
        failed = failed or any(one.crashed for one in found)
        table.append(row(kind, found))
        print(table[-1], flush=True)
    print('\n| kind | tried | refused | read | crashed | slowest (CPU s) | largest memory (MB) |')
    print('|---|---|---|---|---|---|---|', *table, sep='\n')
    raise SystemExit(int(failed))


if __name__ == '__main__':
    main()
