"""Spikes of a stage: a loss or a gradient norm far above its median over the last updates."""

import collections
import dataclasses
import logging
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import jax

from mer_jax.run.records import read_records
from mer_jax.run.shares import gather_rows

WINDOW = 32  # updates that a median is over
LEAST = 8  # updates before the first comparison
# The loss of reinforcement learning lies around zero, so a multiple of it says nothing.
WATCHED = {'cold_start': ('loss', 'gradient_norm'), 'train': ('gradient_norm',)}
FIGURE = 'spike'  # in the record of an update with one: the multiple of the median

log = logging.getLogger(__name__)


class Spiked(RuntimeError):
    """So many updates in a row had a spike that the run ends; its last checkpoint is kept."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """The multiple of a median above which a figure is a spike (0: none), and when to stop."""

    factor: float = 0.0
    stop: int = 0  # updates in a row with a spike after which the run ends; 0: it only warns


def records_before(workdir: pathlib.Path, stage: str) -> list[dict]:
    """The last records of a stage, read by process 0 for all."""
    writes = jax.process_index() == 0
    return gather_rows(read_records(workdir, stage)[-WINDOW:] if writes else [])


class Spikes:
    """Compares the figures of each update of a stage with those before it.

    `records` are those of the stage before this start, so that a resumed stage finds the same
    spikes as an uninterrupted one.
    """

    def __init__(self, stage: str, rule: Rule, records: Sequence[Mapping]):
        self.stage, self.rule = stage, rule
        names = WATCHED.get(stage, ()) if rule.factor else ()
        self.before = {name: collections.deque(maxlen=WINDOW) for name in names}
        self.row = 0
        for record in records:
            self._add(record)
            self.row = self.row + 1 if FIGURE in record else 0

    def note(self, step: int, figures: Mapping[str, float]) -> dict[str, float]:
        """Takes the figures of an update; {'spike': multiple} with a warning if it has one."""
        figures = {name: float(figures[name]) for name in self.before if name in figures}
        multiples = {name: self._multiple(name, value) for name, value in figures.items()}
        self._add(figures)
        name = max(multiples, key=multiples.get, default='')
        if not name or multiples[name] <= self.rule.factor:
            self.row = 0
            return {}
        self.row += 1
        if jax.process_index() == 0:
            told = '%s step %d: a spike: %s=%.4g is %.3g times its median, above spike.factor=%g'
            given = figures[name], multiples[name], self.rule.factor
            log.warning(told, self.stage, step, name, *given)
        return {FIGURE: multiples[name]}

    @property
    def hold_back(self) -> bool:
        """Whether nothing is to be saved, so that a run that stops keeps a state without spikes."""
        return bool(self.rule.stop and self.row)

    def check(self, step: int) -> None:
        """Raises Spiked after spike.stop updates in a row with a spike."""
        if self.rule.stop and self.row >= self.rule.stop:
            raise Spiked(
                f'{self.stage} step {step}: {self.row} updates in a row had a spike '
                f'(spike.stop={self.rule.stop}, spike.factor={self.rule.factor:g}; records.jsonl '
                'has the figures). The run ends here; the last checkpoint was saved before the '
                'first of them, and is kept. Start again from it with a smaller learning rate or '
                'stronger gradient clipping, or with --config.spike.stop=0 to only warn'
            )

    def _multiple(self, name: str, value: float) -> float:
        """A figure as a multiple of its median; 0 after too few updates, or a median of 0."""
        before = self.before[name]
        median = statistics.median(before) if len(before) >= LEAST else 0.0
        return value / median if median > 0 else 0.0

    def _add(self, figures: Mapping[str, float]) -> None:
        for name, before in self.before.items():
            if name in figures:
                before.append(figures[name])


def check_rule(factor: float, stop: int) -> None:
    """Checks the keys `spike.factor` and `spike.stop` of a config."""
    if 0 < factor <= 1:
        raise ValueError(f'spike.factor={factor}: must be above 1, e.g. 10.0; 0 finds no spikes')
    if stop and not factor:
        raise ValueError(
            f'spike.stop={stop}: needs spike.factor above 1, which is 0; or set it to 0'
        )
