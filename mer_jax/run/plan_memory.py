"""The memory of a compiled program on a chip, and that of one which the compiler refuses."""

import dataclasses
import math
import re

import jax

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
USED = re.compile(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)', re.IGNORECASE)
TEMPORARIES = re.compile(r'HLO temporaries \(([\d.]+)([KMGT]?)\)', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a chip, by kind; None where a refused program does not say it.

    `beside` are arrays of the run that are alive while the program runs, and no arguments of it.
    """

    arguments: int
    outputs: int | None
    aliased: int | None  # outputs that take the place of arguments
    temporaries: int | None
    peak: int  # of the program and everything beside it
    beside: int


def memory_of(compiled, beside: int) -> Memory:
    """The Memory of a compiled program."""
    stats = compiled.memory_analysis()
    outputs, aliased = stats.output_size_in_bytes, stats.alias_size_in_bytes
    arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
    peak = stats.peak_memory_in_bytes or arguments + outputs - aliased + temporaries
    return Memory(arguments, outputs, aliased, temporaries, peak + beside, beside)


def memory_of_refused(error: Exception, arguments, beside: int) -> Memory | None:
    """The Memory of a program that the compiler refuses; None if its error is of another kind."""
    held, said = bytes_of(arguments), str(error)
    if used := USED.search(said):
        return Memory(held, None, None, None, _bytes_said(used) + beside, beside)
    if used := TEMPORARIES.search(said):  # of which alone there are too many
        temporaries = _bytes_said(used)
        return Memory(held, None, None, temporaries, held + temporaries + beside, beside)
    return None


def _bytes_said(number: re.Match) -> int:
    """The bytes of a number and its unit, as the compiler writes them."""
    return int(float(number[1]) * UNITS[number[2].upper()])


def bytes_of(tree) -> int:
    """The bytes that a chip holds of abstract arrays; those without a sharding lie on each chip."""

    def of(leaf):
        sharding = getattr(leaf, 'sharding', None)  # numpy's have none
        shape = sharding.shard_shape(leaf.shape) if sharding else leaf.shape
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(of(leaf) for leaf in jax.tree.leaves(tree))
