"""The loop of a stage: resume, update, record, save, stop when told to."""

import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

import jax
import tqdm

from mer_jax.run.checkpoints import Checkpoints, no_best
from mer_jax.run.profiling import profiled
from mer_jax.run.records import Compilations, Records
from mer_jax.run.repeated import Repeated
from mer_jax.run.spikes import Rule, Spikes, records_before
from mer_jax.run.validation import Validation, Verdict
from mer_jax.run.workdir import last_saved

NO_RULE = Rule()


class Stopped(SystemExit):
    """Ends a run that was told to stop, after saving; the exit status is that of the signal."""

    def __init__(self, message: str, number: int = signal.SIGTERM):
        super().__init__(message)
        self.code = 128 + number
        self.message = f'told to stop ({signal.Signals(number).name}): {message}'


@dataclasses.dataclass(frozen=True)
class Every:
    """How often, in updates, a stage saves, and how many checkpoints it keeps."""

    save: int
    keep: int = 2


@dataclasses.dataclass(frozen=True)
class Watched:
    """Ways to watch a stage that change none of its results."""

    follow: Callable | None = None  # gets each record, as Records calls it
    profile: int = 0  # updates that are traced by run.profiling


UNWATCHED = Watched()


class Termination:
    """Notes SIGTERM and Ctrl-C while a stage runs, so that it can save before it stops.

    A second Ctrl-C interrupts at once.
    """

    def __init__(self):
        self.asked: int | None = None

    def __enter__(self):
        self.before = {}
        if jax.process_count() == 1:  # else JAX handles SIGTERM, for all processes at once
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, kind, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.asked and kind is None:
            raise Stopped('the stage is finished and saved; the same command resumes', self.asked)

    def note(self, number, _):
        self.asked = number
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_stage(
    name: str,
    workdir: pathlib.Path,
    steps: int,
    state,
    batches,
    update: Callable,
    every: Every,
    shown: Sequence[str] = (),
    validation: Validation | None = None,
    later: str | None = None,
    spike: Rule = NO_RULE,
    watched: Watched = UNWATCHED,
):
    """The state after `steps` updates by update(state, batch, step) → (state, figures, timings).

    A stage that was killed continues from its last checkpoint and ends with the state and the
    records of an uninterrupted one. A figure that is not finite ends the run before anything of
    that step is saved, and so do spikes in a row, as `spike` says. The progress bar shows the
    figures named in `shown`. A validation may stop the stage; the best update by it stays saved.
    Once the stage named `later` has saved something, it was begun with the result of this one: if
    that is lost, the updates after the last checkpoint are made again without touching a record.
    """
    has_ended = bool(later and last_saved(workdir / later))
    is_best = validation.is_best if validation else no_best
    with (
        Checkpoints(workdir / name, every.keep, is_best) as checkpoints,
        Termination() as termination,
        profiled(update, name, workdir, watched.profile) as update,
    ):
        start, state = checkpoints.restore_last(state, batches)
        if has_ended and start < steps:
            repeated = Repeated(workdir, name, start, steps)
            return repeat(repeated, state, batches, update, checkpoints, termination)
        compilations = Compilations()
        with Records(workdir, name, steps, start, shown, watched.follow) as records:
            verdict = validation.resume(state, start) if validation else Verdict()
            spikes = Spikes(name, spike, records_before(workdir, name))
            for step in range(start + 1, steps + 1):
                if verdict.stop:
                    break
                began, compiled = time.perf_counter(), compilations.count
                state, figures, timings = update(state, next(batches), step)
                timings['seconds'] = time.perf_counter() - began
                timings['compilations'] = compilations.count - compiled
                timings['first'] = step == start + 1
                records.write(step, figures | spikes.note(step, figures), timings)
                spikes.check(step)
                told = is_told_to_stop(checkpoints, termination, step)
                if validation and not told:  # else the resumed run validates this update
                    verdict = validation.after(state, step)
                    told = termination.asked is not None
                due = (step % every.save == 0 and not spikes.hold_back) or step == steps
                if told or due or verdict.best or verdict.stop:
                    records.upload()
                    checkpoints.save(step, state, batches)
                if told:
                    raise stopped_at(name, step, steps, termination)
    return state


def repeat(
    repeated: Repeated,
    state,
    batches,
    update: Callable,
    checkpoints: Checkpoints,
    termination: Termination,
):
    """The state after the updates of a stage that are made again; no record is written.

    Only the last one is saved, since every update must first agree with its record.
    """
    name, steps = repeated.stage, repeated.steps
    todo = range(repeated.start + 1, steps + 1)
    for step in tqdm.tqdm(todo, f'{name} again', disable=jax.process_index() > 0):
        state, figures, _ = update(state, next(batches), step)
        repeated.compare(step, figures)
        told = is_told_to_stop(checkpoints, termination, step)
        if told or step == steps:
            checkpoints.save(step, state, batches)
        if told:
            raise stopped_at(name, step, steps, termination)
    repeated.tell()
    return state


def is_told_to_stop(checkpoints: Checkpoints, termination: Termination, step: int) -> bool:
    """Whether this process, or any of a pod, has been told to stop."""
    if jax.process_count() > 1:
        return checkpoints.reached_preemption(step)
    return termination.asked is not None


def stopped_at(name: str, step: int, steps: int, termination: Termination) -> Stopped:
    """The error that ends a run after it was told to stop and has saved."""
    return Stopped(
        f'{name} is saved at update {step} of {steps}; the same command resumes there',
        termination.asked or signal.SIGTERM,
    )
