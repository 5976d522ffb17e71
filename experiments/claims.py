"""Tests the claims of a paper: runs the arms of a table over seeds, and tells what holds.

    python experiments/claims.py --table mer_r1 --seeds 5
    python experiments/claims.py --table all --seeds 5 --jobs 16
    python experiments/claims.py --table emo_r3 --seeds 5:15 --arms full,grpo   # seeds 5 to 14
    python experiments/claims.py --table all --seeds 5 --only_report --html claims.html
    python experiments/claims.py --table mer_r1 --seeds 3 --variant qwen2_5_omni_7b \
        -- --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

All arms of a seed continue one cold start. A run that is missing in RESULTS (--results) is made in
--runs, or continued there; a killed command resumes. --jobs runs are made side by side, cold
start, baseline and full method first. Flags after `--` are those of every run.
Differences are paired by clip; intervals, over seeds and clips, are those of claim_statistics.py.
The rule: a claim is confirmed if its interval is above 0, contradicted if it is below, otherwise
undecided at this number of seeds.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiments.claim_arms import ARMS, COLD_START  # noqa: E402
from experiments.claim_report import write_report  # noqa: E402
from experiments.claim_runs import RUNS, Plan, make_runs, read_results  # noqa: E402
from experiments.claim_tables import means, table  # noqa: E402


def seeds_of(text: str) -> range:
    """The seeds that '5' (0 to 4) or '5:15' (5 to 14) stands for."""
    first, _, end = text.rpartition(':')
    try:
        seeds = range(int(first or 0), int(end))
    except ValueError:
        seeds = range(0)
    if not seeds or seeds[0] < 0:
        raise argparse.ArgumentTypeError(
            f'{text!r}: must be a number from 1 on, or two, as in 5:15'
        )
    return seeds


def read_plans(arguments: list[str]) -> tuple[list[Plan], argparse.Namespace]:
    """The plans of a command line, one a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--table', choices=(*ARMS, 'all'), required=True)
    parser.add_argument(
        '--seeds', type=seeds_of, default='5', help='N: 0 to N - 1; A:B: A to B - 1'
    )
    parser.add_argument('--arms', default='', help='comma-separated, by default all of the table')
    parser.add_argument('--runs', type=pathlib.Path, default=RUNS, help='from the checkout on')
    parser.add_argument('--results', type=pathlib.Path, default=ROOT / 'experiments/claims.jsonl')
    parser.add_argument('--variant', default='', help='of every config, e.g. qwen2_5_omni_7b')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side')
    parser.add_argument('--only_report', action='store_true', help='run nothing')
    parser.add_argument(
        '--html', type=pathlib.Path, help='page of all results, with interference.jsonl beside them'
    )
    parser.add_argument('--commit', default='', help='of the code, where git cannot tell it')
    parser.add_argument('--hardware', default='', help='kept with each run, by default as found')
    parser.add_argument('extra', nargs='*', help='flags of every run, after --')
    asked = parser.parse_args(arguments)
    tables = tuple(ARMS) if asked.table == 'all' else (asked.table,)
    known = dict.fromkeys(name for table in tables for name in ARMS[table])
    names = asked.arms.split(',') if asked.arms else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f'--arms={",".join(unknown)}: must be of {", ".join(known)}')
    if asked.jobs < 1:
        parser.error(f'--jobs={asked.jobs}: must be at least 1')
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
    held = [line for line in read_results(asked.results) if line['seed'] in asked.seeds]
    for plan in plans:
        lines = [line for line in held if line['table'] == plan.table]
        print(f'{means(plan.table, lines)}\n\n{table(plan.table, lines)}\n')
    if asked.html:
        measured = read_results(asked.results.with_name('interference.jsonl'))
        write_report(asked.html, held, measured)
    for error in failed:
        print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
