"""The collectives of a compiled program: kind, bytes, chips that take part, and the loop."""

import dataclasses
import math
import re

from mer_jax.run.hlo import Module, Run

KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
KINDS += ('ragged-all-to-all', 'collective-broadcast')
MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\](?: ?\{([^}]*)\})?')
LISTED = re.compile(r'replica_groups=\{\{([\d,]*)\}')
CHAIN = re.compile(r'chain_id="(\d+)"')
COUNTED = re.compile(r'replica_groups=\[(\d+),(\d+)\]')


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective: its bytes are those of the larger of its operand and its result on a chip."""

    kind: str
    bytes: int  # once
    times: int
    group: int  # chips that take part
    loops: tuple[tuple[str, int], ...]
    source: str
    shape: str

    @property
    def all_bytes(self) -> int:
        """Its bytes, as often as it runs."""
        return self.bytes * self.times

    @property
    def sent(self) -> float:
        """The bytes that a chip sends on a ring, as often as it runs."""
        if self.kind == 'collective-permute':
            return self.all_bytes
        rounds = 2 if self.kind == 'all-reduce' else 1
        return self.all_bytes * rounds * (self.group - 1) / self.group


def collectives_of(module: Module, runs: list[Run], chips: int) -> list[Collective]:
    """The collectives of a program that runs on so many chips, the largest first.

    A TPU spreads a collective over several fusions, a chain, so that it travels while they compute.
    It counts once, also where some of them are in an inner loop.
    """
    found = []
    for run in first_of_chains(runs):
        kind = run.instruction.kind.removesuffix('-start')
        if kind not in KINDS or run.instruction.kind.endswith('-done'):
            continue
        taken = sum(operand.bytes for operand in module.operands(run))
        given = run.instruction.bytes
        if run.instruction.kind.endswith('-start') and given > taken:
            given -= taken  # its results begin with its operands
        if kind == 'all-reduce' and run.computation.startswith('all-reduce-scatter'):
            kind = 'reduce-scatter'  # how a TPU writes it
        widest = max(run.instruction.shapes, key=lambda shape: shape.bytes)
        found.append(
            Collective(
                kind=kind,
                bytes=max(taken, given),
                times=run.times,
                group=group_size(run.instruction.text, chips),
                loops=run.loops,
                source=run.instruction.source,
                shape=str(widest),
            )
        )
    return sorted(found, key=lambda one: -one.all_bytes)


def first_of_chains(runs: list[Run]) -> list[Run]:
    """The runs, with that part of each chain of collectives alone that runs least often."""
    kept, chains = [], {}
    for run in runs:
        chain = CHAIN.search(run.instruction.text)
        if not chain:
            kept.append(run)
        elif chain[1] not in chains or run.times < chains[chain[1]].times:
            chains[chain[1]] = run
    return [*kept, *chains.values()]


def group_size(text: str, chips: int) -> int:
    """How many chips exchange data with each other, by the attributes of a collective."""
    if found := MESH.search(text):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        named = re.findall(r"'(\w+)'", found[2] or '')
        return math.prod(int(sizes[name]) for name in named if name in sizes) if named else chips
    if found := COUNTED.search(text):
        return int(found[2])
    if found := LISTED.search(text):
        return len(found[1].split(','))
    return chips


def bytes_by_kind(collectives: list[Collective]) -> dict[str, int]:
    """The bytes of all collectives of each kind, those of loops as often as they run."""
    kinds = dict.fromkeys(one.kind for one in collectives)
    return {kind: sum(x.all_bytes for x in collectives if x.kind == kind) for kind in kinds}
