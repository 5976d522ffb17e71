"""Commands in forked processes, which do not pay for the imports of the package.

A server process imports the package once and is forked for each command, which then runs as
`python -m` would run it, but for functions registered by `atexit`. Forking is safe because the
server has one thread and no JAX backend (tests/test_forks.py).
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from unittest import mock

import jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONTEXT = multiprocessing.get_context('forkserver')
# The imports of the commands without the commands, of which two define flags of the same name, and
# one that JAX makes late.
CONTEXT.set_forkserver_preload(
    [
        'forks',
        'ml_collections.config_flags',
        'mer_jax.evaluation.benchmark',
        'mer_jax.evaluation.prediction',
        'mer_jax.run.charts',
        'mer_jax.run.export',
        'mer_jax.run.plan_search',
        'mer_jax.run.report',
        'mer_jax.run.stages',
        'scipy.linalg',
    ]
)


class Fork:
    """A started command, with those methods of subprocess.Popen that the tests need."""

    def __init__(self, module, *arguments, variables, cwd=ROOT):
        self._files = [tempfile.NamedTemporaryFile('r') for _ in range(2)]
        given = [str(argument) for argument in arguments]
        self._process = CONTEXT.Process(
            target=_become,
            args=(module, given, variables, str(cwd), *(file.name for file in self._files)),
            daemon=True,  # ends with the tests
        )
        # Version 3.11 leaves sys.path to the environment; one thread of BLAS is none to fork.
        path = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
        with mock.patch.dict(os.environ, PYTHONPATH=path, OPENBLAS_NUM_THREADS='1'):
            multiprocessing.forkserver.ensure_running()
        self._process.start()

    @property
    def stdout(self):
        return pathlib.Path(self._files[0].name).read_text()

    @property
    def stderr(self):
        return pathlib.Path(self._files[1].name).read_text()

    def poll(self):
        """The exit status, negative for a signal, or None while the command runs."""
        return self._process.exitcode

    def wait(self, timeout=600):
        """The exit status of the command, which is killed if it takes longer."""
        self._process.join(timeout)
        if self.poll() is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self._process.name, timeout, self.stdout, self.stderr)
        return self.poll()

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):  # has ended
            os.kill(self._process.pid, number)


def run(module, *arguments, variables, cwd=ROOT):
    """The outcome of a command, as subprocess.run gives it."""
    fork = Fork(module, *arguments, variables=variables, cwd=cwd)
    return subprocess.CompletedProcess(arguments, fork.wait(), fork.stdout, fork.stderr)


def _become(module, arguments, variables, cwd, stdout, stderr):
    """Runs the command in the forked process."""
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(variables)
    # JAX has read its variables in the server, except for XLA_FLAGS.
    jax.config.update('jax_platforms', variables['JAX_PLATFORMS'])
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name='__main__', alter_sys=True)
