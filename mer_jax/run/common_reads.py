"""Looks at files that all processes take together, with patience for passing faults."""

import pathlib
import time
from collections.abc import Callable

import jax

from mer_jax.run.shares import gather_rows
from mer_jax.storage import faults
from mer_jax.storage.paths import StorageError, naming


def look_together(path: pathlib.Path, look: Callable[[], object]) -> list:
    """The JSON values that `look` returns in each process, the same list in all of them.

    While one of them meets a passing fault, all look again, with growing pauses. Then all raise
    StorageError, which names the file, the reason and the way out.
    """
    for tries, pause in enumerate((*faults.PAUSES, None), 1):
        row = {}
        try:
            with naming(path):
                row['found'] = look()
        except Exception as error:
            if not faults.is_passing(error):
                raise
            row['fault'] = faults.told_of(path, error, tries)
            row['final'] = isinstance(error, StorageError)  # its library has tried several times
        rows = gather_rows([row])
        failed = [row for row in rows if 'fault' in row]
        if not failed:
            return [row['found'] for row in rows]
        if pause is None or any(row['final'] for row in failed):
            raise StorageError(failed[0]['fault'])
        time.sleep(pause)
    raise AssertionError('the last try returns or raises')


def patiently(path: pathlib.Path, read: Callable[[], object]):
    """The value that `read` returns; a passing fault is tried again, with growing pauses.

    Several processes do not try again, because their reads wait for each other. StorageError after
    the last try.
    """
    pauses = faults.PAUSES if jax.process_count() == 1 else ()
    for tries, pause in enumerate((*pauses, None), 1):
        try:
            with naming(path):
                return read()
        except StorageError:
            raise
        except Exception as error:
            if not faults.is_passing(error):
                raise
            if pause is None:
                raise StorageError(faults.told_of(path, error, tries)) from error
        time.sleep(pause)
    raise AssertionError('the last try returns or raises')
