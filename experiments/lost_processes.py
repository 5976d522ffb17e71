"""Loses processes of a run of four: how soon the others end, and whether restarts agree.

    python experiments/lost_processes.py --folder /tmp/lost

Two of four processes are killed by SIGKILL in the middle of training. The run is then continued by
four, by two and by one process; each must end with the records of a run that lost none. Then
single processes are killed or stopped, also the first one, to which all others are connected.
Prints a line of JSON a fault and a restart; ends with status 1 if a process lasts 20 seconds longer
than the lost one, or a figure of the records differs by more than a millionth. Of a figure that is
the sum of terms that nearly cancel, such as the loss, this is a millionth of the terms.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tests'))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import forks

from experiments.killed_runs import flags
from mer_jax.run.records import read_records

PROCESSES = 4
CHANGES = ('prompts_per_step=4', 'cold_start.prompts_per_step=4', 'evaluate.batch=4')
LONG = ('cold_start.steps=100000', 'every.save=100000')
AT_MOST = 20  # seconds until the others have ended
CLOSE = 1e-6  # of a figure, or of the terms that it sums
OF_ROUNDING = ('drift', 'drift_largest', 'ratio_spread')  # figures that are rounding alone, 1e-7
FAULTS = (  # the first process and another one, in mid-step and while all start
    ('SIGSTOP', 2, 'training'),
    ('SIGKILL', 0, 'training'),
    ('SIGSTOP', 0, 'training'),
    ('SIGSTOP', 1, 'start'),
    ('SIGKILL', 3, 'start'),
)


def start(folder: pathlib.Path, workdir: pathlib.Path, processes: int, *changes: str) -> list:
    """Starts a run of so many processes, each with a device of its own."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    given = flags(folder, workdir, *CHANGES, *changes)
    joined = ['--distributed', f'--coordinator=127.0.0.1:{port}', f'--processes={processes}']
    variables = os.environ | {'XLA_FLAGS': '--xla_force_host_platform_device_count=1'}
    return [
        forks.Fork('mer_jax.main', *given, *more, variables=variables)
        for more in [[]] * (processes == 1)
        or [[*joined, f'--process={number}'] for number in range(processes)]
    ]


def finish(run: list) -> None:
    """Waits until a run has ended; ends this program if it failed."""
    if any([process.wait() for process in run]):
        sys.exit('\n'.join(process.stderr for process in run))


def wait_for(run: list, reached) -> None:
    """Waits until a run has reached a point; ends this program if it ended before."""
    while not reached():
        if any(process.poll() is not None for process in run):
            sys.exit('\n'.join(process.stderr for process in run))
        time.sleep(0.01)


def lose(run: list, number: int, *lost: int) -> dict:
    """Sends a signal to some processes; when each of the others ended, and its last line."""
    for process in lost:
        run[process].send_signal(number)
    sent, others = time.monotonic(), [k for k in range(len(run)) if k not in lost]
    ended = {}
    while len(ended) < len(others) and time.monotonic() - sent < 10 * AT_MOST:
        now = [k for k in others if k not in ended and run[k].poll() is not None]
        ended |= {k: round(time.monotonic() - sent, 1) for k in now}
        time.sleep(0.02)
    for process in run:
        process.send_signal(signal.SIGKILL)
    said = {k: (run[k].stderr.strip().splitlines() or [''])[-1] for k in others}
    return {'seconds': ended, 'said': said}


def differences(whole: pathlib.Path, other: pathlib.Path) -> dict[str, float]:
    """The largest differences in the records of two runs: as a share of the terms, and of itself.

    Infinite if the runs have not made the same updates.
    """
    ours, theirs = read_records(whole), read_records(other)
    if [(r['stage'], r['step']) for r in ours] != [(r['stage'], r['step']) for r in theirs]:
        return {'of_terms': float('inf'), 'of_itself': float('inf')}
    found = {'of_terms': 0.0, 'of_itself': 0.0}
    for a, b in zip(ours, theirs, strict=True):
        for name in a.keys() - {'stage', 'step', *OF_ROUNDING}:
            apart = abs(a[name] - b[name])
            for how, size in ('of_terms', size_of_terms(name, a)), ('of_itself', abs(a[name])):
                found[how] = max(found[how], apart / (size or 1.0))
    return found


def size_of_terms(name: str, record: dict) -> float:
    """The size of the terms that a figure is the sum of.

    Advantages, whose mean is zero, cancel in the loss. The estimate of KL is about d² / 2, and d is
    the difference of two log-probabilities.
    """
    size = abs(record[name])
    if name in ('loss', 'surrogate'):
        return max(size, record.get('advantage_std', 0.0))
    return max(size, math.sqrt(2 * size)) if name == 'kl' else size


def restarts(folder: pathlib.Path):
    """Kills two of four processes; yields that fault, and the restart by four, two and one."""
    whole, killed = folder / 'whole', folder / 'killed'
    finish(start(folder, whole, PROCESSES))
    run = start(folder, killed, PROCESSES)
    wait_for(run, lambda: killed.exists() and len(read_records(killed, 'train')) >= 3)
    lost = lose(run, signal.SIGKILL, 2, 3)
    yield {'signal': 'SIGKILL', 'lost': [2, 3], 'in': 'training'} | lost
    for processes in (PROCESSES, 2, 1):
        workdir = folder / f'by_{processes}'
        shutil.copytree(killed, workdir)
        finish(start(folder, workdir, processes))
        same = (whole / 'records.jsonl').read_bytes() == (workdir / 'records.jsonl').read_bytes()
        apart = differences(whole, workdir)
        yield {'restart': processes, 'same_bytes': same, 'largest_difference': apart}


def faults(folder: pathlib.Path):
    """Loses one process at a time; yields each fault."""
    for name, process, moment in FAULTS:
        workdir = folder / f'{name}_{process}_{moment}'
        run = start(folder, workdir, PROCESSES, *LONG)
        if moment == 'start':
            wait_for(run, (workdir / 'lock.json').exists)
        else:
            wait_for(run, lambda: workdir.exists() and len(read_records(workdir)) >= 2)  # noqa: B023
        lost = lose(run, signal.Signals[name], process)
        yield {'signal': name, 'lost': [process], 'in': moment} | lost


def is_good(line: dict) -> bool:
    """Whether all others have ended in time, or the records of a restart agree."""
    if 'restart' in line:
        exact = line['restart'] == PROCESSES
        return line['same_bytes'] if exact else line['largest_difference']['of_terms'] <= CLOSE
    left = PROCESSES - len(line['lost'])
    return len(line['seconds']) == left and max(line['seconds'].values()) < AT_MOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--folder', type=pathlib.Path, required=True, help='of all runs; new')
    folder = parser.parse_args().folder.absolute()
    folder.mkdir(parents=True)
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'compiled'))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    bad = 0
    for line in itertools.chain(restarts(folder), faults(folder)):
        print(json.dumps(line), flush=True)
        bad += not is_good(line)
    sys.exit(bad and f'{bad} of these lines are not as they should be')


if __name__ == '__main__':
    main()
