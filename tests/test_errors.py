"""Errors of disks are told apart, and a command whose reader leaves ends as Unix tools do."""

import errno
import subprocess
import sys
import types

import pytest

from mer_jax.errors import quiet_writes, reason_of_disk

LINES = 'print("\\n".join(map(str, range(100_000))))'


@pytest.mark.parametrize('body', [LINES, f'{LINES}; sys.exit(3)', 'print(1); sys.exit(3)'])
@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_a_reader_that_leaves_ends_a_command_without_a_message(body, stream):
    code = f'import sys; from mer_jax.errors import quiet_pipes\nwith quiet_pipes(): {body}'
    if stream == 'stderr':
        code = code.replace('))))', '))), file=sys.stderr)').replace('(1)', '(1, file=sys.stderr)')
    # It waits for a line, so that its reader has left before it prints.
    code = f'import sys; sys.stdin.readline()\n{code}'
    pipes = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.PIPE)
    command = subprocess.Popen([sys.executable, '-c', code], **pipes)
    left, other = command.stdout, command.stderr
    if stream == 'stderr':
        left, other = other, left
    left.close()
    command.stdin.write(b'\n')
    command.stdin.close()
    assert other.read() == b''
    assert command.wait() == 128 + 13


@pytest.mark.parametrize('body', [LINES, 'print(1); sys.exit(3)'])
def test_output_to_a_full_disk_ends_a_command_with_one_line(body):
    code = f'import sys; from mer_jax.errors import quiet_pipes\nwith quiet_pipes(): {body}'
    with open('/dev/full', 'w') as full:
        ended = subprocess.run([sys.executable, '-c', code], stdout=full, stderr=subprocess.PIPE)
    told = b'mer_jax: the output cannot be written: No space left on device\n'
    assert (ended.returncode, ended.stderr) == (1, told)


def test_a_command_that_is_read_to_the_end_keeps_its_status():
    code = f'import sys; from mer_jax.errors import quiet_pipes\nwith quiet_pipes(): {LINES}'
    ended = subprocess.run([sys.executable, '-c', f'{code}; sys.exit(3)'], capture_output=True)
    assert ended.returncode == 3 and ended.stdout.endswith(b'99999\n') and ended.stderr == b''


def test_errors_of_a_disk_are_told_from_others():
    assert reason_of_disk(OSError(errno.ENOSPC, 'x')) == 'No space left on device'
    assert reason_of_disk(OSError(errno.EROFS, 'x', 'a/b')) == 'a/b: Read-only file system'
    assert reason_of_disk(FileNotFoundError(errno.ENOENT, 'x', 'a')) is None
    assert reason_of_disk(OSError('x')) is reason_of_disk(ValueError('x')) is None
    told = reason_of_disk(ValueError('RESOURCE_EXHAUSTED: a/b: No space left on device'))
    assert told.startswith('No space left on device (ValueError: RESOURCE_EXHAUSTED: a/b')


def test_writes_whose_loop_is_closed_print_nothing_and_other_errors_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda raised: seen.append(raised.exc_value))
    quiet_writes()
    other = RuntimeError('Event loop is running')
    for error in (RuntimeError('Event loop is closed'), other):
        sys.unraisablehook(types.SimpleNamespace(exc_value=error))
    assert seen == [other]
