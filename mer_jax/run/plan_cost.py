"""The work of a compiled program on a chip: FLOPs, memory traffic, and a roofline's seconds.

Loops count as often as they run; XLA's own count takes the body of a loop once.
"""

import dataclasses
import math
import re

import numpy as np

from mer_jax.run.hlo import Instruction, Module, Run, Shape
from mer_jax.run.plan_collectives import Collective, collectives_of
from mer_jax.run.plan_kernels import kernel_flops
from mer_jax.run.topology import Chip

FREE = {  # instructions that move nothing, or whose parts are counted by themselves
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional'),
    *('call', 'after-all', 'partition-id', 'replica-id', 'async-start', 'async-update'),
    *('async-done', 'copy-done', 'opt-barrier', 'domain'),
}
SLICES = ('dynamic-slice', 'slice', 'gather')
THROUGH = ('bitcast', 'convert', 'copy', 'reshape', 'transpose')  # still the same bytes


@dataclasses.dataclass(frozen=True)
class Cost:
    """The work of a chip in one run of a program."""

    flops: float  # of matrix products and convolutions
    traffic: float  # bytes read and written, each fusion once; an upper estimate
    collectives: list[Collective]

    def seconds(self, chip: Chip) -> dict[str, float]:
        """The least time for compute, memory and links, each by itself."""
        return {
            'compute': self.flops / chip.flops,
            'memory': self.traffic / chip.memory,
            'links': sum(one.sent for one in self.collectives) / chip.links,
        }


def cost_of(module: Module, runs: list[Run], chips: int) -> Cost:
    """The Cost of a program of so many chips, by the instructions that run on each."""
    return Cost(
        flops=float(sum(run.times * flops_of(module, run) for run in runs)),
        traffic=float(sum(run.times * traffic_of(module, run) for run in runs)),
        collectives=collectives_of(module, runs, chips),
    )


def flops_of(module: Module, run: Run) -> int:
    """The FLOPs of a matrix product, convolution or known kernel, 0 for any other instruction."""
    instruction = run.instruction
    if instruction.kind == 'custom-call':
        return kernel_flops(instruction, module.operands(run))
    if instruction.kind not in ('dot', 'convolution'):
        return 0
    left, right = (operand.shapes[0] for operand in module.operands(run)[:2])
    if instruction.kind == 'convolution':
        return convolution_flops(instruction, left, right)
    contracted = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', instruction.text)[1]
    sizes = [left.dims[int(dim)] for dim in contracted.split(',') if dim]
    return 2 * instruction.shapes[0].size * math.prod(sizes)


def convolution_flops(instruction: Instruction, left: Shape, right: Shape) -> int:
    """2 · batch · output features · input features · the pairs of places that meet.

    A TPU writes matrix products as convolutions; batches of them are windows with padding.
    """
    image, kernel, output = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', instruction.text).groups()
    result = instruction.shapes[0]
    sizes = dict(zip(output, result.dims, strict=True))
    pairs = sizes['b'] * sizes['f'] * right.dims[kernel.index('i')]
    for label in (label for label in kernel if label.isdigit()):
        axis = sorted(part for part in kernel if part.isdigit()).index(label)
        pairs *= meeting_places(
            left.dims[image.index(label)],
            right.dims[kernel.index(label)],
            sizes[label],
            [window_of(instruction.text, key, axis) for key in WINDOW],
        )
    return 2 * pairs


WINDOW = {'stride': '1', 'pad': '0_0', 'lhs_dilate': '1', 'rhs_dilate': '1'}


def window_of(text: str, key: str, axis: int) -> int:
    """A number of a convolution's window along an axis; of its padding the lower one."""
    found = re.search(rf'window=\{{[^}}]*\b{key}=([\d_x\-]+)', text)
    return int((found[1].split('x')[axis] if found else WINDOW[key]).partition('_')[0])


def meeting_places(image: int, kernel: int, output: int, window: list[int]) -> int:
    """How many pairs (place of the output, place of the kernel) meet the image along an axis."""
    stride, pad, spread, apart = window
    place = np.arange(output)[:, None] * stride + np.arange(kernel) * apart - pad
    inside = (place >= 0) & (place <= (image - 1) * spread) & (place % spread == 0)
    return int(inside.sum())


def traffic_of(module: Module, run: Run) -> int:
    """The bytes that an instruction reads and writes; nothing for a part of a fusion."""
    instruction = run.instruction
    if run.fused or instruction.kind in FREE or instruction.kind.endswith('-done'):
        return 0
    operands = module.operands(run)
    if instruction.kind in SLICES:
        return 2 * instruction.bytes
    if instruction.kind == 'dynamic-update-slice':
        return 2 * operands[1].bytes
    if instruction.kind == 'fusion':
        return fusion_traffic(inlined(module, module.called(instruction)), instruction, operands)
    return instruction.bytes + sum(operand.bytes for operand in operands)


def inlined(module: Module, computation: str) -> dict[str, Instruction]:
    """The instructions of a computation by name, those of fusions inside it in their place."""
    found = {}
    for instruction in module.computations[computation].values():
        if instruction.kind != 'fusion':
            found[instruction.name] = instruction
            continue
        inside = inlined(module, module.called(instruction))
        given = instruction.operands
        names = {name: f'{instruction.name}/{name}' for name in inside}
        names |= {
            name: given[int(one.between)] for name, one in inside.items() if one.kind == 'parameter'
        }
        names[next(reversed(inside))] = instruction.name  # the last one gives the fusion's result
        for name, one in inside.items():
            if one.kind != 'parameter':
                between = one.between
                if one.operands:
                    between = ', '.join(f'%{names[operand]}' for operand in one.operands)
                found[names[name]] = dataclasses.replace(one, name=names[name], between=between)
    return found


def fusion_traffic(inside, fusion: Instruction, operands: list[Instruction]) -> int:
    """The bytes of a fusion: of an operand that it only slices, or updates in place, the slice."""
    users = {name: [] for name in inside}
    for instruction in inside.values():
        for name in instruction.operands:
            users[name].append(instruction)
    moved = fusion.bytes
    for instruction in inside.values():
        if instruction.kind == 'dynamic-update-slice':  # its result is its first operand
            moved += inside[instruction.operands[1]].bytes - instruction.bytes
        if instruction.kind == 'parameter':
            ends = list(last_uses(instruction.name, users))
            if ends and all(sliced for sliced, _ in ends):
                moved += sum(size for _, size in ends)
            else:
                moved += operands[int(instruction.between)].bytes
    return max(moved, 0)


def last_uses(name: str, users: dict[str, list[Instruction]]):
    """(whether a use takes a slice alone, the bytes of it) of a value, through changes of form."""
    for user in users[name]:
        if user.kind in THROUGH:
            yield from last_uses(user.name, users)
        elif user.kind in SLICES and user.operands[0] == name:
            yield True, user.bytes
        elif user.kind == 'dynamic-update-slice' and user.operands[0] == name:
            yield True, 0
        else:
            yield False, 0
