"""The collectives of a compiled program: kind, bytes, and how often its loops run them."""

import collections
import dataclasses
import math
import re

KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
WIDTHS = {'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'bf16': 2, 'f16': 2, 's64': 8}
WIDTHS |= {'u64': 8, 'f64': 8}  # all other types of HLO that programs here use have four bytes

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.-]+) \(.*\{$')
_COLLECTIVE = re.compile(rf'= (.+?) ({"|".join(KINDS)})(-start)?\(')
_ARRAY = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_CALLED = re.compile(
    r'(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)='
    r'(\{[^}]*\}|%?[\w.-]+)'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_PLACE = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program, as each device runs it."""

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]  # type and shape of each result
    times: int  # runs of it in one run of the program
    loops: int  # loops around it
    endless: bool  # whether one of them has a trip count that only the run decides
    place: str  # the JAX operation that it belongs to

    @property
    def size(self) -> int:
        """Bytes of its results in one run of it."""
        return sum(WIDTHS.get(kind, 4) * math.prod(shape) for kind, shape in self.arrays)


def collectives(text: str, trips: int = 1) -> list[Collective]:
    """The collectives in the text of a compiled program (`compiled.as_text()`).

    A loop whose trip count only the run decides, such as that over tokens, counts `trips` times.
    """
    computations, entry = _computations(text)
    found, open_ = [], [(entry, 1, 0, False)]
    while open_:
        name, times, loops, endless = open_.pop()
        for line in computations.get(name, ()):
            if match := _COLLECTIVE.search(line):
                found.append(_collective(match, line, times, loops, endless))
            is_loop, known = ' while(' in line, _TRIPS.search(line)
            often = (int(known[1]) if known else trips) if is_loop else 1
            inside = (times * often, loops + is_loop, endless or (is_loop and not known))
            for called in _CALLED.finditer(line):
                names = re.findall(r'[\w.-]+', called[2])
                open_ += [(inner, *inside) for inner in names]
    return found


def bytes_by_kind(found: list[Collective]) -> dict[str, int]:
    """The bytes that each kind of collective delivers to a device in one run of a program."""
    total = collections.Counter()
    for one in found:
        total[one.kind] += one.size * one.times
    return dict(total)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation of a program by its name, and the name of its entry."""
    computations, entry, name = {}, '', ''
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[2]
            computations[name] = []
            entry = name if match[1] else entry
        elif name:
            computations[name].append(line)
    return computations, entry


def _collective(match: re.Match, line: str, times: int, loops: int, endless: bool) -> Collective:
    """The Collective of a line; an asynchronous one has its operands first, then its results."""
    arrays = tuple(
        (kind, tuple(int(n) for n in sizes.split(',') if n))
        for kind, sizes in _ARRAY.findall(match[1])
    )
    if match[3] and match[1].startswith('('):
        arrays = arrays[len(arrays) // 2 :]
    place = _PLACE.search(line)
    return Collective(match[2], arrays, times, loops, endless, place[1] if place else '')
