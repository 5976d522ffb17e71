"""Compiles the programs of a run for their largest batches, several at a time."""

import concurrent.futures
import dataclasses
import os
import time
from collections.abc import Callable, Collection
from typing import Any

import jax
from tqdm import tqdm

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_buffers import Buffer, largest_buffers
from mer_jax.run.plan_cost import Cost, cost_of
from mer_jax.run.plan_decoding import Decoding, decoding_of
from mer_jax.run.plan_memory import Memory, memory_of, memory_of_refused
from mer_jax.run.plan_programs import Program, plan_run
from mer_jax.run.setting import Setting
from mer_jax.run.topology import Chip, Topology

MOST_AT_ONCE = 4  # compilations, each of which takes gigabytes of the host's memory


@dataclasses.dataclass(frozen=True)
class Planned:
    """A compiled program, or one that the compiler refuses because it does not fit."""

    memory: Memory
    cost: Cost | None  # None: refused
    compile_seconds: float
    buffers: tuple[Buffer, ...] = ()  # the largest
    decoding: Decoding | None = None  # of a rollout

    def fits(self, chip: Chip) -> bool:
        """Whether a chip holds it, and the run's other arrays beside it."""
        return self.cost is not None and self.memory.peak <= chip.hbm


def make_plan(
    setting: Setting, topology: Topology, media: str, only: Collection[str] = ()
) -> dict[str, Planned]:
    """Every program of a run by name, or those of `only`, compiled for a topology.

    A bar on standard error counts them. Each thread of a few compiles one at a time.
    """
    found: dict[str, concurrent.futures.Future] = {}
    threads = min(MOST_AT_ONCE, os.cpu_count() or 1)
    silent = jax.process_index() > 0
    with (
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
        tqdm(desc='compiling', unit='program', leave=False, disable=silent) as bar,
    ):

        def compile_(program: Program) -> Callable[[], Any]:
            if only and program.name not in only:
                return lambda: None
            lowered = program.jitted.lower(*program.arguments)
            bar.total = len(found) + 1
            future = pool.submit(_compile, program, lowered, len(topology.devices))
            future.add_done_callback(lambda _: bar.update())
            found[program.name] = future
            return lambda: future.result()[1]

        try:
            with setting.in_use():
                plan_run(setting, media, compile_)
            return {name: future.result()[0] for name, future in found.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compile(program: Program, lowered: jax.stages.Lowered, chips: int) -> tuple[Planned, Any]:
    """A lowered program compiled, and the shardings of its results; None if it is refused."""
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        memory = memory_of_refused(error, program.arguments, program.beside)
        if memory is None:
            raise
        return Planned(memory, None, time.perf_counter() - started), None
    seconds = time.perf_counter() - started
    module = read_module(compiled.as_text())
    runs = module.runs(program.most)
    decoding = None
    if program.token_bytes:
        decoding = decoding_of(module, runs, program.most, program.token_bytes, chips)
    planned = Planned(
        memory=memory_of(compiled, program.beside),
        cost=cost_of(module, runs, chips),
        compile_seconds=seconds,
        buffers=largest_buffers(module, runs),
        decoding=decoding,
    )
    return planned, compiled.output_shardings
