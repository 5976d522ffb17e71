"""Kills a small run again and again; each run must end like one that was never killed.

    python experiments/torture.py --kills 100 --folder /tmp/torture

A run on the embedded stage is killed at random moments: at any time, or inside a save, a
validation, an evaluation, or the report. SIGKILL, SIGTERM, and SIGSTOP with SIGCONT or SIGKILL
behind it take turns at random. The same command then starts it again until it ends. Its records,
validations, answers, scores, parameters, moments and exported weights must be those of the
uninterrupted run, bit for bit. Prints a table, and ends with status 1 if a run differs.

Started again with the same folder it continues; --seed chooses signals and moments.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tests'))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import forks
import programs

from experiments.killed_runs import differences, flags, phase_of, table

SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGSTOP, SIGCONT', 'SIGSTOP, SIGKILL')
AIMS = ('any', 'any', 'any', 'save', 'save', 'checksums', 'validation', 'evaluation', 'report')
LONGEST = {'save': 0.1, 'checksums': 0.01, 'validation': 0.3, 'evaluation': 0.5, 'report': 0.3}
LOOK = 0.004  # seconds between two looks at the workdir
AT_MOST = 600  # seconds of a start
SEVERAL = (  # updates on a rollout, of all weights, each in pieces
    'prompts_per_step=4',
    'learn.minibatches=2',
    'learn.epochs=2',
    'learn.microbatch=1',
    'learn.train=all',
    'learn.kl=0.0',
    'every.keep=1',
)
GOOD = {0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}  # exit status


def start(folder: pathlib.Path, workdir: pathlib.Path) -> forks.Fork:
    """Starts or resumes the run in this workdir."""
    given = flags(folder, workdir, *SEVERAL)
    return forks.Fork('mer_jax.main', *given, variables=programs.environment())


def uninterrupted(folder: pathlib.Path, twice: bool) -> float:
    """Makes the run that is not killed; its seconds.

    A second one, before it, must be equal, else a difference of a killed run would say nothing.
    """
    for name in ('first', 'whole') if twice else ('whole',):
        if (folder / name / 'results.json').exists():
            continue
        shutil.rmtree(folder / name, ignore_errors=True)
        began = time.monotonic()
        run = start(folder, folder / name)
        if run.wait(AT_MOST):
            sys.exit(f'the run that is not killed has failed: {run.stderr}')
        append(folder / f'{name}.jsonl', {'seconds': time.monotonic() - began})
    if twice and (found := differences(folder / 'first', folder / 'whole')):
        sys.exit(f'two runs that are not killed differ: {found}')
    return read(folder / 'whole.jsonl')[-1]['seconds']


def kill_until_it_ends(folder: pathlib.Path, number: int, kills: int, seed: int, seconds: float):
    """Starts run `number` until it ends, and kills it while fewer than `kills` were made."""
    workdir = folder / f'run_{number}'
    while True:
        began = time.time()
        run = start(folder, workdir)
        while run.poll() is None:
            made = read(folder / 'kills.jsonl')
            if len(made) >= kills:
                run.wait(AT_MOST)
            elif kill := one_kill(run, workdir, began, chance_of(seed, made, number), seconds):
                append(folder / 'kills.jsonl', {'run': number} | kill)
        if run.poll() not in GOOD:
            sys.exit(f'{workdir}: exit status {run.poll()}: {run.stderr}')
        if run.poll() == 0:
            return


def chance_of(seed: int, kills: list[dict], number: int) -> random.Random:
    """The chance that decides the next kill; another one if a whole run ended before its moment.

    The machine may be quicker than it was, and the moment never come.
    """
    missed = max(number - kills[-1]['run'] - 1 if kills else number, 0)
    return random.Random(f'{seed} {len(kills)}' + f' {missed}' * (missed > 0))


def one_kill(run, workdir: pathlib.Path, began: float, chance: random.Random, seconds: float):
    """Sends a signal at a random moment; where and when it hit, or None if the run ended before."""
    name, aim = chance.choice(SIGNALS), chance.choice(AIMS)
    rest, pause = chance.random(), chance.uniform(0.2, 2)
    moment = rest * seconds if aim == 'any' else 0.0
    while time.time() - began < moment or aim not in ('any', phase_of(workdir, began)):
        if run.poll() is not None:
            return None
        time.sleep(LOOK)
    time.sleep(rest * LONGEST.get(aim, 0.0))
    run.send_signal(signal.SIGSTOP)  # to see where the signal hits
    time.sleep(0.01)
    if run.poll() is not None:
        return None
    hit, after = phase_of(workdir, began), time.time() - began
    if name.startswith('SIGSTOP'):
        time.sleep(pause)
    sent = time.monotonic()
    if name == 'SIGTERM':
        run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGKILL if name.endswith('SIGKILL') else signal.SIGCONT)
    if name != 'SIGSTOP, SIGCONT':
        run.wait(AT_MOST)
    ended = time.monotonic() - sent
    kill = {'signal': name, 'aim': aim, 'hit': hit, 'after': round(after, 3)}
    return kill | {'ended': round(ended, 3), 'status': run.poll()}


def torture(
    folder: pathlib.Path, kills: int, seed: int, twice: bool = True
) -> tuple[list[dict], list[dict]]:
    """Makes so many kills; a line for each of them, and one for each run with its differences."""
    seconds = uninterrupted(folder, twice)
    while True:
        runs = read(folder / 'runs.jsonl')
        if runs and len(read(folder / 'kills.jsonl')) >= kills:
            return read(folder / 'kills.jsonl'), runs
        number = len(runs)
        kill_until_it_ends(folder, number, kills, seed, seconds)
        found = differences(folder / 'whole', folder / f'run_{number}')
        append(folder / 'runs.jsonl', {'run': number, 'differences': found})
        if not found:
            shutil.rmtree(folder / f'run_{number}')


def append(path: pathlib.Path, line: dict) -> None:
    """Appends a line to a file of JSON lines."""
    with path.open('a') as file:
        file.write(json.dumps(line) + '\n')


def read(path: pathlib.Path) -> list[dict]:
    """The lines of a file of JSON lines; none without the file."""
    return [json.loads(line) for line in path.open()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=pathlib.Path, required=True, help='of all runs')
    asked = parser.parse_args()
    if asked.kills < 1:
        parser.error(f'--kills={asked.kills}: must be at least 1')
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'compiled'))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    kills, runs = torture(folder, asked.kills, asked.seed)
    print(table(kills, runs))
    if any(run['differences'] for run in runs):
        sys.exit('\n'.join(json.dumps(run) for run in runs if run['differences']))


if __name__ == '__main__':
    main()
