"""Where a run keeps its compiled programs, so that its next start does not compile them again."""

import hashlib
import os
import pathlib
import platform

import jax

from mer_jax.storage.paths import is_remote

SHORTEST = 0.1  # of the compilations that are kept [s]; JAX's own default leaves out all below 1 s


def keep_compiled(workdir: pathlib.Path) -> pathlib.Path | None:
    """Lets JAX keep what it compiles in WORKDIR/compiled; the folder, or None if it does not.

    A cache that JAX has been told of already (JAX_COMPILATION_CACHE_DIR) stays; a workdir in a
    bucket gets none, because every host would ask it for every program.
    """
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', SHORTEST)
    if jax.config.jax_compilation_cache_dir or is_remote(workdir):
        return None
    folder = workdir.absolute() / 'compiled' / processor()
    jax.config.update('jax_compilation_cache_dir', str(folder))
    return folder


def processor() -> str:
    """The platform; of CPUs also what they can do, because code for one may not run on another."""
    backend = jax.default_backend()
    if backend != 'cpu':
        return backend
    about = pathlib.Path('/proc/cpuinfo')
    lines = about.read_text().splitlines() if about.exists() else []
    flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    return f'cpu_{hashlib.sha256((platform.machine() + flags).encode()).hexdigest()[:8]}'
