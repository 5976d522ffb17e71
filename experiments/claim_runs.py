"""Runs of the tables of claims.py: their command lines, which are missing, many side by side."""

import concurrent.futures
import dataclasses
import fcntl
import functools
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

from experiments.claim_arms import ARMS, COLD_START, MAIN, OTHER_DOMAIN, Arm
from experiments.claim_lines import line_of

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNS = pathlib.Path('runs/claims')  # from the checkout on, unless the caller says otherwise
TAIL = 2000  # letters of a failed run's errors that are shown
FIRST = concurrent.futures.FIRST_COMPLETED
CACHE, SMALLEST = 'JAX_COMPILATION_CACHE_DIR', 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'
DEVICES = 'import jax; d = jax.devices(); print(f"{len(d)} x {d[0].device_kind}")'


@dataclasses.dataclass(frozen=True)
class Plan:
    """A table with the seeds and arms that are asked for, and the places of runs and results."""

    table: str
    seeds: range
    arms: tuple[str, ...]
    runs: pathlib.Path
    results: pathlib.Path
    variant: str = ''
    extra: tuple[str, ...] = ()
    commit: str = ''  # '': that of the checkout
    hardware: str = ''  # '': that of this machine


@dataclasses.dataclass(frozen=True)
class Task:
    """A run that a plan lacks."""

    plan: Plan
    arm: str
    seed: int

    @property
    def told(self) -> str:
        """The run in words."""
        return f'{self.plan.table}, seed {self.seed}: {self.arm}'


def workdir_of(plan: Plan, name: str, seed: int) -> pathlib.Path:
    """The folder of a run, from the checkout on."""
    return plan.runs / plan.table / f'seed_{seed}' / name


def command_of(plan: Plan, name: str, seed: int) -> list[str]:
    """The command line of a run; all but the cold start begin with that of their seed."""
    arm: Arm = ARMS[plan.table][name]
    changes = [f'seed={seed}']
    if name != COLD_START:
        start = workdir_of(plan, COLD_START, seed)
        changes += [f'model.checkpoint={start}', 'cold_start.steps=0']
    return command(plan, arm, workdir_of(plan, name, seed), *changes, *arm.changes)


def command(plan: Plan, arm: Arm, workdir: pathlib.Path, *changes: str) -> list[str]:
    """The arguments of Python for a run of an arm's config with these changes of it."""
    config = arm.config + (f':{plan.variant}' if plan.variant else '')
    flags = [f'--config={config}', f'--workdir={workdir}', *plan.extra]
    return ['-m', 'mer_jax.main', *flags, *(f'--config.{change}' for change in changes)]


def printed_command(plan: Plan, name: str, seed: int) -> str:
    """The command line of a run as results keep it: with folders of any machine."""
    return ' '.join(['python', *command_of(dataclasses.replace(plan, runs=RUNS), name, seed)])


def command_elsewhere(plan: Plan, name: str, seed: int) -> list[str]:
    """The command line that evaluates a run on the other domain of the stage; [] without one."""
    if plan.table not in OTHER_DOMAIN or any('data.manifest' in flag for flag in plan.extra):
        return []
    arm, workdir = ARMS[plan.table][name], workdir_of(plan, name, seed)
    changes = [f'seed={seed}', f'model.checkpoint={workdir}', 'steps=0', 'cold_start.steps=0']
    changes += [change for change in arm.changes if 'steps=' not in change]
    away = workdir.with_name(f'{name}_{OTHER_DOMAIN[plan.table].rpartition("=")[2]}')
    return command(plan, arm, away, *changes, OTHER_DOMAIN[plan.table])


def run(plan: Plan, name: str, seed: int) -> dict:
    """Makes or continues a run; its line of results. RuntimeError with the end of its errors."""
    began = time.time()
    elsewhere, folders = command_elsewhere(plan, name, seed), {'': workdir_of(plan, name, seed)}
    call(plan, command_of(plan, name, seed), folders[''])
    if elsewhere:
        folders['away'] = pathlib.Path(elsewhere[3].removeprefix('--workdir='))
        call(plan, elsewhere, folders['away'])
    return {
        'table': plan.table,
        'arm': name,
        'seed': seed,
        'command': printed_command(plan, name, seed),
        'commit': plan.commit or commit(),
        'hardware': plan.hardware or hardware(),
        'seconds': round(time.time() - began, 1),
    } | line_of(plan.table, {domain: ROOT / folder for domain, folder in folders.items()})


def call(plan: Plan, arguments: list[str], workdir: pathlib.Path) -> None:
    """Calls Python with these arguments. RuntimeError with the end of its errors.

    All runs share what they compile, unless the caller has chosen a folder for that.
    """
    cache = ROOT / plan.runs / 'compiled' / platform.node()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={CACHE: str(cache), SMALLEST: '0.2'} | os.environ,
        capture_output=True,
        text=True,
        errors='replace',
    )
    if done.returncode:
        raise RuntimeError(f'{workdir}: ended with {done.returncode}: …{done.stderr[-TAIL:]}')


@functools.cache
def commit() -> str:
    """The commit of the code, with + if files of the package differ from it; or 'unknown'."""

    def git(*arguments):
        return subprocess.run(
            ['git', *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git('status', '--porcelain', '--', 'mer_jax', 'configs')
        return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


@functools.cache
def hardware() -> str:
    """The devices that JAX finds, in a process of its own, and the processor of this machine.

    JAX is not imported here: its threads would disturb the runs.
    """
    found = subprocess.run([sys.executable, '-c', DEVICES], capture_output=True, text=True)
    about = pathlib.Path('/proc/cpuinfo')
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(': ')[2] for line in lines if line.startswith('model name')]
    processor = (names or [platform.machine()])[0]
    return f'{found.stdout.strip() or "unknown devices"}, {os.cpu_count()} CPUs ({processor})'


def read_results(path: pathlib.Path) -> list[dict]:
    """The lines of earlier commands; ValueError for a line that is none."""
    lines = []
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f'{path}:{number}: is no line of results ({error})') from None
    return lines


def append_line(path: pathlib.Path, line: dict) -> None:
    """Appends a line of results, whole even if several commands append at a time."""
    with path.open('a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line, separators=(',', ':')) + '\n')


def missing(plan: Plan, lines: list[dict]) -> list[Task]:
    """The runs without a line, in the order of `turn`."""
    held = {(line['table'], line['arm'], line['seed']) for line in lines}
    tasks = [
        Task(plan, name, seed)
        for name in plan.arms
        for seed in plan.seeds
        if (plan.table, name, seed) not in held
    ]
    return sorted(tasks, key=turn)


def turn(task: Task) -> tuple:
    """The place of a run in the queue: the main arms seed by seed, then the others arm by arm.

    So a command that is stopped early has decided most of what it could about the main claim.
    """
    place = list(ARMS[task.plan.table]).index(task.arm)
    return (0, task.seed, place) if place < MAIN else (1, place, task.seed)


def make_runs(plans: list[Plan], jobs: int) -> list[str]:
    """Makes what is missing, `jobs` runs side by side; what failed.

    A cold start that is needed and whose folder has gone is made again, without a second line. An
    arm waits for the cold start of its seed alone.
    """
    todo = [task for plan in plans for task in missing(plan, read_results(plan.results))]
    begins = list(dict.fromkeys(Task(task.plan, COLD_START, task.seed) for task in todo))
    there = {start for start in begins if start not in todo and is_finished(start)}
    again = [start for start in begins if start not in todo and start not in there]
    queue = again + sorted(todo, key=turn)
    failed, running = [], {}

    def is_ready(task: Task) -> bool:
        return task.arm == COLD_START or Task(task.plan, COLD_START, task.seed) in there

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        while True:
            for task in list(filter(is_ready, queue))[: jobs - len(running)]:
                queue.remove(task)
                print(task.told, file=sys.stderr, flush=True)
                running[pool.submit(run, task.plan, task.arm, task.seed)] = task
            if not running:
                return failed
            for future in concurrent.futures.wait(running, return_when=FIRST)[0]:
                task = running.pop(future)
                try:
                    line = future.result()
                except RuntimeError as error:
                    failed.append(str(error))
                    continue
                there.add(task)
                if task not in again:
                    append_line(task.plan.results, line)


def is_finished(task: Task) -> bool:
    """Whether the folder of a run holds its results."""
    return (ROOT / workdir_of(task.plan, task.arm, task.seed) / 'results.json').exists()
