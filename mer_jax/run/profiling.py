"""A trace of some updates of a stage, and a page on where their time went."""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import tqdm

from mer_jax.run.records import Compilations
from mer_jax.run.report import hardware
from mer_jax.storage.objects import upload_folder, write_whole
from mer_jax.storage.paths import is_remote

FOLDER, PAGE = 'profile', 'summary.md'
MOST_SHOWN = 12  # programs, and operations, of a page
RATES = ('tokens_per_second',)  # timings of an update that are no seconds
OPERATIONS = 'XLA Ops'  # the line of a TPU that holds its operations

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a compiled program in a trace, without the operations inside it."""

    program: str
    name: str
    seconds: float


@dataclasses.dataclass
class Measured:
    """Seconds of the traced updates; `between` is the time from one to the next."""

    steps: list[int] = dataclasses.field(default_factory=list)
    parts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    inside: float = 0.0
    between: float = 0.0
    compiled: int = 0


class Profile:
    """An update function that is traced `count` times, from the first after one without compiling.

    `folder` then holds the trace and the page.
    """

    def __init__(self, update: Callable, stage: str, folder: pathlib.Path, count: int):
        self.update, self.stage, self.folder, self.count = update, stage, folder, count
        self.compilations, self.measured = Compilations(), Measured()
        self.called = self.warm = self.done = False
        self.traced: tempfile.TemporaryDirectory | None = None
        self.ended = 0.0

    def __call__(self, state, batch, step: int):
        self.called = True
        if self.warm and not self.done and self.traced is None:
            self._start()
        began, compiled = time.perf_counter(), self.compilations.count
        with jax.profiler.StepTraceAnnotation(self.stage, step_num=step):
            state, figures, timings = self.update(state, batch, step)
        compiled = self.compilations.count - compiled
        self.warm = self.warm or not compiled
        if self.traced is not None:
            self._note(step, began, compiled, timings)
        return state, figures, timings

    def _start(self):
        self.traced = tempfile.TemporaryDirectory(prefix='mer_jax_')
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # calls of Python would be most of the trace
        jax.profiler.start_trace(self.traced.name, profiler_options=options)

    def _note(self, step: int, began: float, compiled: int, timings: dict):
        measured, now = self.measured, time.perf_counter()
        if measured.steps:
            measured.between += began - self.ended
        measured.steps.append(step)
        measured.parts.update({k: v for k, v in timings.items() if k not in RATES})
        measured.inside += now - began
        measured.compiled += compiled
        if len(measured.steps) == self.count:
            self.finish()
        self.ended = time.perf_counter()

    def finish(self):
        """Ends the trace, if one runs, and writes the page."""
        self.done = True
        if self.traced is None:
            return
        jax.profiler.stop_trace()
        with self.traced as name:
            found = operations_of(pathlib.Path(name).rglob('*.xplane.pb'))
            if is_remote(self.folder):
                upload_folder(pathlib.Path(name), self.folder)
            else:
                shutil.copytree(name, self.folder, dirs_exist_ok=True)
        self.traced = None
        page = self.folder / PAGE
        write_whole(page, page_of(self.stage, self.measured, found))
        told = f'{page} says where the time of updates {span_of(self.measured.steps)} went'
        tqdm.tqdm.write(told, file=sys.stderr)


@contextlib.contextmanager
def profiled(update: Callable, stage: str, workdir: pathlib.Path, count: int) -> Iterator[Callable]:
    """The update function, traced `count` times in process 0; the same function if count is 0."""
    if not count or jax.process_index() > 0:
        yield update
        return
    profile = Profile(update, stage, workdir / FOLDER / stage, count)
    try:
        yield profile
    finally:
        profile.finish()
    if profile.called and not profile.measured.steps:
        told = '--profile=%d: no update of %s was traced, for none came after one that compiles'
        log.warning(told, count, stage)


def operations_of(files: Iterable[pathlib.Path]) -> list[Operation]:
    """The operations in traces, each with the time that it took without those inside it."""
    found = []
    for file in files:
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            lines = list(plane.lines)
            of_device = [line for line in lines if line.name == OPERATIONS]
            for line in of_device or lines:
                found += own_times(events_of(line, bool(of_device)))
    return found


def events_of(line, all_count: bool) -> list[tuple[float, float, str, str]]:
    """(start, end, program, name) of the operations of a line, in nanoseconds."""
    events = []
    for event in line.events:
        stats = {name: value for name, value in event.stats if name in ('hlo_op', 'hlo_module')}
        if all_count or 'hlo_op' in stats:
            program = str(stats.get('hlo_module', '')).removeprefix('jit_')
            end = event.start_ns + event.duration_ns
            events.append((event.start_ns, end, program, str(stats.get('hlo_op', event.name))))
    return events


def own_times(events: Sequence[tuple[float, float, str, str]]) -> list[Operation]:
    """Each event of one thread with its duration less that of the events directly inside it."""
    own, open_events = [], []
    for number, (start, end, _, _) in sorted(enumerate(events), key=lambda x: (x[1][0], -x[1][1])):
        while open_events and events[open_events[-1][0]][1] <= start:
            open_events.pop()
        entry = [number, end - start]
        if open_events:
            open_events[-1][1] -= end - start
        open_events.append(entry)
        own.append(entry)
    return [Operation(*events[number][2:], seconds=max(left, 0) / 1e9) for number, left in own]


def span_of(steps: Sequence[int]) -> str:
    """The first and the last of some updates, as text."""
    return f'{steps[0]} to {steps[-1]}' if len(steps) > 1 else str(steps[0])


def page_of(stage: str, measured: Measured, operations: Sequence[Operation]) -> str:
    """The page: seconds an update by its parts, by programs, and by operations."""
    count = len(measured.steps)
    rest = measured.inside - sum(measured.parts.values())
    pauses = max(count - 1, 1)
    parts = {name: seconds / count for name, seconds in measured.parts.items()}
    parts |= {'rest of the update': rest / count}
    parts |= {'between two updates (records, saves, waiting)': measured.between / pauses}
    lines = [
        f'# {stage}, updates {span_of(measured.steps)}: seconds of one',
        '',
        f'On {hardware()}. {measured.compiled} programs were compiled meanwhile.',
        '',
        *table(('part', 'seconds', '%'), [(name, s, '') for name, s in parts.items()]),
    ]
    if operations:
        by_program, by_name, calls = (collections.Counter() for _ in range(3))
        for one in operations:
            by_program[one.program] += one.seconds / count
            by_name[one.name, one.program] += one.seconds / count
            calls[one.name, one.program] += 1
        rows = [(program or 'unnamed', s, '') for program, s in by_program.most_common(MOST_SHOWN)]
        lines += ['', *table(('program', 'seconds', '%'), rows), '']
        shown = by_name.most_common(MOST_SHOWN)
        rows = [(f'{key[0]} of {key[1]}', s, f'{calls[key] / count:g}') for key, s in shown]
        whole = sum(by_program.values())
        lines += table(('operation', 'seconds', '%', 'times'), rows, whole)
        lines += [
            '',
            'Seconds of programs and operations are summed over devices, or over threads of a CPU; '
            'those of an operation leave out the operations inside it.',
        ]
    else:
        lines += ['', 'The trace names no operations.']
    lines += ['', 'The trace is beside this page: open *.trace.json.gz at https://ui.perfetto.dev.']
    return '\n'.join(lines) + '\n'


def table(head: Sequence[str], rows: Sequence[tuple], whole: float | None = None) -> list[str]:
    """A table in Markdown of rows (name, seconds, more), with the share of the whole."""
    whole = sum(row[1] for row in rows) if whole is None else whole
    lines = [f'| {" | ".join(head)} |', f'|---|{"--:|" * (len(head) - 1)}']
    for name, seconds, more in rows:
        share = 100 * seconds / whole if whole else 0.0
        cells = [name, f'{seconds:.4f}', f'{share:.1f}', *([more] if len(head) == 4 else [])]
        lines.append(f'| {" | ".join(cells)} |')
    return lines
