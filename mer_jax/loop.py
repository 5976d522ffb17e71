"""A stage of updates: go on from the last checkpoint, step, record, save, stop when told to."""

import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable

import jax

from mer_jax.checkpoints import Checkpoints
from mer_jax.records import Compilations, Records


class Stopped(SystemExit):
    """A run that was told to stop has saved and leaves; the exit status is that of SIGTERM."""

    def __init__(self, message: str):
        super().__init__(message)
        self.code = 128 + signal.SIGTERM
        self.message = message


@dataclasses.dataclass(frozen=True)
class Every:
    """How often, in updates, a stage saves, and how many checkpoints it keeps."""

    save: int
    keep: int = 2


class Termination:
    """Whether SIGTERM has come; while a stage is under way it is noted instead of obeyed."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.alone = jax.process_count() == 1  # else JAX listens, for all processes at once
        if self.alone:
            self.before = signal.signal(signal.SIGTERM, self.note)
        return self

    def __exit__(self, kind, *_):
        if self.alone:
            signal.signal(signal.SIGTERM, self.before)
        if self.asked and kind is None:
            raise Stopped(
                'told to stop (SIGTERM): the stage is finished and saved; the same command goes on'
            )

    def note(self, *_):
        self.asked = True


def run_stage(
    name: str,
    workdir: pathlib.Path,
    steps: int,
    state,
    batches,
    update: Callable,
    every: Every,
):
    """The state after `steps` updates by update(state, batch, step) → (state, figures, timings).

    A stage that was killed goes on from its last checkpoint and ends with the same state and the
    same records as one that was not. A figure that is not finite ends the run before anything of
    that step is saved.
    """
    with Checkpoints(workdir / name, every.keep) as checkpoints, Termination() as termination:
        start = checkpoints.last() or 0
        if start:
            state = checkpoints.restore(start, state, batches)
        compilations = Compilations()
        with Records(workdir, name, steps, start) as records:
            for step in range(start + 1, steps + 1):
                began, compiled = time.perf_counter(), compilations.count
                state, figures, timings = update(state, next(batches), step)
                timings['seconds'] = time.perf_counter() - began
                timings['compilations'] = compilations.count - compiled
                timings['first'] = step == start + 1
                records.write(step, figures, timings)
                pod = jax.process_count() > 1
                told = checkpoints.reached_preemption(step) if pod else termination.asked
                if told or step % every.save == 0 or step == steps:
                    checkpoints.save(step, state, batches)
                if told:
                    raise Stopped(
                        f'told to stop (SIGTERM): {name} is saved at update {step} of {steps}; '
                        f'the same command goes on from there'
                    )
    return state
