"""The largest arrays that a compiled program makes, with the line of code behind each."""

import dataclasses
import pathlib

from mer_jax.run.hlo import Module, Run
from mer_jax.run.plan_cost import FREE

NO_SOURCE = 'an operation that XLA adds'
PACKAGE = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An array on a chip. How many of them are alive at a time, it does not say."""

    bytes: int
    shape: str
    line: str  # file:line, or the operation where that is not known


def largest_buffers(module: Module, runs: list[Run], most: int = 3) -> list[Buffer]:
    """The largest arrays of a program that are no arguments, each shape and line once."""
    found = {}
    for run in runs:
        instruction = run.instruction
        if run.fused or instruction.kind in FREE:
            continue
        line = (
            module.line(instruction).removeprefix(f'{PACKAGE.parent}/')
            or instruction.source
            or NO_SOURCE
        )
        for shape in instruction.shapes:
            buffer = Buffer(shape.bytes, str(shape), line)
            found[buffer] = None
    return sorted(found, key=lambda buffer: -buffer.bytes)[:most]
