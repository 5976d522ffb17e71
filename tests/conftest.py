"""What all tests stand on: eight virtual CPU devices, and a fresh default config."""

import importlib.util
import os
import pathlib
import runpy
import sys

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
if importlib.util.find_spec('mer_jax') is None:
    sys.path.insert(0, str(ROOT))

# Tests compile much and compute little: leave out what makes programs fast.
COMPILE_QUICKLY = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {COMPILE_QUICKLY}'.strip()

# Before JAX starts. On the CPU everywhere, so that the numbers do not hang on the machine.
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='module')
def module_config():
    """A default config that the tests of a module share and leave as it is."""
    return runpy.run_path(str(ROOT / 'configs' / 'mer_r1.py'))['get_config']()


@pytest.fixture(scope='session')
def omni_folder(tmp_path_factory):
    """A Hugging Face folder of a small Omni, which tests leave as it is."""
    import small  # imports what must not be imported before JAX is set up

    c = runpy.run_path(str(ROOT / 'configs' / 'mer_r1.py'))['get_config']()
    folder = tmp_path_factory.mktemp('exports') / 'omni'
    small.write_export(small.shrink(c), folder)
    return folder


@pytest.fixture
def variant_config():
    """The config of a variant, unlocked."""
    return runpy.run_path(str(ROOT / 'configs' / 'mer_r1.py'))['get_config']


@pytest.fixture
def config():
    """A default config of the test's own, unlocked."""
    return runpy.run_path(str(ROOT / 'configs' / 'mer_r1.py'))['get_config']()
