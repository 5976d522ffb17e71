"""Tests the claims of a paper: runs the arms of a table over seeds, and tells what holds.

    python experiments/claims.py --table mer_r1 --seeds 5
    python experiments/claims.py --table emo_r3 --seeds 3 --arms full,grpo
    python experiments/claims.py --table mer_r1 --seeds 5 --only_report
    python experiments/claims.py --table mer_r1 --seeds 3 --variant qwen2_5_omni_7b \
        -- --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

All arms of a seed continue one cold start. A run that is missing in RESULTS (--results) is made in
--runs, or continued there; a killed command goes on. Flags after `--` are those of every run.
Differences are paired by clip; intervals, over seeds and clips, are those of claim_statistics.py.
The rule: a claim is confirmed if its interval is above 0, contradicted if it is below, otherwise
undecided at this number of seeds.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiments.claim_arms import ARMS, CLAIMS, COLD_START, Arm, Claim  # noqa: E402
from experiments.claim_statistics import (  # noqa: E402
    components,
    interval,
    seeds_needed,
    verdict,
)

PLACES = ('model.checkpoint', 'data.cache')  # keys that say where things lie
TAIL = 2000  # letters of a failed run's errors that are shown


@dataclasses.dataclass(frozen=True)
class Plan:
    """A table with the seeds and arms that are asked for, and the places of runs and results."""

    table: str
    seeds: int
    arms: tuple[str, ...]
    runs: pathlib.Path
    results: pathlib.Path
    variant: str
    extra: tuple[str, ...]


def workdir_of(plan: Plan, name: str, seed: int) -> pathlib.Path:
    """The folder of a run, from the checkout on."""
    return plan.runs / plan.table / f'seed_{seed}' / name


def command_of(plan: Plan, name: str, seed: int) -> list[str]:
    """The command line of a run; all but the cold start begin with that of their seed."""
    arm: Arm = ARMS[plan.table][name]
    config = arm.config + (f':{plan.variant}' if plan.variant else '')
    changes = [f'seed={seed}', *arm.changes]
    if name != COLD_START:
        start = workdir_of(plan, COLD_START, seed)
        changes += [f'model.checkpoint={start}', 'cold_start.steps=0']
    flags = [f'--config={config}', f'--workdir={workdir_of(plan, name, seed)}', *plan.extra]
    return ['-m', 'mer_jax.main', *flags, *(f'--config.{change}' for change in changes)]


def run(plan: Plan, name: str, seed: int) -> dict:
    """Makes or continues a run; its line of results. RuntimeError with the end of its errors."""
    workdir, arguments = workdir_of(plan, name, seed), command_of(plan, name, seed)
    began = time.time()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, errors='replace'
    )
    if done.returncode:
        raise RuntimeError(f'{workdir}: ended with {done.returncode}: …{done.stderr[-TAIL:]}')
    return {
        'table': plan.table,
        'arm': name,
        'seed': seed,
        'command': ' '.join(['python', *arguments]),
        'config': digest_of_config(workdir),
        'commit': commit(),
        'hardware': f'{platform.machine()}, {os.cpu_count()} CPUs',
        'python': platform.python_version(),
        'jax': version_of_jax(),
        'seconds': round(time.time() - began, 1),
        'clips': scores_of_clips(workdir),
    }


def digest_of_config(workdir: pathlib.Path) -> str:
    """A hash of the config of a run without the places of its files: 8 hexadecimal digits."""
    held = json.loads((ROOT / workdir / 'config.json').read_text())
    kept = {key: value for key, value in held.items() if key not in PLACES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def commit() -> str:
    """The commit of the code, with + if files of the package differ from it."""

    def git(*arguments):
        return subprocess.run(
            ['git', *arguments], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()

    changed = git('status', '--porcelain', '--', 'mer_jax', 'configs')
    return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')


def version_of_jax() -> str:
    """The version of JAX, which is not imported here: its threads would disturb the runs."""
    return importlib.metadata.version('jax')


def scores_of_clips(workdir: pathlib.Path) -> dict:
    """The numbers of each answer of the last evaluation: {answers: {score: [one a clip]}}, ids."""
    both = [ROOT / workdir / f'evaluation_{title}.json' for title in ('end', 'cold_start')]
    last = next(path for path in both if path.exists())
    rows = sorted(json.loads(last.read_text())['answers'], key=lambda row: row['id'])
    found: dict = {'ids': [row['id'] for row in rows]}
    for answers in ('fast', 'slow'):
        numbers = [
            key
            for key, value in rows[0][answers].items()
            if isinstance(value, int | float) and all(key in row[answers] for row in rows)
        ]
        found[answers] = {
            key: [round(float(row[answers][key]), 4) for row in rows] for key in numbers
        }
    return found


def read_results(path: pathlib.Path) -> list[dict]:
    """The lines of earlier commands; ValueError for a line that is none."""
    lines = []
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f'{path}:{number}: is no line of results ({error})') from None
    return lines


def missing(plan: Plan, lines: list[dict]) -> dict[int, list[str]]:
    """The arms of each seed without a line; the same command as now, wherever its runs lay."""
    held = {(line['table'], line['arm'], line['seed']) for line in lines}
    return {
        seed: [name for name in plan.arms if (plan.table, name, seed) not in held]
        for seed in range(plan.seeds)
    }


def make_runs(plan: Plan, jobs: int) -> list[str]:
    """Makes what is missing, `jobs` seeds side by side; what failed."""
    failed = []

    def of_seed(seed: int, wanted: list[str]):
        # The others begin with the policy of the cold start, so its folder must be there.
        start = ROOT / workdir_of(plan, COLD_START, seed)
        if wanted and COLD_START not in wanted and not start.exists():
            run(plan, COLD_START, seed)
        for name in wanted:
            print(f'seed {seed}: {name}', file=sys.stderr, flush=True)
            try:
                line = run(plan, name, seed)
            except RuntimeError as error:
                failed.append(str(error))
                if name == COLD_START:
                    return
                continue
            with plan.results.open('a') as file:
                file.write(json.dumps(line) + '\n')

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        todo = missing(plan, read_results(plan.results))
        list(pool.map(lambda item: of_seed(*item), todo.items()))
    return failed


def differences(claim: Claim, lines: list[dict]) -> tuple[list[np.ndarray], bool]:
    """The paired differences of a claim, f[clips] of each seed, and whether clips are the same.

    Seeds that lack one of its arms are left out.
    """
    by_arm = {(line['arm'], line['seed']): line['clips'] for line in lines}
    found, clips = [], []
    for seed in sorted({seed for _, seed in by_arm}):
        one, other = (by_arm.get((arm, seed)) for arm in (claim.arm, claim.over))
        if one is None or other is None:
            continue
        place = {name: i for i, name in enumerate(other['ids'])}
        common = [name for name in one['ids'] if name in place]
        mine = dict(zip(one['ids'], one[claim.answers][claim.score], strict=True))
        theirs = other[claim.over_answers][claim.score]
        found.append(np.array([mine[name] - theirs[place[name]] for name in common]))
        clips.append(common)
    return found, len(clips) > 1 and all(one == clips[0] for one in clips)


def judged(claim: Claim, lines: list[dict]) -> dict | None:
    """The interval and verdict of a claim, and the seeds that would decide; None without runs."""
    found, crossed = differences(claim, lines)
    if not found:
        return None
    told = interval(found, crossed)
    told['verdict'] = verdict(told['ci'])
    if len(found) > 1:
        told['seeds_needed'] = seeds_needed(components(found, crossed), told['mean'])
    return told


def table(plan: Plan, lines: list[dict]) -> str:
    """Claims with their differences, intervals and verdicts, as a table of Markdown."""
    rows = ['| claim | | published | seeds | difference | 95 % interval | verdict |']
    rows.append('|---|---|---|--:|--:|---|---|')
    for claim in CLAIMS[plan.table]:
        told = judged(claim, lines)
        if told is None:
            rows.append(f'| {claim.name} | {claim.text} | {claim.published} | 0 | | | not run |')
            continue
        low, high = told['ci']
        said = told['verdict'] if told['seeds'] > 1 else f'{told["verdict"]} for this seed'
        if told['verdict'] == 'undecided' and told['seeds'] > 1:
            needed = told['seeds_needed']
            said += f'; {needed} seeds would decide' if needed else '; no number of seeds would'
        rows.append(
            f'| {claim.name} | {claim.text} | {claim.published} | {told["seeds"]} | '
            f'{told["mean"]:+.4f} | [{low:+.4f}, {high:+.4f}] | {said} |'
        )
    return '\n'.join(rows)


def means(plan: Plan, lines: list[dict]) -> str:
    """Mean scores of each arm over its seeds, as a table of Markdown."""
    scores = ('recall', 'precision', 'f') if plan.table == 'mer_r1' else ('accuracy',)
    columns = [(answers, score) for answers in ('slow', 'fast') for score in scores]
    rows = ['| arm | seeds | ' + ' | '.join(f'{a} {s}' for a, s in columns) + ' |']
    rows.append('|---|--:|' + '--:|' * len(columns))
    for name in plan.arms:
        of_arm = [line['clips'] for line in lines if line['arm'] == name]
        if of_arm:
            cells = [np.mean([np.mean(one[a][s]) for one in of_arm]) for a, s in columns]
            rows.append(
                f'| {name} | {len(of_arm)} | ' + ' | '.join(f'{x:.3f}' for x in cells) + ' |'
            )
    return '\n'.join(rows)


def read_plan(arguments: list[str]) -> tuple[Plan, argparse.Namespace]:
    """The plan of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--table', choices=ARMS, required=True)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--arms', default='', help='comma-separated, by default all of the table')
    here = pathlib.Path('runs/claims')
    parser.add_argument('--runs', type=pathlib.Path, default=here, help='from the checkout on')
    parser.add_argument('--results', type=pathlib.Path, default=ROOT / 'experiments/claims.jsonl')
    parser.add_argument('--variant', default='', help='of every config, e.g. qwen2_5_omni_7b')
    parser.add_argument('--jobs', type=int, default=1, help='seeds side by side')
    parser.add_argument('--only_report', action='store_true', help='run nothing')
    parser.add_argument('extra', nargs='*', help='flags of every run, after --')
    asked = parser.parse_args(arguments)
    arms = ARMS[asked.table]
    names = tuple(asked.arms.split(',')) if asked.arms else tuple(arms)
    if unknown := [name for name in names if name not in arms]:
        parser.error(f'--arms={",".join(unknown)}: must be of {", ".join(arms)}')
    if asked.seeds < 1 or asked.jobs < 1:
        parser.error(f'--seeds={asked.seeds} --jobs={asked.jobs}: must be at least 1')
    names = (COLD_START, *(name for name in names if name != COLD_START))
    plan = Plan(
        table=asked.table,
        seeds=asked.seeds,
        arms=names,
        runs=asked.runs,
        results=asked.results,
        variant=asked.variant,
        extra=tuple(asked.extra),
    )
    return plan, asked


def main(arguments: list[str]) -> int:
    """Makes the runs and prints the tables; 1 if a run has failed."""
    plan, asked = read_plan(arguments)
    failed = [] if asked.only_report else make_runs(plan, asked.jobs)
    lines = [line for line in read_results(plan.results) if line['table'] == plan.table]
    lines = [line for line in lines if line['seed'] < plan.seeds]
    print(f'{means(plan, lines)}\n\n{table(plan, lines)}')
    for error in failed:
        print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
