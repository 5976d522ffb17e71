"""Passing faults of a machine, told apart from damage: reason and way out in a message.

A passing fault says nothing about the content of a file: no permission, a busy or full disk, no
memory, no answer of a bucket. The same read may succeed a moment later.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from mer_jax.errors import one_line
from mer_jax.storage.paths import StorageError, naming

PAUSES = (0.5, 2, 8)  # seconds between two tries
RIGHTS = 'give this account the right to read and write it'
SPACE = 'free space there, or raise the quota'
MEMORY = 'end other programs on this machine, or take one with more memory'
DISK = 'check the disk and its connection'
FILES = 'raise the limit of open files (ulimit -n)'
WAYS_OUT = {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: 'mount it for writing',
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.ENOMEM: MEMORY,
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
} | dict.fromkeys(
    (
        *(errno.EBUSY, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETXTBSY),
        *(errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENOTCONN),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
    ),
    DISK,
)
WORDS = {  # in the messages of libraries that raise errors of their own
    'ermission denied': RIGHTS,
    'PERMISSION_DENIED': RIGHTS,
    'Read-only file system': 'mount it for writing',
    'No space left': SPACE,
    'quota exceeded': SPACE,
    'Cannot allocate memory': MEMORY,
    'RESOURCE_EXHAUSTED': MEMORY,
    'Too many open files': FILES,
    'Device or resource busy': DISK,
    'Input/output error': DISK,
    'Stale file handle': DISK,
    'UNAVAILABLE': DISK,
    'DEADLINE_EXCEEDED': DISK,
}


def way_out_of(error: BaseException) -> str | None:
    """The way out of a passing fault; None for any other error."""
    if isinstance(error, MemoryError):
        return MEMORY
    if is_of_jax(error):  # else of another process, which has ended
        return MEMORY if 'RESOURCE_EXHAUSTED' in str(error) else None
    if isinstance(error, OSError) and error.errno in WAYS_OUT:
        return WAYS_OUT[error.errno]
    if isinstance(error, TimeoutError):
        return DISK
    if isinstance(error, OSError) and error.errno is not None:
        return None
    text = str(error)
    for words, way_out in WORDS.items():
        if words in text:
            return way_out
    return way_out_of(error.__cause__) if error.__cause__ else None


def is_of_jax(error: BaseException) -> bool:
    """Whether an error, or its cause, is one of JAX: of a device or of the other processes."""
    if type(error).__module__.partition('.')[0] in ('jax', 'jaxlib'):
        return True
    return error.__cause__ is not None and is_of_jax(error.__cause__)


def is_passing(error: BaseException) -> bool:
    """Whether an error says nothing about the content of a file."""
    return isinstance(error, StorageError) or way_out_of(error) is not None


def told_of(path: str | os.PathLike, error: BaseException, tries: int = 1) -> str:
    """The message for a passing fault: file, reason, way out."""
    if isinstance(error, StorageError):
        return str(error)
    named = error.filename if isinstance(error, OSError) and error.filename else path
    tried = f', {tries} times in {sum(PAUSES[: tries - 1]):g} seconds' if tries > 1 else ''
    return (
        f'{named}: {one_line(error)}{tried}. This says nothing about the content of the file, so '
        f'nothing was moved or removed; {way_out_of(error)}, then start the same command again'
    )


@contextlib.contextmanager
def naming_faults(path: str | os.PathLike) -> Iterator[None]:
    """Turns a passing fault in the block into a StorageError that names file and way out.

    Errors of a bucket become those of `paths.naming`.
    """
    try:
        with naming(path):
            yield
    except StorageError:
        raise
    except Exception as error:
        if not is_passing(error):
            raise
        raise StorageError(told_of(path, error)) from error
