"""Seconds of a training step in two checkouts, timed in turns at one sitting.

    python experiments/side_by_side.py --before CHECKOUT
    python experiments/side_by_side.py --before CHECKOUT --workload text --checkpoint DIR
    python experiments/side_by_side.py --before CHECKOUT --workload image --checkpoint DIR

Each pair runs experiments/speed.py of CHECKOUT, then that of this checkout, each in a process of
its own that imports its own mer_jax. Compare medians over several pairs: one pair on a machine with
other work says little. DIR is made by experiments/peers/make_checkpoint.py. More flags of speed.py
follow `--`, for both: `-- --prompts 2 --new 16`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

STAGES = 'rollout', 'learn'  # their sum is a step; older checkouts time no whole one
PARTS = 'prefill', 'grow', 'echo', 'score', 'update'
SIZES = '--prompts', '4', '--group', '8', '--new', '64'
WORKLOADS = {  # flags of speed.py; text and image need --checkpoint
    'stage': ('--preset', 'stage'),
    'text': ('--text', '512', *SIZES),
    'image': ('--image', '448', '--text', '64', *SIZES),
}


class Failed(Exception):
    """A checkout could not be timed, or the two cannot be compared."""


def speed_line(checkout: pathlib.Path, flags: list[str]) -> dict:
    """The line of a checkout's own speed.py; Failed with the end of its messages otherwise."""
    command = [sys.executable, str(checkout / 'experiments' / 'speed.py'), *flags]
    environment = os.environ | {'PYTHONPATH': str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f'{" ".join(command)}: exit status {done.returncode}\n{done.stderr[-4000:]}')
    return parse_line(done.stdout, checkout)


def parse_line(output: str, checkout: pathlib.Path) -> dict:
    """The last line of an output as JSON; Failed if it does not hold the seconds of a step."""
    last = output.strip().rpartition('\n')[2]
    try:
        line = json.loads(last)
        seconds(line, *STAGES, *PARTS)
        line['workload'].keys(), line['machine']['matmul_gflop_per_second']
    except (ValueError, TypeError, KeyError) as error:
        raise Failed(
            f'{checkout}: the last line of its speed.py must be JSON with workload, machine '
            f'and the seconds of {", ".join((*STAGES, *PARTS))} under "shared" ({error!r}); '
            f'it is {last[:200]!r}. Take a checkout whose speed.py prints such a line'
        ) from None
    return line


def seconds(line: dict, *names: str) -> float:
    """The sum of the seconds of these parts, with shared prompts."""
    return sum(line['shared'][name]['seconds'] for name in names)


def check_alike(before: dict, now: dict) -> None:
    """Failed unless both lines are of the same sizes on the same kind of machine."""
    for section, keys in (
        ('workload', before['workload']),
        ('machine', ('device', 'cores', 'jax')),
    ):
        for key in keys:
            one, other = before[section].get(key), now[section].get(key)
            if one != other:
                raise Failed(
                    f'{section}.{key}={one} before, {other} now: the two lines cannot be compared; '
                    'give both the same sizes with flags of speed.py after --'
                )


def pair_text(number: int, before: dict, now: dict) -> str:
    """One line: the seconds of a step, the matmul peak measured in that process, the ratio."""
    sides = ', '.join(
        f'{name} {seconds(line, *STAGES):.4g} s '
        f'({line["machine"]["matmul_gflop_per_second"]:.4g} GFLOP/s)'
        for name, line in (('before', before), ('now', now))
    )
    ratio = seconds(now, *STAGES) / seconds(before, *STAGES)
    return f'pair {number}: {sides}, now/before {ratio:.3f}'


def summary(pairs: list[tuple[dict, dict]]) -> dict[str, dict[str, float]]:
    """Median, least and largest ratio now/before over pairs, of the step and of its parts."""
    rows = {}
    for name, parts in {'step': STAGES, **{part: (part,) for part in (*STAGES, *PARTS)}}.items():
        ratios = [seconds(now, *parts) / seconds(before, *parts) for before, now in pairs]
        rows[name] = {
            'median': statistics.median(ratios),
            'least': min(ratios),
            'largest': max(ratios),
        }
    return rows


def summary_text(rows: dict[str, dict[str, float]], count: int) -> str:
    """A line for the step and each part."""
    lines = [f'now/before, median (least to largest) of pairs: {count}']
    for name, row in rows.items():
        lines.append(f'{name:8} {row["median"]:.3f} ({row["least"]:.3f} to {row["largest"]:.3f})')
    return '\n'.join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; SystemExit with a message for values that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    here = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument(
        '--before', type=pathlib.Path, required=True, help='the checkout to compare'
    )
    parser.add_argument('--now', type=pathlib.Path, default=here, help='instead of this checkout')
    parser.add_argument('--workload', choices=WORKLOADS, default='stage')
    parser.add_argument('--checkpoint', type=pathlib.Path, help='a Hugging Face folder')
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument('--repeats', type=int, default=5, help='of a process; it takes the median')
    parser.add_argument('more', nargs='*', help='after --: more flags of speed.py, for both')
    asked = parser.parse_args(arguments)
    for name in ('pairs', 'repeats'):
        if vars(asked)[name] < 1:
            parser.error(f'--{name}={vars(asked)[name]}: must be at least 1')
    for name in ('before', 'now'):
        folder = vars(asked)[name]
        if not (folder / 'experiments' / 'speed.py').is_file():
            parser.error(f'--{name}={folder}: must be a checkout that has experiments/speed.py')
    needed = asked.workload != 'stage'
    if needed and not (asked.checkpoint and (asked.checkpoint / 'config.json').is_file()):
        parser.error(
            f'--workload={asked.workload} with --checkpoint={asked.checkpoint}: must be a Hugging '
            'Face folder; make one with python experiments/peers/make_checkpoint.py DIR'
        )
    if asked.checkpoint and not needed:
        parser.error('--workload=stage takes no --checkpoint; leave it out, or take text or image')
    return asked


def flags_of(asked: argparse.Namespace) -> list[str]:
    """The flags of both speed.py."""
    flags = [*WORKLOADS[asked.workload], '--repeats', str(asked.repeats)]
    if asked.checkpoint:
        flags += ['--checkpoint', str(asked.checkpoint.resolve())]
    return flags + asked.more


def main() -> None:
    asked = parse()
    flags, pairs = flags_of(asked), []
    print(f'speed.py {" ".join(flags)}', flush=True)
    try:
        for number in range(1, asked.pairs + 1):
            before, now = (speed_line(side.resolve(), flags) for side in (asked.before, asked.now))
            check_alike(before, now)
            pairs.append((before, now))
            print(pair_text(number, before, now), flush=True)
    except Failed as failure:
        raise SystemExit(f'side_by_side: {failure}') from None
    print(summary_text(summary(pairs), len(pairs)))


if __name__ == '__main__':
    main()
