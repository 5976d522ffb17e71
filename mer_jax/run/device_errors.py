"""Errors of JAX that users meet, explained in a line with the way out."""

import contextlib
import re
import traceback
from collections.abc import Iterator

from mer_jax.run.command_line import leave

LESS_MEMORY = (
    'take fewer prompts at a time (--config.learn.microbatch=1, --config.rollout.microbatch=1, '
    '--config.evaluate.batch) or tokens (--config.learn.chunk, --config.rollout.slow_tokens, '
    '--config.data.prompt_tokens), or spread weights over more devices (--config.mesh.fsdp); '
    '`python -m mer_jax.plan` says beforehand what a config needs'
)
PORT = (
    'the port is in use by another program: name a free one in --coordinator=HOST:PORT in all '
    'processes, or end the earlier run that holds it'
)
MEMORY = (
    r'RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|[Oo]ut of memory',
    f'the device is out of memory: {LESS_MEMORY}',
)
# Words of an error and their explanation; the first that is found counts.
STARTS = (
    (
        r'CUDA driver version is insufficient|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH'
        r'|driver .*(?:too old|outdated)|CUDA_ERROR_UNSUPPORTED_PTX_VERSION',
        'the NVIDIA driver is older than this CUDA needs: update the driver (`nvidia-smi` shows '
        'its version), or install jax[cuda12] in place of jax[cuda13] (requirements-cuda.txt)',
    ),
    (
        r'TPU is already in use|[Ll]ibtpu.* in use|libtpu_lockfile',
        'another process holds the TPU: end it, or set JAX_PLATFORMS=cpu to run without the TPU',
    ),
    (
        r'_default_backend is not None|Unable to initialize backend|[Uu]nknown backend'
        r'|[Nn]o visible .*device|CUDA_ERROR_NO_DEVICE|no CUDA-capable device',
        'JAX finds no such device: unset JAX_PLATFORMS, or set it to cpu; for GPUs install '
        'requirements-cuda.txt and see whether `nvidia-smi` lists them, for TPUs install '
        'requirements-tpu.txt',
    ),
    (r'[Aa]ddress already in use|Failed to add (?:listening )?port', PORT),
    (
        r'CUDNN_STATUS|[Cc]u(?:DNN|dnn) .*version|DNN library initialization failed',
        'cuDNN cannot start: another version is found than the one installed with JAX (unset '
        'LD_LIBRARY_PATH), or another program holds the memory of the GPU (`nvidia-smi`)',
    ),
)
LATER = (
    MEMORY,
    (
        r'Mosaic|Pallas|Triton',
        'a kernel does not compile for this device: set --config.model.attention=blocks, which '
        'needs none',
    ),
)


def reason_of_device(error: BaseException) -> str | None:
    """The explanation of an error of a device, with the key to turn; None for any other error."""
    return _found(error, (*STARTS, *LATER))


def _found(error: BaseException, known) -> str | None:
    if not isinstance(error, RuntimeError | ValueError | AssertionError):
        return None
    text = str(error) or _raised_at(error)
    return next((told for words, told in known if re.search(words, text)), None)


def _raised_at(error: BaseException) -> str:
    """The line of code that raised an error, for one without a message."""
    lines = traceback.extract_tb(error.__traceback__)
    return lines[-1].line if lines else ''


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Ends the process with an explanation of an error of a device.

    An error of a program that runs keeps its traceback, which tells the program; an error at the
    start has none, for nothing in it is of use.
    """
    try:
        yield
    except Exception as error:
        told = reason_of_device(error)
        if told is None:
            raise
        if _found(error, STARTS) is None:
            traceback.print_exc()
        else:
            told = f'{told} ({" ".join(str(error).split())[:300]})'
        leave(told)
