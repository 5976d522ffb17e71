"""Forked commands behave as processes that `python -m` starts."""

import signal
import time

import pytest
from forks import Fork, run
from programs import environment

PROBE = """
import os, sys, jax
from jax._src import xla_bridge

assert __name__ == '__main__' and sys.argv[1:] == ['--flag', 'a b']
assert 'mer_jax.run.stages' in sys.modules, 'the server has imported nothing'
assert 'torch' not in sys.modules, 'a run has imported torch'
assert len(os.listdir('/proc/self/task')) == 1 and not xla_bridge.backends_are_initialized()
print(jax.device_count(), jax.default_backend(), os.getcwd())
"""


def test_a_fork_has_one_thread_no_backend_and_the_environment_and_folder_it_is_given(tmp_path):
    (tmp_path / 'probe.py').write_text(PROBE)
    for devices in (1, 3):
        variables = environment(devices)
        said = run('probe', '--flag', 'a b', variables=variables, cwd=tmp_path)
        assert (said.returncode, said.stdout) == (0, f'{devices} cpu {tmp_path}\n'), said.stderr


@pytest.mark.parametrize(
    ('code', 'status', 'told'),
    [
        ('import os; os._exit(143)', 143, ''),
        ('import sys; sys.exit("in short")', 1, 'in short\n'),
        ('import sys; sys.exit(2)', 2, ''),
        ('raise ValueError("at length")', 1, 'ValueError: at length\n'),
    ],
)
def test_a_fork_ends_with_the_status_and_words_of_a_process(code, status, told, tmp_path):
    (tmp_path / 'probe.py').write_text(code)
    said = run('probe', variables=environment(), cwd=tmp_path)
    assert said.returncode == status and said.stderr.endswith(told)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_fork_is_ended_by_a_signal(number, tmp_path):
    (tmp_path / 'probe.py').write_text('import time; print("up", flush=True); time.sleep(600)')
    fork = Fork('probe', variables=environment(), cwd=tmp_path)
    while not fork.stdout:
        time.sleep(0.01)
        assert fork.poll() is None, fork.stderr
    fork.send_signal(number)
    assert fork.wait() == -number
