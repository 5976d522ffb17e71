"""Passing faults are told apart from damage, with file, reason and way out."""

import errno

import jax
import pytest

from mer_jax.errors import one_line
from mer_jax.storage.faults import is_passing, naming_faults, told_of
from mer_jax.storage.paths import StorageError


def wrapped(error):
    outer = ValueError('it failed')
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ('error', 'passing'),
    [
        (PermissionError(errno.EACCES, 'Permission denied'), True),
        (OSError(errno.EROFS, 'Read-only file system'), True),
        (OSError(errno.EDQUOT, 'Disk quota exceeded'), True),
        (OSError(errno.EMFILE, 'Too many open files'), True),
        (MemoryError(), True),
        (TimeoutError('30 s'), True),
        (StorageError('gs://b: does not answer'), True),
        (ValueError('UNAVAILABLE: try again'), True),
        (RuntimeError('open: Permission denied [OS error 13]'), True),
        (wrapped(OSError(errno.EIO, 'Input/output error')), True),
        (FileNotFoundError(errno.ENOENT, 'No such file or directory'), False),
        (IsADirectoryError(errno.EISDIR, 'Is a directory'), False),
        (BrokenPipeError(errno.EPIPE, 'Broken pipe'), False),
        (ValueError('DATA_LOSS: checksum mismatch'), False),
        (KeyError('x'), False),
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory'), True),
        (jax.errors.JaxRuntimeError('UNAVAILABLE: a process has ended'), False),
        (wrapped(jax.errors.JaxRuntimeError('DEADLINE_EXCEEDED: barrier')), False),
    ],
)
def test_a_passing_fault_says_nothing_about_the_content_of_a_file(error, passing):
    assert is_passing(error) == passing


def test_a_message_names_the_file_of_the_error_or_that_of_the_reader():
    full = OSError(errno.ENOSPC, 'No space left on device', 'runs/a/records.jsonl')
    assert told_of('runs/a', full).startswith('runs/a/records.jsonl: OSError: ')
    assert 'free space there' in told_of('runs/a', full)
    assert told_of('runs/a', MemoryError('x'), 3).startswith('runs/a: MemoryError: x, 3 times in ')


def test_other_errors_stay_as_they_are():
    with pytest.raises(KeyError), naming_faults('a'):
        raise KeyError('x')
    with pytest.raises(StorageError, match='^a: PermissionError'), naming_faults('a'):
        raise PermissionError(errno.EACCES, 'Permission denied')


def test_a_long_message_keeps_its_end_where_the_reason_is():
    told = one_line(ValueError('begin ' + 'x' * 900 + ' permission denied'))
    assert told.startswith('ValueError: begin ') and told.endswith(' permission denied')
    assert len(told) < 330
