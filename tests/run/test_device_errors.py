"""Errors of JAX explained in a line."""

import forks
import jax
import jax.numpy as jnp
import pytest
from programs import environment

from mer_jax.run.device_errors import explained, reason_of_device

MESSAGES = [  # as JAX has raised them, and a part of the explanation
    (
        'RESOURCE_EXHAUSTED: Out of memory while trying to allocate 33554432000 bytes.',
        '--config.learn.microbatch=1',
    ),
    (
        'RESOURCE_EXHAUSTED: Error loading program: Attempting to reserve 12.04G at the bottom of '
        'memory. That was not possible. There are 11.32G free.',
        'out of memory',
    ),
    (
        "Unable to initialize backend 'cuda': INTERNAL: operation cudaGetDeviceCount failed: CUDA "
        'driver version is insufficient for CUDA runtime version',
        'update the driver',
    ),
    (
        "Unable to initialize backend 'tpu': INTERNAL: Failed to open libtpu.so: libtpu.so: cannot "
        "open shared object file (set JAX_PLATFORMS='' to automatically choose)",
        'requirements-tpu.txt',
    ),
    (
        "Unable to initialize backend 'tpu': ABORTED: The TPU is already in use by process with "
        'pid 123. Not attempting to load libtpu.so in this process.',
        'another process holds the TPU',
    ),
    ("Unknown backend: 'gpu' requested, but no platforms that are instances", 'JAX_PLATFORMS'),
    ('UNKNOWN: Failed to add port to server: Address already in use', '--coordinator=HOST:PORT'),
    ('FAILED_PRECONDITION: DNN library initialization failed.', 'LD_LIBRARY_PATH'),
    ('INTERNAL: Mosaic failed to compile TPU kernel: unsupported', 'attention=blocks'),
]


@pytest.mark.parametrize(('message', 'part'), MESSAGES)
def test_an_error_of_a_device_names_the_way_out(message, part):
    told = reason_of_device(RuntimeError(message))
    assert part in told and '\n' not in told
    assert reason_of_device(ValueError(message)) == told


def test_memory_that_jax_cannot_allocate_is_explained():
    with pytest.raises(RuntimeError) as raised:
        jax.block_until_ready(jax.jit(lambda: jnp.zeros(1 << 44))())
    assert reason_of_device(raised.value).startswith('the device is out of memory: take fewer')


def test_other_errors_have_no_explanation():
    assert reason_of_device(RuntimeError('INTERNAL: something else')) is None
    assert reason_of_device(AssertionError()) is None
    assert reason_of_device(OSError('Address already in use')) is None


def test_memory_that_runs_out_keeps_its_traceback_and_a_missing_device_does_not(capsys):
    def said(message):
        with pytest.raises(SystemExit) as left, explained():
            raise RuntimeError(message)
        assert left.value.code == 1
        return capsys.readouterr().err

    memory, missing = said(MESSAGES[0][0]), said(MESSAGES[3][0])
    assert 'Traceback' in memory and memory.splitlines()[-1].startswith('mer_jax: the device is')
    assert len(missing.splitlines()) == 1 and 'Failed to open libtpu.so' in missing
    with pytest.raises(KeyError), explained():
        raise KeyError('other')


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_a_run_without_its_device_says_so_in_a_line(tmp_path, platform):
    variables = environment() | {'JAX_PLATFORMS': platform}
    said = forks.run('mer_jax.main', f'--workdir={tmp_path / "run"}', variables=variables)
    assert said.returncode == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith('mer_jax: JAX finds no such device: unset JAX_PLATFORMS')
    assert not (tmp_path / 'run').exists()
