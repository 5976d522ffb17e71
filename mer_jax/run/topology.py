"""The devices that a run is planned for: virtual CPU devices, or a TPU slice that is not here."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence

import jax
from jax.experimental import topologies

GIB = 2**30
INSTALL = 'pip install -r requirements-plan.txt'


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip, as far as a roofline needs it. Rates are those of the makers, never reached whole."""

    hbm: int  # bytes that a program may use
    flops: float  # a second, of bfloat16 products
    memory: float  # bytes a second
    links: float  # bytes a second, that a collective moves out of a chip


# HBM: what the compiler grants (16, 32 and 95 GB less its own share). Peak and memory bandwidth:
# cloud.google.com/tpu/docs, pages "TPU v5e", "v5p" and "v6e". Links: half of the 200, 600 and
# 448 GB/s published there for all links of a chip, of which a ring uses one direction.
CHIPS = {
    'v5e': Chip(int(15.75 * GIB), 197e12, 819e9, 100e9),
    'v5p': Chip(95 * GIB, 459e12, 2765e9, 300e9),
    'v6e': Chip(int(31.25 * GIB), 918e12, 1640e9, 224e9),
}
CPU_RATES = 5e10, 1e10, 1e10  # orders of magnitude, for virtual devices that share a machine
NAMED = re.compile(r'(v5e|v6e):(\d+)x(\d+)|(v5p):(\d+)x(\d+)x(\d+)|cpu:(\d+)')


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices by name, and the kind of chip of all of them."""

    name: str
    devices: Sequence
    chip: Chip


class NoCompiler(Exception):
    """The compiler for a topology is not installed; the message says how to install it."""


def size_of(name: str) -> int:
    """How many chips a topology has; ValueError for a name that is none."""
    found = NAMED.fullmatch(name)
    sizes = [int(size) for size in re.findall(r'\d+', name.partition(':')[2])]
    if not found or math.prod(sizes) < 1:
        raise ValueError(
            f'--topology={name}: must be v5e:AxB, v6e:AxB, v5p:AxBxC or cpu:N with numbers '
            'above 0, e.g. v5e:4x4, v5p:2x2x4 or cpu:16'
        )
    return math.prod(sizes)


def open_topology(name: str) -> Topology:
    """The topology of a name. Nothing may have used JAX before.

    The CPU devices of cpu:N are virtual and share the memory of this machine. A TPU slice is only
    described, by libtpu: programs compile for it and cannot run. ValueError for a name that is none
    or that libtpu does not know, NoCompiler without libtpu.
    """
    chips = size_of(name)
    jax.config.update('jax_platforms', 'cpu')  # also where an accelerator is at hand
    if name.startswith('cpu:'):
        jax.config.update('jax_num_cpu_devices', chips)
        return Topology(name, jax.devices(), Chip(memory_of_machine() // chips, *CPU_RATES))
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # no metadata server: this is no TPU VM
    os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')  # two plans at a time
    try:
        described = topologies.get_topology_desc(name, platform='tpu')
    except RuntimeError as error:  # also jax.errors.JaxRuntimeError
        if 'not installed' in str(error):
            raise NoCompiler(
                f'--topology={name}: the compiler for TPUs, libtpu, is not installed; {INSTALL}, '
                f'or see the same collectives with --topology cpu:{chips}'
            ) from None
        raise ValueError(
            f'--topology={name}: libtpu does not describe it ({error}); take another shape, e.g. '
            'v5e:4x4'
        ) from error
    return Topology(name, described.devices, CHIPS[name.partition(':')[0]])


def memory_of_machine() -> int:
    """The bytes of this machine's memory."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
