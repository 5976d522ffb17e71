"""The lock of a workdir: one process at a time writes into it, any number may read.

lock.json names the process that holds it. A process of this machine is gone when its number and
start time are those of no process. One of another machine is gone when it gives no sign of life for
SILENT seconds; the time of its clock does not count.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import jax

from mer_jax.errors import printable
from mer_jax.storage.objects import contents, create_whole, make_folder, write_whole
from mer_jax.storage.paths import StorageError, is_remote, naming

FILE = 'lock.json'
BEAT = 20  # seconds between two signs of life
SILENT = 180  # seconds without one after which a process of another machine counts as gone
LOOK = 2  # seconds between two looks at the lock of another machine
JOIN = 5  # seconds to wait for a renewal under way, which would write the lock once more
LONG_GONE = 3600  # seconds since the last sign of life, by the clocks, that need no look


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process that holds a lock."""

    token: str  # random, of one start
    host: str
    machine: str  # differs between boots and between containers
    process: int
    born: str  # when the process started, in ticks since the boot; '' where that is unknown
    since: str  # when it took the lock, in UTC
    beat: float  # its last sign of life, seconds since 1970

    def __str__(self) -> str:
        return f'process {self.process} on {self.host}, since {self.since}'


def this_process() -> Holder:
    """This process as the holder of a lock."""
    now = time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())
    host, process = platform.node(), os.getpid()
    born = born_of(process) or ''
    return Holder(uuid.uuid4().hex, host, machine(), process, born, now, time.time())


def machine() -> str:
    """Host name, boot and process namespace; numbers of processes have one meaning within them."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # not Linux
        parts.append(pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip())
        parts.append(os.readlink('/proc/self/ns/pid'))
    return ' '.join(parts)


def born_of(process: int) -> str | None:
    """When a living process started, in ticks since the boot; None if there is none."""
    try:
        text = pathlib.Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return None
    fields = text.rpartition(')')[2].split()  # the name of a program may hold anything
    return None if fields[0] in 'ZX' else fields[19]


def is_alive(holder: Holder) -> bool:
    """Whether a holder of this machine still runs; another process may have its number."""
    if holder.born:
        return born_of(holder.process) == holder.born
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def read_holder(path: pathlib.Path) -> Holder | None:
    """The holder of a lock; None without a lock, or for a damaged one."""
    try:
        return Holder(**json.loads(contents(path)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_gone(path: pathlib.Path, holder: Holder) -> bool:
    """Whether a holder has ended or lost the lock; for one of another machine it takes a while."""
    if holder.machine == machine():
        return not is_alive(holder)
    if time.time() - holder.beat > LONG_GONE:
        return True
    tell(f'{path}: {holder}, holds the lock; waiting up to {SILENT} s for a sign of life')
    end = time.monotonic() + SILENT
    while time.monotonic() < end:
        time.sleep(LOOK)
        now = read_holder(path)
        if now is None or now.token != holder.token:
            return True
        if now.beat != holder.beat:
            return False
    return True


def take(path: pathlib.Path, mine: Holder) -> None:
    """Takes a lock, also over from a process that is gone; ValueError if another one holds it."""
    text = json.dumps(dataclasses.asdict(mine))
    while not create_whole(path, text):
        other = read_holder(path)
        if other and other.token == mine.token:  # a repeated request to a bucket
            return
        if other and not is_gone(path, other):
            raise ValueError(
                f'--workdir={path.parent}: {other}, writes into this folder; wait for it, stop it, '
                f'or choose another --workdir. If it does not run any more, remove {path}'
            )
        if remove_stale(path, other):
            tell(f'{path}: {other or "a damaged lock"}, is gone; its lock is taken over')


def remove_stale(path: pathlib.Path, stale: Holder | None) -> bool:
    """Removes the lock of a process that is gone; False if another one has taken it meanwhile."""
    if is_remote(path):
        if read_holder(path) != stale:
            return False
        with naming(path):
            path.unlink(missing_ok=True)
        return True
    with alone_in(path.parent):
        now = read_holder(path)
        if (now and now.token) != (stale and stale.token):
            return False
        try:
            path.unlink()
        except FileNotFoundError:
            return False
    return True


@contextlib.contextmanager
def alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time take over a lock in a folder; the others wait.

    A file system without such locks lets all do it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a workdir in the block; process 0 of a run holds it for all processes.

    ValueError if a process that runs holds it. A folder made for the lock is removed again if the
    block leaves nothing in it.
    """
    if jax.process_index() > 0:
        yield
        return
    made = missing_folders(workdir)
    make_folder(workdir)
    try:
        with holding(workdir / FILE, this_process()):
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


@contextlib.contextmanager
def holding(path: pathlib.Path, mine: Holder) -> Iterator[None]:
    """Takes a lock, renews it during the block, and releases it.

    It is not released after an error of a bucket: that would fail as well, after long.
    """
    take(path, mine)
    ended = threading.Event()
    beating = threading.Thread(target=give_signs, args=(path, mine, ended), daemon=True)
    beating.start()
    failed = False
    try:
        yield
    except StorageError:
        failed = True
        raise
    finally:
        ended.set()
        if not failed:
            beating.join(JOIN)
            release(path)


def missing_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Those of a folder and the folders above it that do not exist, the inmost first."""
    if is_remote(folder):
        return []
    return [each for each in (folder, *folder.parents) if not each.exists()]


def release(path: pathlib.Path) -> None:
    """Removes a lock that this process holds; where that fails, the next start takes it over."""
    with contextlib.suppress(OSError, StorageError), naming(path):
        holder = read_holder(path)
        if holder and (holder.process, holder.machine) == (os.getpid(), machine()):
            path.unlink()


def end_here(path: pathlib.Path, holder: Holder) -> None:
    """Ends this process, whose lock another one has taken: two processes must not write."""
    tell(f'{path}: {holder}, has taken over this run, which was silent for long; this process ends')
    os._exit(1)


def give_signs(
    path: pathlib.Path,
    mine: Holder,
    ended: threading.Event,
    lost: Callable[[pathlib.Path, Holder], None] = end_here,
) -> None:
    """Renews the lock every BEAT seconds until the event; calls `lost` if another one has it."""
    while not ended.wait(BEAT):
        try:
            holder = read_holder(path)
            if holder and holder.token != mine.token:
                lost(path, holder)
                return
            now = dataclasses.replace(mine, beat=time.time())
            write_whole(path, json.dumps(dataclasses.asdict(now)))
        except (OSError, StorageError):  # a full disk, or a bucket that is silent for a while
            continue


def tell(text: str) -> None:
    """Prints a line on standard error."""
    print(f'mer_jax: {printable(text)}', file=sys.stderr, flush=True)
