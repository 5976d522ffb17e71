"""Where a run keeps its compiled programs, so that its next start does not compile them again."""

import hashlib
import pathlib
import platform

import jax

from mer_jax.storage.paths import is_remote

SHORTEST = 0.1  # the shortest compilation that is kept [s], unless the user has chosen another
DEFAULT = 1.0  # that of JAX [s]


def keep_compiled(workdir: pathlib.Path) -> pathlib.Path | None:
    """Lets JAX keep what it compiles in WORKDIR/compiled; the folder, or None if it does not.

    A cache that JAX has been told of already (JAX_COMPILATION_CACHE_DIR) stays; a workdir in a
    bucket gets none, because every host would ask it for every program.
    """
    chosen = jax.config.jax_compilation_cache_dir
    if is_remote(chosen or workdir):
        return None
    if jax.config.jax_persistent_cache_min_compile_time_secs == DEFAULT:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', SHORTEST)
    if chosen:
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
