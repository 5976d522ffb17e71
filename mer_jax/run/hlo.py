"""The text of a compiled program (HLO), read: its instructions and how often each of them runs."""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

BITS = {'pred': 8, 's4': 4, 'u4': 4, 's2': 2, 'u2': 2, 'c64': 64, 'c128': 128, 'bf16': 16}
ARRAY = re.compile(r'\b([a-z]\w*)\[([\d,<=]*)\]')
NAME = re.compile(r'%([\w.\-/]+)')
HEAD = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\{$')
LINE = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*)')
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}|(?:true|false)_computation=(%[\w.\-]+)')
BROKEN = re.compile(r'\n(".*")\n(?=\}\})')  # lines inside the attributes of a kernel
TABLES = ('FileNames', 'FunctionNames', 'FileLocations', 'StackFrames')
ROW = re.compile(r'(\d+) (.*)')
CALLED = re.compile(r'(?:calls|to_apply)=%?([\w.\-]+)')


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array of a program, as one chip holds it."""

    dtype: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f'{self.dtype}[{",".join(map(str, self.dims))}]'

    @property
    def size(self) -> int:
        """Its number of elements."""
        return int(np.prod(self.dims, dtype=np.int64))

    @property
    def bytes(self) -> int:
        """Its bytes; a token has none."""
        digits = re.search(r'\d+', self.dtype)
        bits = BITS[self.dtype] if self.dtype in BITS else int(digits.group()) if digits else 0
        return self.size * bits // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program."""

    name: str
    kind: str  # dot, fusion, all-gather, …
    shapes: tuple[Shape, ...]  # of its results
    between: str  # the brackets: names of instructions of the same computation, or a number
    text: str  # its attributes

    @property
    def operands(self) -> list[str]:
        """The names of the instructions whose results it takes."""
        return NAME.findall(self.between)

    @property
    def bytes(self) -> int:
        """The bytes of its results."""
        return sum(shape.bytes for shape in self.shapes)

    @property
    def source(self) -> str:
        """The operation of the traced function that it was made for."""
        found = re.search(r'op_name="([^"]*)"', self.text)
        return found.group(1) if found else ''


@dataclasses.dataclass(frozen=True)
class Run:
    """An instruction that runs, how often, and inside which loops."""

    instruction: Instruction
    computation: str  # that holds it
    times: int
    loops: tuple[tuple[str, int], ...]  # (operation, trips), the outermost first
    fused: bool  # part of a fusion, which touches memory as a whole


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program: the instructions of each computation by name."""

    computations: dict[str, dict[str, Instruction]]
    entry: str
    tables: dict[str, dict[str, str]]  # of source places, by title: number → text

    def line(self, instruction: Instruction) -> str:
        """The line of code that an instruction was made for, file:line; '' if it is not known."""
        frame = re.search(r'stack_frame_id=(\d+)', instruction.text)
        place = self._entry('StackFrames', 'file_location_id', frame and frame[1])
        place = self.tables.get('FileLocations', {}).get(place, '')
        found = re.search(r'file_name_id=(\d+).* line=(\d+)', place)
        name = self.tables.get('FileNames', {}).get(found[1], '') if found else ''
        return f'{name.strip(chr(34))}:{found[2]}' if name else ''

    def _entry(self, title: str, key: str, number: str | None) -> str:
        """The number under a key of a line of a table."""
        found = re.search(rf'{key}=(\d+)', self.tables.get(title, {}).get(number, ''))
        return found[1] if found else ''

    def operands(self, run: Run) -> list[Instruction]:
        """The instructions whose results an instruction takes."""
        held = self.computations[run.computation]
        return [held[name] for name in run.instruction.operands if name in held]

    def called(self, instruction: Instruction) -> str | None:
        """The computation that a fusion or a call runs."""
        found = CALLED.search(instruction.text)
        return found.group(1) if found else None

    def trips(self, loop: Instruction) -> int | None:
        """How often a loop runs; None where that depends on data.

        A TPU program does not say it; there the condition compares a counter from 0 with a number.
        """
        if known := TRIPS.search(loop.text):
            return int(known[1])
        held = self.computations[re.search(r'condition=%?([\w.\-]+)', loop.text)[1]]
        last = list(held.values())[-1]
        if last.kind != 'compare' or 'direction=LT' not in last.text:
            return None
        end = held[last.operands[1]]
        return int(end.between) if end.kind == 'constant' else None

    def runs(self, most: int) -> list[Run]:
        """Every instruction that runs.

        A loop whose trips depend on data counts `most` trips. Of the branches of a conditional, the
        one with the most instructions counts.
        """
        return list(self._runs(self.entry, 1, (), False, most))

    def _runs(self, name: str, times: int, loops, fused: bool, most: int) -> Iterator[Run]:
        for instruction in self.computations[name].values():
            yield Run(instruction, name, times, loops, fused)
            kind, text = instruction.kind, instruction.text
            if kind == 'while':
                trips = self.trips(instruction) or most
                inner = *loops, (instruction.source, trips)
                for part in re.findall(r'(?:condition|body)=%?([\w.\-]+)', text):
                    yield from self._runs(part, times * trips, inner, fused, most)
            elif kind == 'conditional':
                named = [name for found in BRANCHES.findall(text) for name in found]
                parts = [part for text in named for part in NAME.findall(text)]
                branches = [list(self._runs(part, times, loops, fused, most)) for part in parts]
                yield from max(branches, key=len)
            elif kind in ('fusion', 'call', 'async-start'):
                inside = fused or kind == 'fusion'
                yield from self._runs(self.called(instruction), times, loops, inside, most)


def read_module(text: str) -> Module:
    """The program that a text of HLO describes."""
    computations, current, entry = {}, None, None
    tables, table = {}, {}
    for line in BROKEN.sub(r'\1', text).splitlines():
        if line in TABLES:
            table = tables.setdefault(line, {})
        elif current is None and (row := ROW.match(line)):
            table[row[1]] = row[2]
        elif head := HEAD.match(line):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif current is not None and (found := LINE.match(line)):
            current[found[1]] = _instruction(found[1], found[2])
    return Module(computations, entry, tables)


def _instruction(name: str, text: str) -> Instruction:
    """The instruction of a line `name = type kind(operands), attributes`."""
    end = _closing(text) + 1 if text.startswith('(') else text.index(' ')
    type_, rest = text[:end], text[end:].lstrip()
    kind, _, rest = rest.partition('(')
    close = _closing('(' + rest) - 1
    shapes = tuple(
        Shape(dtype, tuple(int(size.strip('<=')) for size in dims.split(',') if size))
        for dtype, dims in ARRAY.findall(type_)
    )
    return Instruction(name, kind, shapes, rest[:close], rest[close:])


def _closing(text: str) -> int:
    """The place of the bracket that closes the one with which a text begins."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {'(': 1, ')': -1}.get(letter, 0)
        if not depth:
            return place
    return len(text)
