"""Seconds of a training step and of its parts, against the peaks of the machine.

    python experiments/speed.py --preset stage
    python experiments/speed.py --preset text --copied
    python experiments/speed.py --checkpoint DIR --image 448 --text 64 --prompts 4 --group 8

One JSON line on stdout. `--copied` also times the same branches with a copy of the prompt for each,
in turns with the shared ones, and compares the measured gain with that of the FLOPs.
"""

import argparse
import functools
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from experiments.flops import grow_bytes, part_flops
from experiments.timed_calls import Bench, Side, bind, make_bench
from experiments.workloads import (
    PRESETS,
    Workload,
    checkpoint_workload,
    copied_reading,
    random_reading,
    stage_config,
)
from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.decoder import Decoder
from mer_jax.models.omni import Omni, make_omni
from mer_jax.run.records import Compilations

STAGES = {'rollout': ('prefill', 'grow'), 'learn': ('score', 'echo', 'update')}
STAGES |= {'step': STAGES['rollout'] + STAGES['learn']}


def machine_calls() -> dict[str, Callable]:
    """A product of two 2048 x 2048 matrices, and a pass over 64 MiB that is read and written.

    The pass is in place: fresh memory would measure the page faults of the operating system.
    """
    square = jnp.full((2048, 2048), 0.5)
    multiply = jax.jit(jnp.matmul)
    negate = jax.jit(jnp.negative, donate_argnums=0)
    held = [jnp.ones(2**24)]

    def sweep():
        held[0] = negate(held[0])
        return held[0]

    return {'matmul': functools.partial(multiply, square, square), 'sweep': sweep}


def seconds_in_turns(sides: dict[str, dict[str, Callable]], repeats: int):
    """Seconds f[repeats] of each call of each side; sides take turns, so they share the noise."""
    seconds = {side: {name: [] for name in calls} for side, calls in sides.items()}
    for _ in range(repeats):
        for side, calls in sides.items():
            for name, call in calls.items():
                start = time.perf_counter()
                jax.block_until_ready(call())
                seconds[side][name].append(time.perf_counter() - start)
    return {
        side: {name: np.array(taken) for name, taken in calls.items()}
        for side, calls in seconds.items()
    }


def figures(work: Workload, decoder: Decoder, seconds, tokens: int, peaks) -> dict[str, dict]:
    """Median seconds, tokens/s and FLOP/s of each part and stage, and their shares of the peaks.

    `step` is timed as a whole, reading by the host included. `rollout` is the sum of its parts, and
    `update` is `learn` less its other parts. Tokens are those of the branches, of the prompt in
    prefill.
    """
    update = seconds['learn'] - seconds['score'] - seconds['echo']
    seconds = seconds | {'update': update, 'rollout': seconds['prefill'] + seconds['grow']}
    gflop = {name: count / 1e9 for name, count in part_flops(work).items()}
    gflop |= {stage: sum(gflop[part] for part in parts) for stage, parts in STAGES.items()}
    rows = {}
    for name, count in gflop.items():
        median = float(np.median(seconds[name]))
        rows[name] = {
            'seconds': median,
            'tokens_per_second': tokens[name == 'prefill'] / median,
            'gflop': count,
            'of_matmul_peak': count / median / peaks['matmul_gflop_per_second'],
        }
    moved = grow_bytes(work, decoder) / 1e9
    share = moved / rows['grow']['seconds'] / peaks['bandwidth_gbyte_per_second']
    rows['grow'] |= {'gbyte': moved, 'of_bandwidth': share}
    rows['step']['read_seconds'] = float(np.median(seconds['read']))
    return rows


def gain(shared: dict[str, dict], copied: dict[str, dict]) -> dict[str, dict]:
    """Seconds with copied prompts over those with shared ones, the same of FLOPs, and their ratio.

    They are called measured, promised and reached.
    """
    rows = {}
    for name, one in shared.items():
        measured = copied[name]['seconds'] / one['seconds']
        promised = copied[name]['gflop'] / one['gflop']
        rows[name] = {'measured': measured, 'promised': promised, 'reached': measured / promised}
    return rows


def open_policy(work: Workload, checkpoint: pathlib.Path | None, seed: int) -> Omni:
    """The policy of a checkpoint, or one of random weights."""
    make = jax.jit(functools.partial(make_omni, spec=work.spec))
    if checkpoint is None:
        return make(jax.random.key(seed))
    return load_omni(checkpoint, jax.eval_shape(make, jax.random.key(seed)))


def bind_sides(work: Workload, bench: Bench, copied: bool, seed: int) -> dict[str, Side]:
    """The workload, and beside it the same branches on copied prompts if `copied`."""
    reading = random_reading(work, seed)
    sides = {'shared': bind(work, bench, reading)}
    if copied:
        branches = jax.tree.map(
            lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), sides['shared'].branches
        )
        sides['copied'] = bind(work.copied(), bench, copied_reading(reading), branches)
    return sides


def measure(
    work: Workload, copied: bool, repeats: int, seed: int, checkpoint: pathlib.Path | None = None
) -> dict:
    """The printed line."""
    compilations = Compilations()
    policy = open_policy(work, checkpoint, seed)
    bench = make_bench(work, stage_config(seed), policy)
    with jax.set_mesh(bench.mesh):
        sides = bind_sides(work, bench, copied, seed)
        calls = {'machine': machine_calls()} | {name: side.calls for name, side in sides.items()}
        print('compiles and warms up', file=sys.stderr)
        seconds_in_turns(calls, 1)
        before = compilations.count
        print(f'times {repeats} repeats', file=sys.stderr)
        seconds = seconds_in_turns(calls, repeats)
        after = compilations.count
        apart = {'logp_difference': score_difference(sides)} if copied else {}
    machine = describe_machine(seconds['machine'])
    tokens = work.prompts.token.shape[0] * work.g * (work.s - 1), int(work.prompts.mask.sum())
    rows = {
        name: figures(side.work, policy.decoder, seconds[name], tokens, machine)
        for name, side in sides.items()
    }
    if copied:
        rows['gain'] = gain(rows['shared'], rows['copied'])
    size = describe_workload(work, policy)
    counts = {'compilations_before': before, 'compilations_after': after}
    head = {'workload': size, 'machine': machine}
    return head | rows | apart | counts | {'peak_gib': peak_gib()}


def score_difference(sides: dict[str, Side]) -> float:
    """The largest difference between the log-probabilities that shared and copied prompts give."""
    shared, copied = (side.calls['score']() for side in sides.values())
    return float(jnp.abs(shared - copied.reshape(shared.shape)).max())


def describe_machine(seconds: dict[str, np.ndarray]) -> dict:
    """The device and its peaks, measured in turns with the parts."""
    return {
        'device': jax.devices()[0].device_kind,
        'cores': os.cpu_count(),
        'jax': jax.__version__,
        'matmul_gflop_per_second': 2 * 2048**3 / 1e9 / float(np.median(seconds['matmul'])),
        'bandwidth_gbyte_per_second': 8 * 2**24 / 1e9 / float(np.median(seconds['sweep'])),
    }


def describe_workload(work: Workload, policy) -> dict:
    """The sizes of a workload under their one-letter names."""
    b, t = work.prompts.token.shape
    return {
        'weights': sum(leaf.size for leaf in jax.tree.leaves(policy)),
        'b': b,
        'g': work.g,
        't': t,
        's': work.s,
        'patches': list(work.prompts.media.patch.shape),
        'sound': list(work.prompts.media.sound.shape),
        'remat': work.spec.remat,
    }


def peak_gib() -> float:
    """The most memory that the process has held; the system counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def rounded(line: dict) -> dict:
    """The line with its floats to four significant digits."""
    return json.loads(json.dumps(line), parse_float=lambda digits: float(f'{float(digits):.4g}'))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; SystemExit with a message for values that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--preset', choices=PRESETS, default='stage')
    parser.add_argument('--checkpoint', type=pathlib.Path, help='a Hugging Face folder instead')
    parser.add_argument('--image', type=int, default=0, help='side of an image, for a checkpoint')
    parser.add_argument('--text', type=int, default=512, help='text tokens, for a checkpoint')
    parser.add_argument('--copied', action='store_true', help='time copied prompts as well')
    parser.add_argument('--repeats', type=int, default=5, help='the median of these is reported')
    parser.add_argument('--prompts', type=int, help='prompts of a step instead of the preset')
    parser.add_argument('--group', type=int, help='branches of a prompt')
    parser.add_argument('--new', type=int, help='tokens that a branch grows')
    parser.add_argument('--seed', type=int, default=0)
    flags = parser.parse_args(arguments)
    for name in ('repeats', 'prompts', 'group', 'new', 'text'):
        value = vars(flags)[name]
        if value is not None and value < 1:
            parser.error(f'--{name}={value}: must be at least 1')
    if not 0 <= flags.seed < 2**31:
        parser.error(f'--seed={flags.seed}: must be from 0 to 2**31 - 1')
    if flags.image < 0:
        parser.error(f'--image={flags.image}: must be a side in pixels, or 0 for none')
    if flags.copied and flags.group == 1:
        parser.error(
            '--group=1 with --copied: one branch shares its prompt with none; take 2 or more'
        )
    return flags


def main() -> None:
    flags = parse()
    sizes, folder = (flags.seed, flags.prompts, flags.group, flags.new), flags.checkpoint
    name = {'preset': flags.preset} if folder is None else {'checkpoint': folder.name}
    try:
        if folder is None:
            work = PRESETS[flags.preset](*sizes)
        else:
            work = checkpoint_workload(folder, *sizes, flags.image, flags.text)
        line = measure(work, flags.copied, flags.repeats, flags.seed, folder)
    except ValueError as error:
        raise SystemExit(f'speed: {error}') from None
    print(json.dumps(rounded(name | line)))


if __name__ == '__main__':
    main()
