"""Shared by all tests: eight virtual CPU devices, default configs, a small checkpoint."""

import atexit
import gc
import os
import pathlib
import re

import jax
import pytest

from mer_jax.run.defaults import mer_r1

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Tests compile much and compute little: skip the optimizations of the compiler, split no program
# into parts that threads compile, which costs a fifth, and leave out, in the version of JAX that
# knows the flag, the emitters of fused loops, which take most of its time.
COMPILE_QUICKLY = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
COMPILE_QUICKLY += ' --xla_cpu_parallel_codegen_split_count=1'
if jax.__version_info__ < (0, 11):
    COMPILE_QUICKLY += ' --xla_cpu_use_fusion_emitters=false'
# Tests run on the CPU, but for those that are asked to run elsewhere (tests/test_on_a_gpu.py).
PLATFORM = os.environ.get('MER_JAX_TEST_PLATFORM', 'cpu')
if PLATFORM == 'cpu':
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {COMPILE_QUICKLY}'.strip()

# Threads of torch, in workers that share the processors.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# Processes of one run and later runs share what they compile.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.pytest_cache' / 'compiled'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
jax.config.update('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR'])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)

# Tracing makes many objects that are not garbage.
gc.set_threshold(50_000, 20, 10)

# Before JAX starts, so that figures are the same on every machine.
jax.config.update('jax_platforms', PLATFORM)
if PLATFORM == 'cpu':
    jax.config.update('jax_num_cpu_devices', 8)
else:
    jax.config.update('jax_default_matmul_precision', 'highest')  # as sharding.exact_products

# Files that take longest, which start first, so that no worker waits for another at the end.
LONGEST = (
    'test_pod.py',
    'test_main.py',
    'test_buckets.py',
    'test_image_training.py',
    'rl/test_update.py',
    'test_published.py',  # after test_buckets.py, whose traced programs it reads
    'test_mesh_layouts.py',
    'run/test_elastic.py',
    'test_installed.py',
    'test_notebooks.py',
    'models/test_parity.py',
    'rl/test_drift.py',
    'rl/test_lora_update.py',
    'models/test_attention.py',
    'methods/test_emo_r3_step.py',
    'evaluation/test_benchmark.py',
    'run/test_cold_start.py',
    'run/test_adapters.py',
    'models/checkpoint/test_load.py',
    'evaluation/test_prediction.py',
    'demo/test_demo.py',
    'run/test_validation.py',
    'run/test_repeated.py',
    'models/test_gradients.py',
    'run/test_memory_check.py',
)


def pytest_collection_modifyitems(items):
    """Orders the files; --no-loadscope-reorder keeps xdist from ordering them by their tests."""
    first = {ROOT / 'tests' / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_sessionfinish(session):
    """Ends a process without looking through all that its tests have left, seconds of each."""
    gc.freeze()
    if hasattr(session.config, 'workerinput'):  # one of several: its results are told
        atexit.register(os._exit, 0)  # before JAX clears its caches


@pytest.fixture(scope='module')
def module_config():
    """A default config that the tests of a module share and leave as it is."""
    return mer_r1()


@pytest.fixture(scope='session')
def omni_folder(tmp_path_factory):
    """A Hugging Face folder of a small Omni, which tests leave as it is."""
    import small  # imports modules that need JAX set up

    folder = tmp_path_factory.mktemp('exports') / 'omni'
    small.write_export(small.shrink(mer_r1()), folder)
    return folder


@pytest.fixture
def variant_config():
    """The config of a variant, unlocked."""
    return mer_r1


@pytest.fixture
def config():
    """A default config of the test's own, unlocked."""
    return mer_r1()


@pytest.fixture(scope='session')
def bucket_server():
    """An emulator of Google Cloud Storage; this process and its children take it for Google's."""
    import bucket_server

    with bucket_server.serving() as server:
        yield server


@pytest.fixture
def bucket(bucket_server, request):
    """A folder of the test's own in a bucket."""
    from mer_jax.storage.paths import path_of

    bucket_server.requests.clear()
    name = re.sub(r'\W+', '_', request.node.name)  # gcsfs takes [ for a pattern
    return path_of(f'gs://bucket/{name}')
