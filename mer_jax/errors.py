"""Messages of one line, of errors of other libraries and of names of files; what stays unsaid."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

LONGEST = 300  # letters
OF_DISKS = (  # errors of a disk, not of a program
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
)


def one_line(error: Exception) -> str:
    """Type and message of an error on one line; at most 300 letters, without those in its middle.

    The reason is often the last part of a long message.
    """
    text = ' '.join(str(error).split())
    if len(text) > LONGEST:
        text = f'{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}'
    return f'{type(error).__name__}: {text}'


def reason_of_disk(error: Exception) -> str | None:
    """The file, if it is known, and the reason for an error of a disk; None for any other error.

    Libraries raise some as errors of other types, with the words of the system.
    """
    if isinstance(error, OSError):
        if error.errno not in OF_DISKS:
            return None
        named = f'{error.filename}: ' if error.filename else ''
        return f'{named}{os.strerror(error.errno)}'
    words = [word for word in map(os.strerror, OF_DISKS) if word in str(error)]
    return f'{words[0]} ({one_line(error)})' if words else None


def printable(text: str) -> str:
    """The text on one line; letters that cannot be printed are escaped.

    Names of files may hold any bytes; those that are not UTF-8 reach Python as lone surrogates.
    """
    return ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


@contextlib.contextmanager
def quiet_pipes() -> Iterator[None]:
    """Ends the process without a message if the reader of its output has left, such as `head`.

    The exit status is that of a program that SIGPIPE ends. Python ignores the signal, so that a
    closed connection to a bucket does not end a run. A disk that takes no more output ends the
    process with a message and status 1.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout, sys.stderr)
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if error.errno not in OF_DISKS:
            raise
        _discard(sys.stdout)
        sys.exit(f'mer_jax: the output cannot be written: {reason_of_disk(error)}')


def _discard(*streams) -> None:
    """Drops the output that is still in the buffers of streams, which is written at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def quiet_writes() -> None:
    """Prints no traceback, from now on, for the other writes of a save of which one has failed.

    Orbax raises the first error and closes its event loop. TensorStore then reports each of the
    others to sys.unraisablehook, up to the end of the process, because it cannot tell that loop.
    """
    before = sys.unraisablehook

    def report(raised):
        error = raised.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
            before(raised)

    sys.unraisablehook = report
