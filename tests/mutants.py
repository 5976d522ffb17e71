"""Finds out whether the quick tests notice a wrong expression: one is changed at a time.

    python tests/mutants.py [--only TEXT] [--jobs N] [--list]

Each mutant of mutants.txt is applied in a temporary copy of the tree and its tests are run
there. The exit status is 1 if a mutant survives without an explanation in the list, and 2 if the
list does not fit the package or the tests fail without any mutant.
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIST = ROOT / 'tests' / 'mutants.txt'
LEFT_OUT = ('.git', '.venv', '__pycache__', '.*_cache', '*.egg-info', 'build', 'dist', 'runs')
TIMEOUT = 300  # seconds for the tests of a mutant, most of which take less than 20
UNMUTATED_TIMEOUT = 7200
KILLED, TIMED_OUT, SURVIVED, EXPLAINED = 'killed', 'timed out', 'survived', 'explained'
OUTCOMES = (KILLED, TIMED_OUT, SURVIVED, EXPLAINED)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """An expression of a file, its replacement, and the test files that should notice it."""

    file: str  # from the root, as the tests
    expression: str
    replacement: str
    tests: tuple[str, ...]
    why: str = ''  # the reason why no test can notice it

    def __str__(self) -> str:
        return f'{self.file}: {self.expression!r} -> {self.replacement!r}'

    @property
    def folder(self) -> str:
        """The folder of the package, as rows of the final table name it."""
        folder = pathlib.PurePath(self.file).parent.parts[1:2]
        return folder[0] if folder else 'mer_jax'


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of a mutant."""

    mutant: Mutant
    outcome: str  # one of OUTCOMES
    seconds: float


def read_list() -> list[Mutant]:
    """The mutants of the list."""
    mutants, file, tests = [], '', ()
    for line in LIST.read_text(encoding='utf-8').splitlines():
        text = line.strip()
        if not line.startswith(' '):
            file, _, names = text.partition(':')
            tests = tuple(f'tests/{name}' for name in names.split())
        elif text.startswith('#'):
            mutants[-1] = dataclasses.replace(mutants[-1], why=text.removeprefix('# '))
        else:
            expression, _, replacement = text.partition('=>')
            expression, replacement = expression.strip(), replacement.strip()
            mutants.append(Mutant(f'mer_jax/{file}', expression, replacement, tests))
    return mutants


def stale(mutants: list[Mutant]) -> list[str]:
    """The mutants that do not fit the package, each with the reason."""
    reasons = []
    for mutant in mutants:
        absent = [path for path in (mutant.file, *mutant.tests) if not (ROOT / path).exists()]
        if absent:
            reasons.append(f'{mutant}: there is no {", ".join(absent)}')
            continue
        text = (ROOT / mutant.file).read_text(encoding='utf-8')
        count = text.count(mutant.expression)
        if count != 1:
            reasons.append(f'{mutant}: the expression occurs {count} times, and must occur once')
        elif not parses(text.replace(mutant.expression, mutant.replacement)):
            reasons.append(f'{mutant}: the mutated file is no Python')
    counts = collections.Counter((m.file, m.expression, m.replacement) for m in mutants)
    return reasons + [f'{": ".join(key)}: is listed twice' for key in counts if counts[key] > 1]


def parses(text: str) -> bool:
    """Whether a text is a Python file."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def copy_tree(folder: pathlib.Path) -> pathlib.Path:
    """A copy of the working tree in a new folder."""
    return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)


class Pytest:
    """Runs pytest in copies of the tree; processes that still run at the end are killed."""

    def __init__(self):
        cache = pathlib.Path(tempfile.gettempdir()) / 'mer_jax_mutants_compiled'
        self.environment = {'JAX_COMPILATION_CACHE_DIR': str(cache)} | os.environ
        # Bytecode is told apart by seconds and sizes, which a mutant may share with its original.
        self.environment['PYTHONDONTWRITEBYTECODE'] = '1'
        self.running = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in list(self.running):
            self.kill(process)

    def kill(self, process: subprocess.Popen) -> None:
        """End a process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run(self, tree: pathlib.Path, tests, timeout: float, *flags: str) -> tuple[int | None, str]:
        """The exit status of the quick ones of these tests, None without an end, and the output."""
        program = [sys.executable, '-m', 'pytest', '-q', '-n', '0', '-m', 'not slow']
        with tempfile.TemporaryFile('w+', errors='replace') as output:
            process = subprocess.Popen(
                [*program, *flags, *tests],
                cwd=tree,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.running.add(process)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            self.kill(process)
            self.running.discard(process)
            output.seek(0)
            return status, output.read()


def try_mutant(pytest: Pytest, tree: pathlib.Path, mutant: Mutant) -> Result:
    """The result of the tests of a mutant, which is applied to the tree and taken back."""
    path, start = tree / mutant.file, time.perf_counter()
    text = path.read_text(encoding='utf-8')
    path.write_text(text.replace(mutant.expression, mutant.replacement), encoding='utf-8')
    try:
        status, output = pytest.run(tree, mutant.tests, TIMEOUT, '-x')
    finally:
        path.write_text(text, encoding='utf-8')
    if status is not None and status > 2:  # pytest itself fails, or finds no quick test
        sys.exit(f'{mutant}: pytest ended with status {status}\n{output}')
    if status == 0:
        outcome = EXPLAINED if mutant.why else SURVIVED
    else:
        outcome = TIMED_OUT if status is None else KILLED
    return Result(mutant, outcome, time.perf_counter() - start)


def try_all(pytest: Pytest, folder: pathlib.Path, mutants: list[Mutant], jobs: int) -> list[Result]:
    """The results of all mutants, each printed when it is known."""
    trees, results = queue.SimpleQueue(), []
    for job in range(jobs):
        trees.put(copy_tree(folder / f'{job}'))

    def with_a_tree(mutant: Mutant) -> Result:
        tree = trees.get()
        try:
            return try_mutant(pytest, tree, mutant)
        finally:
            trees.put(tree)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tried = [pool.submit(with_a_tree, mutant) for mutant in mutants]
        try:
            for done in concurrent.futures.as_completed(tried):
                result = done.result()
                results.append(result)
                told = f'{result.outcome:>9} {result.seconds:6.1f} s  {result.mutant}'
                print(f'[{len(results)}/{len(mutants)}] {told}', flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            pytest.__exit__()
            raise
    return results


def summary(results: list[Result]) -> str:
    """Counts of outcomes for each folder, the slowest mutants, and those that survived."""
    counts = collections.Counter((r.mutant.folder, r.outcome) for r in results)
    folders = sorted({result.mutant.folder for result in results})
    lines = ['', ''.join([f'{"":12}', *(f'{outcome:>11}' for outcome in OUTCOMES)])]
    for folder in folders:
        lines.append(f'{folder:12}' + ''.join(f'{counts[folder, o]:11}' for o in OUTCOMES))
    totals = [sum(counts[folder, o] for folder in folders) for o in OUTCOMES]
    lines.append(f'{"all":12}' + ''.join(f'{total:11}' for total in totals))
    lines += ['', 'slowest:']
    for result in sorted(results, key=lambda result: -result.seconds)[:5]:
        lines.append(f'{result.seconds:8.1f} s  {result.mutant}')
    for outcome in (EXPLAINED, SURVIVED):
        found = [result.mutant for result in results if result.outcome == outcome]
        lines += ['', f'{outcome}:'] * bool(found)
        for mutant in found:
            lines.append(f'  {mutant}' + (f'\n    {mutant.why}' if mutant.why else ''))
    needless = [r.mutant for r in results if r.mutant.why and r.outcome != EXPLAINED]
    lines += [f'{mutant}: is noticed, so remove its explanation' for mutant in needless]
    return '\n'.join(lines)


def main() -> int:
    """Runs the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', default='', help='mutants with this text in their line')
    parser.add_argument('--jobs', type=int, default=1, help='mutants that are tried at a time')
    parser.add_argument('--list', action='store_true', help='print the mutants and try none')
    flags = parser.parse_args()
    mutants = [m for m in read_list() if flags.only in str(m) or flags.only in ' '.join(m.tests)]
    if reasons := stale(mutants):
        print('mutants.txt is stale:', *reasons, sep='\n  ')
        return 2
    if flags.list or not mutants:
        print(*mutants, f'{len(mutants)} mutants', sep='\n')
        return 0
    with tempfile.TemporaryDirectory() as folder, Pytest() as pytest:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        tree = copy_tree(pathlib.Path(folder) / 'unmutated')
        start = time.perf_counter()
        status, output = pytest.run(tree, tests, UNMUTATED_TIMEOUT)
        if status != 0:
            print(output, 'the tests must pass without any mutant', sep='\n')
            return 2
        seconds = time.perf_counter() - start
        print(f'without any mutant, {len(tests)} test files pass in {seconds:.0f} s', flush=True)
        results = try_all(pytest, pathlib.Path(folder), mutants, flags.jobs)
    print(summary(results))
    return int(any(result.outcome == SURVIVED for result in results))


if __name__ == '__main__':
    sys.exit(main())
