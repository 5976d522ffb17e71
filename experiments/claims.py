"""Tests the claims of a paper: runs the arms of a table over seeds, and tells what holds.

    python experiments/claims.py --table mer_r1 --seeds 5
    python experiments/claims.py --table all --seeds 5 --jobs 16
    python experiments/claims.py --table emo_r3 --seeds 3 --arms full,grpo
    python experiments/claims.py --table mer_r1 --seeds 5 --only_report
    python experiments/claims.py --table mer_r1 --seeds 3 --variant qwen2_5_omni_7b \
        -- --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

All arms of a seed continue one cold start. A run that is missing in RESULTS (--results) is made in
--runs, or continued there; a killed command resumes. --jobs runs are made side by side, cold starts
first. Flags after `--` are those of every run.
Differences are paired by clip; intervals, over seeds and clips, are those of claim_statistics.py.
The rule: a claim is confirmed if its interval is above 0, contradicted if it is below, otherwise
undecided at this number of seeds.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiments.claim_arms import ARMS, CLAIMS, COLD_START, Claim  # noqa: E402
from experiments.claim_runs import Plan, make_runs, read_results  # noqa: E402
from experiments.claim_statistics import (  # noqa: E402
    components,
    interval,
    seeds_needed,
    verdict,
)


def clips_of(line: dict, domain: str) -> dict | None:
    """The scores of the clips of a domain in a line; '' is the domain of training."""
    return line.get('elsewhere', {}).get(domain) if domain else line['clips']


def differences(claim: Claim, lines: list[dict]) -> tuple[list[np.ndarray], bool]:
    """The paired differences of a claim, f[clips] of each seed, and whether clips are the same.

    Seeds that lack one of its arms are left out.
    """
    by_arm = {(line['arm'], line['seed']): clips_of(line, claim.domain) for line in lines}
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


def read_plans(arguments: list[str]) -> tuple[list[Plan], argparse.Namespace]:
    """The plans of a command line, one a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--table', choices=(*ARMS, 'all'), required=True)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--arms', default='', help='comma-separated, by default all of the table')
    here = pathlib.Path('runs/claims')
    parser.add_argument('--runs', type=pathlib.Path, default=here, help='from the checkout on')
    parser.add_argument('--results', type=pathlib.Path, default=ROOT / 'experiments/claims.jsonl')
    parser.add_argument('--variant', default='', help='of every config, e.g. qwen2_5_omni_7b')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side')
    parser.add_argument('--only_report', action='store_true', help='run nothing')
    parser.add_argument('--commit', default='', help='of the code, where git cannot tell it')
    parser.add_argument('--hardware', default='', help='kept with each run, by default as found')
    parser.add_argument('extra', nargs='*', help='flags of every run, after --')
    asked = parser.parse_args(arguments)
    tables = tuple(ARMS) if asked.table == 'all' else (asked.table,)
    known = dict.fromkeys(name for table in tables for name in ARMS[table])
    names = asked.arms.split(',') if asked.arms else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f'--arms={",".join(unknown)}: must be of {", ".join(known)}')
    if asked.seeds < 1 or asked.jobs < 1:
        parser.error(f'--seeds={asked.seeds} --jobs={asked.jobs}: must be at least 1')
    plans = [
        Plan(
            table=table,
            seeds=asked.seeds,
            arms=tuple(name for name in ARMS[table] if name in (COLD_START, *names)),
            runs=asked.runs,
            results=asked.results,
            variant=asked.variant,
            extra=tuple(asked.extra),
            commit=asked.commit,
            hardware=asked.hardware,
        )
        for table in tables
    ]
    return plans, asked


def main(arguments: list[str]) -> int:
    """Makes the runs and prints the tables; 1 if a run has failed."""
    plans, asked = read_plans(arguments)
    failed = [] if asked.only_report else make_runs(plans, asked.jobs)
    for plan in plans:
        lines = [line for line in read_results(plan.results) if line['table'] == plan.table]
        lines = [line for line in lines if line['seed'] < plan.seeds]
        print(f'{means(plan, lines)}\n\n{table(plan, lines)}\n')
    for error in failed:
        print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
