r"""Runs a config: cold start, reinforcement learning, evaluation, report.

    python -m mer_jax.main --config configs/mer_r1.py --workdir runs/first
    python -m mer_jax.main --config configs/mer_r1.py:qwen2_5_omni_7b --workdir runs/omni \
        --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl
    python -m mer_jax.main --config configs/emo_r3.py --print_config=learn

The first trains a small model on the embedded stage, the second a published checkpoint, the third
prints keys with their values, meanings, units and sources. --config.KEY=VALUE changes a key.
Started again with the same workdir, every stage continues where it stopped.
"""

import gc

gc.set_threshold(50_000, 20, 10)  # imports and tracing make many objects, and most of them stay

import contextlib
import functools
import os
import pathlib
import signal
import sys
import traceback

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from mer_jax.data.media.container import MediaError
from mer_jax.errors import quiet_pipes, quiet_writes, reason_of_disk
from mer_jax.methods.own_rewards import RewardError
from mer_jax.run import command_line, defaults, lock
from mer_jax.run.checkpoints import DamagedCheckpoints
from mer_jax.run.cluster import SWITCH, join
from mer_jax.run.command_line import leave, overridden, prefix_of
from mer_jax.run.device_errors import explained, reason_of_device
from mer_jax.run.key_meanings import keys_as_text, keys_of_run
from mer_jax.run.lock import release
from mer_jax.run.records import DamagedRecords, NotFinite, stage_compilations
from mer_jax.run.repeated import OtherResult
from mer_jax.run.report import terminal_table
from mer_jax.run.signs_of_life import LATER, watching
from mer_jax.run.spikes import Spiked
from mer_jax.run.stage_loop import Stopped
from mer_jax.run.stages import run, start
from mer_jax.storage.objects import uploading_lines
from mer_jax.storage.paths import StorageError, is_remote, naming, path_of

CONFIG = config_flags.DEFINE_config_file('config', None, command_line.CONFIG, lock_config=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; the same folder resumes it.')
DISTRIBUTED = flags.DEFINE_flag(
    flags.Flag(  # also without a value, like a flag of bool
        flags.EnumParser((*SWITCH, 'true', 'false')),
        flags.ArgumentSerializer(),
        'distributed',
        'auto',
        'Whether this is one of many processes that train together (TPU pods, clusters). auto: '
        'where a launcher that JAX knows has started several.',
        boolean=True,
    )
)
COORDINATOR = flags.DEFINE_string('coordinator', None, 'host:port of process 0, if not detected.')
PROCESSES = flags.DEFINE_integer('processes', None, 'How many processes, if not detected.')
PROCESS = flags.DEFINE_integer('process', None, 'The number of this one, if not detected.')
HEARTBEAT = flags.DEFINE_integer(
    'heartbeat', 15, 'Seconds without a sign of life after which a process counts as failed.', 3
)
WAIT = flags.DEFINE_integer('wait', 300, 'Seconds to wait at the start for other processes.', 1)
PROFILE = flags.DEFINE_integer(
    'profile', 0, 'Trace so many updates of each stage that compile nothing: WORKDIR/profile.', 0
)
PRINT_CONFIG = command_line.define_print_config()
# Errors of a run whose message is enough.
MESSAGES = (
    MediaError,
    NotFinite,
    Spiked,
    OtherResult,
    RewardError,
    DamagedRecords,
    DamagedCheckpoints,
    StorageError,
)
read_flags = functools.partial(command_line.read_flags, default=defaults.__file__, about=__doc__)


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    gc.freeze()  # what is imported stays
    if PRINT_CONFIG.value:
        print_keys(PRINT_CONFIG.value)
        return
    if not WORKDIR.value:
        leave('--workdir is missing: name a folder for the run, e.g. --workdir runs/first')
    quiet_writes()
    with quiet_pipes(), explained(), contextlib.ExitStack() as held:
        join_others()
        with watching(HEARTBEAT.value):
            run_in(held)


def print_keys(asked: str) -> None:
    """Prints the keys of the config that --print_config asks for."""
    try:
        keys, legend = keys_of_run(CONFIG.value, overridden())
        text = keys_as_text(keys, legend, prefix_of(asked))
    except ValueError as error:
        leave(str(error))
    with quiet_pipes():
        print(text)


def join_others() -> None:
    """Joins the other processes of the run, if there are any."""
    switch = {'true': 'on', 'false': 'off'}.get(DISTRIBUTED.value, DISTRIBUTED.value)
    named = COORDINATOR.value, PROCESSES.value, PROCESS.value
    try:
        join(switch, *named, HEARTBEAT.value + LATER, WAIT.value, os.environ)
    except ValueError as error:
        leave(str(error))


def run_in(held: contextlib.ExitStack) -> None:
    """Starts the run and prints its results; `held` keeps its lock."""
    try:
        workdir = path_of(WORKDIR.value)
        with naming(workdir):
            setting, policy, changes = start(CONFIG.value, workdir, held)
    except (ValueError, OSError, StorageError) as error:
        held.close()  # `leave` may end the process at once
        reason = isinstance(error, OSError) and reason_of_disk(error)
        told = reason_of_device(error) or str(error)
        leave(f'--workdir={WORKDIR.value}: {reason}' if reason else told)
    if jax.process_index() == 0:
        for change in changes:
            print(f'{workdir}: continues with {change}', file=sys.stderr)
    if jax.process_count() == 1:  # else JAX itself handles the signals, for all processes
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, functools.partial(stop_between_stages, workdir))
    try:
        with naming(workdir), uploading_lines():
            results = run(setting, policy, workdir, PROFILE.value)
    except MESSAGES as error:
        if not isinstance(error, StorageError):  # a bucket that fails would hold this up
            held.close()
        leave(str(error), at_once=isinstance(error, StorageError))
    except Stopped as stopped:
        print(stopped.message, file=sys.stderr)
        raise
    except BaseException as error:
        if isinstance(error, Exception) and (reason := reason_of_disk(error)):
            held.close()
            leave(f'--workdir={workdir}: {reason}. Mend that; the same command resumes the run')
        if jax.process_count() == 1:
            raise
        held.close()
        traceback.print_exc()
        told = reason_of_device(error) or 'this process has failed'
        leave(f'{told}; the other processes cannot continue alone and end too')
    if jax.process_index() == 0:
        print(as_text(results, workdir, CONFIG.value.export))


def as_text(results: dict, workdir: pathlib.Path, exported: bool) -> str:
    """The results of a run for people: scores, compilations, and the files to look at."""
    lines = [terminal_table(results)]
    for stage in ('cold_start', 'train'):
        first, later = stage_compilations(workdir, stage)
        lines.append(f'{stage}: {first} programs compiled at the first update, {later} later')
    if validation := results.get('validation'):
        lines.append(validation_as_text(validation, results['evaluated']))
    report, figures = workdir / 'report.html', workdir / 'results.json'
    lines.append(f'{report} shows the run, {figures} holds its figures')
    if exported:
        which = results['evaluated']['policy']
        lines.append(f'{workdir / "export"} holds the {which} policy as a Hugging Face checkpoint')
    return '\n'.join(lines)


def validation_as_text(validation: dict, evaluated: dict) -> str:
    """The best validation, the early stop and the evaluated policy in a line."""
    parts = [f'evaluated: the {evaluated["policy"]} policy, of update {evaluated["update"]}']
    if best := validation.get('best'):
        name = validation['score']
        parts.append(f'best validation: slow {name} {best[name]:.3f} at update {best["update"]}')
    if validation['stopped']:
        parts.append(f'training stopped early at update {validation["stopped"]}')
    return '; '.join(parts)


def stop_between_stages(workdir: pathlib.Path, number: int, _) -> None:
    """Handles SIGTERM and Ctrl-C between two stages; within one, stage_loop.Termination does.

    All files are complete at any time, so the process ends at once: an exception raised here could
    be lost in a destructor.
    """
    name = signal.Signals(number).name
    text = f'told to stop ({name}): finished stages are saved; the same command resumes'
    print(f'\n{text}', file=sys.stderr, flush=True)
    if not is_remote(workdir):  # a request to a bucket could wait for the interrupted one
        release(workdir / lock.FILE)
    os._exit(128 + number)


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
