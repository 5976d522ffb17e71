"""The records of a run: figures, timings, a progress bar, the stop at the first NaN."""

import contextlib
import functools
import json
import logging
import math
import os
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import jax
import tqdm

from mer_jax.storage.objects import (
    append,
    contents,
    make_folder,
    upload_folder,
    upload_lines,
    uploading_lines,
    write_whole,
)
from mer_jax.storage.paths import StorageError, is_remote, naming, path_of

FIGURES = 'records.jsonl'
TIMINGS = 'timings.jsonl'
NOT_FINITE = 'not_finite.json'

log = logging.getLogger(__name__)


class NotFinite(FloatingPointError):
    """A figure of a step was NaN or infinite; not_finite.json holds the record."""


class DamagedRecords(ValueError):
    """A record file, or a line of it, cannot be read; the message names it."""


class Timer:
    """Seconds per name, summed over `with timer('grow'):` blocks.

    JAX returns before its arrays are ready, so a block must fetch them or wait for them.
    """

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str):
        start = time.perf_counter()
        try:
            with jax.profiler.TraceAnnotation(name):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Compilations:
    """Counts the programs that the main thread compiles; none that is loaded ahead in another."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, _: float, **details):
        if threading.current_thread() is threading.main_thread():
            self.count += event == '/jax/core/compile/backend_compile_duration'


class Records:
    """The records of one stage: a line a step in records.jsonl, TensorBoard scalars, a bar.

    A run that resumes at step `start` first drops later records of an earlier attempt, so that its
    file ends equal to that of an uninterrupted run. For the same reason records.jsonl holds figures
    only; timings go to timings.jsonl and to TensorBoard. Every process checks the figures, process
    0 writes. Beside the bar are the loss, the figures named in `shown`, and tokens a second.
    `follow` is called with the stage, the step and all figures and timings of each record.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        stage: str,
        steps: int,
        start: int,
        shown: Sequence[str] = (),
        follow: Callable[[str, int, dict], None] | None = None,
    ):
        self.workdir, self.stage = path_of(workdir), stage
        self.steps, self.start, self.follow = steps, start, follow
        labels = {name: name for name in ('loss', *shown)}
        self.labels = labels | {'tokens_per_second': 'tokens/s'}
        self.writes = jax.process_index() == 0

    def __enter__(self) -> 'Records':
        with contextlib.ExitStack() as stack:  # closes opened files if a later line fails
            if self.writes:
                make_folder(self.workdir)
                with naming(self.workdir):
                    (self.workdir / NOT_FINITE).unlink(missing_ok=True)
                self._cut_figures()
                cut_timings(self.workdir / TIMINGS, self.stage, self.start)
                self.scalars = stack.enter_context(Scalars(self.workdir, self.stage, self.start))
                stack.enter_context(uploading_lines())
                self.bar = stack.enter_context(self._bar())
            self.opened = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.opened.__exit__(*error)

    def write(self, step: int, figures: dict[str, float], timings: dict[str, float]):
        """Appends the figures and timings of a step.

        Raises NotFinite if a figure is NaN or infinite; records.jsonl then ends a step earlier.
        """
        figures = {name: float(value) for name, value in figures.items()}
        timings = {name: float(value) for name, value in timings.items()}
        self._check(step, figures)
        if not self.writes:
            return
        record = dict(stage=self.stage, step=int(step))
        append_line(self.workdir / FIGURES, record | figures)
        append_line(self.workdir / TIMINGS, record | timings)
        both = figures | timings
        self.scalars.add(both, step)
        if self.follow:
            self.follow(self.stage, step, both)
        labels = self.labels.items()
        shown = {label: f'{both[name]:.4g}' for name, label in labels if name in both}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - self.bar.n)

    def upload(self):
        """Copies into a bucket all that was written so far; called before a checkpoint is saved."""
        if self.writes:
            upload_lines()
            self.scalars.upload()

    def _cut_figures(self):
        """Drops the records that this start writes again; says which ones are lost.

        DamagedRecords if the last line is torn and holds a record that is not made again.
        """
        path = self.workdir / FIGURES
        records, torn = parse_lines(path, are_figures)
        steps = {r['step'] for r in records if r['stage'] == self.stage}
        missing = sorted(set(range(1, self.start + 1)) - steps)
        if steps and not self.start:
            told = '%s: %s begins anew, for it has no checkpoint; its %d records are written again'
            log.warning(told, path, self.stage, len(steps))
        if torn and missing:
            raise DamagedRecords(
                f'{torn}; it is the only copy of a record, for {self.stage} continues at update '
                f'{self.start} and does not repeat update {missing[0]}. Restore the file from a '
                'copy, or remove the line to continue without the record'
            )
        if missing:
            told = '%s: has no records of %d of the %d updates of %s before this start'
            log.warning(told, path, len(missing), self.start, self.stage)
        if torn and self.start >= self.steps:
            log.warning('%s; it is left as it is', torn)  # it may belong to a later stage
        else:
            cut_lines(path, self.stage, self.start, are_figures)

    def _bar(self) -> tqdm.tqdm:
        return tqdm.tqdm(
            total=self.steps, initial=self.start, desc=self.stage, unit='step', dynamic_ncols=True
        )

    def _check(self, step: int, figures: dict[str, float]):
        bad = {name: value for name, value in figures.items() if not math.isfinite(value)}
        if not bad:
            return
        if self.writes:
            readable = {name: str(x) if name in bad else x for name, x in figures.items()}
            record = dict(stage=self.stage, step=int(step), **readable)
            write_whole(self.workdir / NOT_FINITE, json.dumps(record, indent=2) + '\n')
        terms = ', '.join(f'{name}={value}' for name, value in bad.items())
        raise NotFinite(
            f'{self.stage} step {step}: every figure must be finite, but {terms}. The run stops '
            'here; the last checkpoint is kept, if one was due before, and all figures of the step '
            f'are in {self.workdir / NOT_FINITE}. Start again from that checkpoint with a smaller '
            'learning rate, stronger gradient clipping or float32 activations.'
        )


def read_records(workdir: str | os.PathLike, stage: str | None = None) -> list[dict]:
    """The records of a run, or of one stage of it, in the order of writing.

    Raises DamagedRecords for a damaged line that is not the last.
    """
    records = read_lines(path_of(workdir) / FIGURES, are_figures)
    return [record for record in records if stage in (None, record['stage'])]


def are_figures(record: dict) -> bool:
    """Whether all values of a record but its stage are numbers."""
    return all(is_number(value) for key, value in record.items() if key != 'stage')


def is_number(value) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def stage_compilations(workdir: str | os.PathLike, stage: str) -> tuple[int, int]:
    """Programs compiled at the first update of a stage, and at all its later updates.

    A resumed run compiles again at its first update, which counts as first.
    """
    timings = [t for t in read_timings(workdir, stage, 'compilations') if 'first' in t]
    first = sum(int(t['compilations']) for t in timings if t['first'])
    return first, sum(int(t['compilations']) for t in timings if not t['first'])


def stage_seconds(workdir: str | os.PathLike, stage: str) -> float:
    """Seconds that the steps of a stage took, including compilation; each step counts once."""
    return sum(timing['seconds'] for timing in read_timings(workdir, stage, 'seconds'))


def read_timings(workdir: str | os.PathLike, stage: str, name: str) -> list[dict]:
    """The timings of a stage that hold a number of this name; damaged lines are left out."""
    timings, _ = whole_lines(path_of(workdir) / TIMINGS)
    return [t for t in timings if t['stage'] == stage and is_number(t.get(name))]


def import_tensorboard():
    """The module tensorboardX, imported where it is first used, because that takes a while.

    It would import torch where that is installed: seconds, for nothing that scalars need.
    """
    hides_torch = 'torch' not in sys.modules
    sys.modules.setdefault('torch', None)
    try:
        import tensorboardX
    finally:
        if hides_torch:
            del sys.modules['torch']
    return tensorboardX


class Scalars:
    """A writer of TensorBoard scalars; those beyond step `start` of earlier writers are dropped.

    Each name has a folder, because the tags of a whole folder are dropped. For a bucket the files
    are written locally and copied by `upload`, and at the end.
    """

    def __init__(self, workdir: pathlib.Path, name: str, start: int):
        self.folder, self.name, self.start = workdir / 'tensorboard' / name, name, start

    def __enter__(self) -> 'Scalars':
        for folder in () if is_remote(self.folder) else (self.folder.parent, self.folder):
            if folder.exists() and not folder.is_dir():
                raise DamagedRecords(
                    f'{folder}: must be a folder, for TensorBoard, and is a file; rename or remove '
                    'the file'
                )
        with contextlib.ExitStack() as stack:
            self.held = self.folder
            if is_remote(self.folder):
                scratch = tempfile.TemporaryDirectory(prefix='mer_jax_')
                self.held = pathlib.Path(stack.enter_context(scratch))
            self.opened = stack.pop_all()
        return self

    @functools.cached_property
    def writer(self):
        """The writer of tensorboardX, opened with the first figures, not before their update."""
        options = dict(purge_step=self.start + 1, flush_secs=10, filename_suffix=f'.{self.start}')
        writer = import_tensorboard().SummaryWriter(str(self.held), **options)
        return self.opened.enter_context(writer)

    def __exit__(self, kind, error, trace):
        with self.opened:
            if not isinstance(error, StorageError):  # else this would fail too, after long
                self.upload()

    def add(self, figures: dict[str, float], step: int):
        """Adds the figures of a step under the name of this writer."""
        for figure, value in figures.items():
            self.writer.add_scalar(f'{self.name}/{figure}', value, step)

    def upload(self):
        """Copies the file into a bucket, as far as it is written; nothing for a local folder."""
        if self.held != self.folder:
            self.writer.flush()
            upload_folder(self.held, self.folder)


def read_lines(path: pathlib.Path, fits: Callable[[dict], bool] = bool) -> list[dict]:
    """The records of a file of JSON lines, each with a stage and a step; [] if there is no file.

    A last line that a kill cut off is left out, with a warning. Raises DamagedRecords for another
    damaged line, or one that does not fit.
    """
    records, torn = parse_lines(path, fits)
    if torn:
        log.warning('%s; it is left out', torn)
    return records


def parse_lines(path: pathlib.Path, fits: Callable[[dict], bool]) -> tuple[list[dict], str | None]:
    """As `read_lines`, and the message about a torn last line, if there is one."""
    records, damages = whole_lines(path, fits)
    last = len(records) + len(damages)
    for number, told in damages.items():
        if number < last:
            raise DamagedRecords(
                f'{told}; restore the file from a copy, or remove the line to continue without it'
            )
    return records, damages.get(last)


def whole_lines(
    path: pathlib.Path, fits: Callable[[dict], bool] = bool
) -> tuple[list[dict], dict[int, str]]:
    """The records of a file that can be read, and messages about the others, by line number."""
    if path.is_dir():
        raise DamagedRecords(f'{path}: must be a file, and is a folder; rename the folder')
    records, damages = [], {}
    for number, line in enumerate(contents(path).splitlines(), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if is_record(record) and fits(record):
            records.append(record)
        else:
            damages[number] = (
                f'{path} line {number}: must be a JSON record with a stage, a step and numbers, '
                f'found {line[:60]!r}'
            )
    return records, damages


def is_record(value) -> bool:
    """Whether a value of JSON is an object with a stage and a step."""
    if not isinstance(value, dict) or not isinstance(value.get('stage'), str):
        return False
    step = value.get('step')
    return isinstance(step, int) and not isinstance(step, bool)


def cut_lines(
    path: pathlib.Path, stage: str, start: int, fits: Callable[[dict], bool] = bool
) -> None:
    """Cuts the file before the first record of `stage` beyond `start`.

    Later records, of any stage, are dropped too; the resumed run writes them again.
    """
    _write_until(path, read_lines(path, fits), stage, start)


def cut_timings(path: pathlib.Path, stage: str, start: int) -> None:
    """As `cut_lines`; damaged lines are dropped, with a warning, for no later step needs them."""
    timings, damages = whole_lines(path)
    for told in damages.values():
        log.warning('%s; it is left out', told)
    _write_until(path, timings, stage, start)


def _write_until(path: pathlib.Path, records: list[dict], stage: str, start: int) -> None:
    """Writes the records before the first one of `stage` beyond `start`."""
    beyond = [k for k, r in enumerate(records) if r['stage'] == stage and r['step'] > start]
    kept = records[: beyond[0]] if beyond else records
    write_whole(path, ''.join(json.dumps(record) + '\n' for record in kept))


def append_line(path: pathlib.Path, record: dict):
    """Appends a record to a file of JSON lines."""
    append(path, json.dumps(record) + '\n')
