"""The processes of one run: which launcher has started several, and how they join each other."""

import dataclasses
import errno
import math
import socket
import sys
import threading
from collections.abc import Mapping

import jax

from mer_jax.run.command_line import leave
from mer_jax.run.device_errors import PORT, reason_of_device

SWITCH = ('auto', 'on', 'off')  # the values of --distributed
GRACE = 60  # seconds that JAX waits longer for other processes than this package
SEPARATE = 'for separate runs set --distributed=off'
NAME_THEM = f'set --coordinator=HOST:PORT --processes=N --process=I in each; {SEPARATE}'


@dataclasses.dataclass(frozen=True)
class Launched:
    """A launcher that has started several processes; `processes` is 0 where it does not say."""

    launcher: str
    processes: int

    def __str__(self) -> str:
        return f'{self.launcher} has started {self.processes or "several"} processes'


def launched_by(environment: Mapping[str, str]) -> Launched | None:
    """The launcher that has started this process as one of several, by its variables.

    A slice of TPU VMs sets none: `check_alone` finds it.
    """
    hosts = environment.get('TPU_PROCESS_ADDRESSES') or environment.get('TPU_WORKER_HOSTNAMES', '')
    slices = number(environment, 'MEGASCALE_NUM_SLICES')
    counts = {
        # Of a step: in a batch script, SLURM_NTASKS counts tasks that srun would start.
        'Slurm': number(environment, 'SLURM_STEP_NUM_TASKS'),
        'Open MPI': number(environment, 'OMPI_COMM_WORLD_SIZE'),
        'MPI': number(environment, 'PMI_SIZE'),
        'A TPU slice': math.prod([max(slices, 1), len(hosts.split(','))]),
    }
    for launcher, processes in counts.items():
        if processes > 1:
            return Launched(launcher, processes)
    if {'JOB_COMPLETION_INDEX', 'JOBSET_NAME'} <= environment.keys():
        return Launched('A JobSet', 0)
    return None


def number(environment: Mapping[str, str], name: str) -> int:
    """The number in a variable; 0 without one."""
    value = environment.get(name, '')
    return int(value) if value.isdecimal() else 0


def join(
    switch: str,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    heartbeat: int,
    wait: int,
    environment: Mapping[str, str],
) -> None:
    """Joins the other processes of the run, where there are any, before JAX is used.

    `auto` joins where a launcher has started several, or flags name them. ValueError where that is
    not possible, and where processes would train separately without being told to. A process
    without a sign of life for `heartbeat` seconds counts as failed. If others have not joined
    after `wait` seconds, this process ends with a message.
    """
    named = (coordinator, processes, process) != (None, None, None)
    launched = launched_by(environment)
    if switch == 'off':
        if named:
            raise ValueError(
                '--distributed=off: does not join other processes, and --coordinator, --processes '
                'or --process name some; leave them out, or take --distributed'
            )
    elif switch == 'on' or named:
        told = launched or 'several processes are to train together'
        check_port(coordinator or '', process)
        connect(told, heartbeat, wait, coordinator, processes, process)
    elif launched:
        print(f'mer_jax: {launched}, which train together; {SEPARATE}', file=sys.stderr)
        connect(launched, heartbeat, wait)
        found = jax.process_count()
        if launched.processes and found != launched.processes:
            raise ValueError(f'--distributed=auto: {launched}, but JAX finds {found}; {NAME_THEM}')
    if not jax.distributed.is_initialized():
        check_alone(jax.process_count())


def check_port(coordinator: str, process: int | None) -> None:
    """Raises ValueError if process 0 cannot listen at its port, where JAX would crash."""
    port = coordinator.rpartition(':')[2]
    if process != 0 or not port.isdecimal():
        return
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(('::', int(port)))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f'--coordinator={coordinator}: {PORT}') from None


def connect(told: Launched | str, heartbeat: int, wait: int, *named) -> None:
    """Joins processes as flags name them or JAX finds them; ValueError if it cannot."""
    # JAX would abort with a trace of its own, so this process ends before it does.
    timer = threading.Timer(wait, give_up, [told, wait])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            *named, heartbeat_timeout_seconds=heartbeat, initialization_timeout=wait + GRACE
        )
    except (ValueError, RuntimeError) as error:
        reason = reason_of_device(error) or error
        raise ValueError(
            f'--distributed: {told}, but JAX cannot join them ({reason}); {NAME_THEM}'
        ) from error
    finally:
        timer.cancel()


def give_up(told: Launched | str, wait: int) -> None:
    """Ends this process, which others have not joined."""
    leave(
        f'--wait={wait}: {told}, but some have not joined in so many seconds; one has not been '
        'started, has ended with a message of its own, or cannot reach the others. Start all '
        'again, or wait longer',
        at_once=True,
    )


def check_alone(processes: int) -> None:
    """Raises ValueError if JAX, without having joined any, sees devices of other processes."""
    if processes > 1:
        raise ValueError(
            f'--distributed: must be given, for the devices of this machine are part of a slice '
            f'of {processes} hosts; start the same command with --distributed on each of them'
        )
