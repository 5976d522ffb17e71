"""Signs of life between the processes of one run: all end with a message if one falls silent.

A thread of each process writes a growing number into the store that all share, and reads those of
the others. So neither compiling nor a long save is taken for death. JAX has a heartbeat of its own,
which would end the processes too, but later and without the number of the missing one.
"""

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Sequence

import jax
from jax._src import distributed  # the store that all processes share has no public name

from mer_jax.run.command_line import leave

KEY = 'mer_jax/alive'
BEAT = 1.0  # seconds between two signs
LOOK = 0.5  # seconds between two looks at the signs of others
LAST = 2.0  # seconds that process 0 waits longer: JAX aborts all others as soon as it ends
LATER = 15  # seconds after which JAX's own heartbeat counts a process as failed later than this one
DONE = 'done'  # the sign of a process that ends as it should


class Signs:
    """The last sign of each process and when it came, by the clock of this process."""

    def __init__(self, processes: int, now: float):
        self.signs = dict.fromkeys(range(processes), '')
        self.times = dict.fromkeys(range(processes), now)

    def note(self, signs: dict[int, str], now: float) -> None:
        """Notes the signs that have changed."""
        for process, sign in signs.items():
            if sign != self.signs[process]:
                self.signs[process], self.times[process] = sign, now

    def begin_anew(self, now: float) -> None:
        """Gives all processes their time again, after a pause of this one."""
        self.times = dict.fromkeys(self.times, now)

    def silent(self, now: float, limit: float) -> list[int]:
        """The processes without a new sign for so many seconds that have not said they are done."""
        late = [process for process, heard in self.times.items() if now - heard > limit]
        return [process for process in late if self.signs[process] != DONE]


@contextlib.contextmanager
def watching(limit: int) -> Iterator[None]:
    """Ends this process within the block if another one is silent for `limit` seconds.

    The end of the block tells the others that this process is done; `leave` does not.
    """
    shared = distributed.global_state  # jax.process_count() would wait for the devices of all
    client, process, processes = shared.client, shared.process_id, shared.num_processes
    if client is None or processes == 1:
        yield
        return
    signs, ended = Signs(processes, time.monotonic()), threading.Event()
    patience = limit + (0 if process else LAST)
    tasks = (give_signs, client, process, signs, ended), (watch, signs, patience, ended)
    for task, *given in tasks:
        threading.Thread(target=task, args=given, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            client.key_value_set(f'{KEY}/{process}', DONE, allow_overwrite=True)


def give_signs(client, process: int, signs: Signs, ended: threading.Event) -> None:
    """Writes a sign of this process every second, and notes those of all, until the event."""
    count = 0
    while not ended.wait(BEAT):
        count += 1
        # Without an answer of the store no sign is noted, which `watch` finds.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            client.key_value_set(f'{KEY}/{process}', str(count), allow_overwrite=True)
            signs.note(numbered(client.key_value_dir_get(KEY)), time.monotonic())


def numbered(pairs: Sequence[tuple[str, str]]) -> dict[int, str]:
    """The signs in the store by the number of their process."""
    return {int(re.search(r'\d+$', key)[0]): sign for key, sign in pairs}


def watch(signs: Signs, limit: float, ended: threading.Event) -> None:
    """Ends this process once others are silent for longer than `limit` seconds.

    A pause of this process itself says nothing about the others.
    """
    before = time.monotonic()
    while not ended.wait(LOOK):
        now = time.monotonic()
        if now - before > limit / 2:
            signs.begin_anew(now)
        before = now
        if silent := signs.silent(now, limit):
            leave(told_of(silent, len(signs.times), limit), at_once=True)
            return


def told_of(silent: Sequence[int], processes: int, limit: float) -> str:
    """The message about processes that are missing."""
    if len(silent) == processes:  # also the signs of this one did not arrive
        named = 'process 0, through which all hear of each other, gives'
    elif len(silent) == 1:
        named = f'process {silent[0]} gives'
    else:
        named = f'processes {", ".join(map(str, silent))} give'
    return (
        f'{named} no sign of life for {limit:g} s (--heartbeat); the other processes cannot '
        'continue alone and end too. Start all again with the same command, with as many '
        'processes as are left, or wait longer by --heartbeat'
    )
