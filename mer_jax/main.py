"""The command line: flags → config → cold start, reinforcement learning, evaluation, report.

    python -m mer_jax.main --config configs/mer_r1.py --workdir runs/first

A run is the list of stages in `run`; each goes on where an earlier start of it stopped.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from mer_jax.data.loader import Damages
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.video import read_video
from mer_jax.evaluation.answers import MODES
from mer_jax.methods.own_rewards import RewardError
from mer_jax.models.omni import Omni
from mer_jax.run import defaults
from mer_jax.run.checkpoints import DamagedCheckpoints
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.cold_start import cold_start
from mer_jax.run.command_line import leave, read_flags
from mer_jax.run.config_rules import check_config, flat
from mer_jax.run.export import export_anew
from mer_jax.run.gain import gain_of_run
from mer_jax.run.held_out import evaluate
from mer_jax.run.origin import first_policy
from mer_jax.run.records import (
    DamagedRecords,
    NotFinite,
    read_records,
    stage_compilations,
    stage_seconds,
    write_whole,
)
from mer_jax.run.report import terminal_table, write_report
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import Stopped
from mer_jax.run.train import check_rewards, train
from mer_jax.run.workdir import check_sizes, claim_workdir, read_config
from mer_jax.sharding import gather_rows

CONFIG = config_flags.DEFINE_config_file('config', defaults.__file__, lock_config=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; the same one again goes on.')
DISTRIBUTED = flags.DEFINE_bool(
    'distributed', False, 'One of many processes, of which each host runs one (TPU pods, clusters).'
)
COORDINATOR = flags.DEFINE_string('coordinator', None, 'host:port of process 0, if not detected.')
PROCESSES = flags.DEFINE_integer('processes', None, 'How many processes, if not detected.')
PROCESS = flags.DEFINE_integer('process', None, 'The number of this one, if not detected.')


def run(setting: Setting, policy: Omni, workdir: pathlib.Path) -> dict:
    """All stages of a run from its first policy on; what results.json holds."""
    c = setting.config
    with jax.set_mesh(setting.mesh):
        policy = cold_start(setting, policy, workdir)
        before = evaluate_once(setting, policy, workdir, 'cold_start', c.cold_start.steps)
        policy = train(setting, policy, workdir)
        after = evaluate_once(setting, policy, workdir, 'end', c.steps)
        if c.export:
            export_anew(setting, policy, workdir / 'export')
    results = {
        'clips': after['scores']['clips'],
        'seed': c.seed,
        'cold_start': {mode: before['scores'][mode] for mode in MODES},
        'end': {mode: after['scores'][mode] for mode in MODES},
    }
    if gain := gain_of_run(before['answers'], after['answers']):
        results['gain'] = gain
    if jax.process_index() == 0:
        results['seconds'] = {
            'cold_start': stage_seconds(workdir, 'cold_start'),
            'train': stage_seconds(workdir, 'train'),
            'evaluate': before['seconds'] + after['seconds'],
        }
        write_whole(workdir / 'results.json', json.dumps(results, indent=1) + '\n')
        write_report(
            workdir / 'report.html',
            results,
            read_records(workdir),
            examples(setting, before['answers'], after['answers']),
            title_of(setting),
            flat(c),
            commit(),
        )
    return results


def damages_of(workdir: pathlib.Path, budget: int) -> Damages:
    """Where this process names damaged clips."""
    process = jax.process_index()
    return Damages(
        workdir / (f'bad_clips_{process}.jsonl' if process else 'bad_clips.jsonl'), budget
    )


def title_of(setting: Setting) -> str:
    """The method and the data of a run in words; a manifest by its name alone."""
    manifest = pathlib.Path(setting.config.data.manifest).name
    return f'{setting.method.title} on {manifest or "the embedded stage"}'


def evaluate_once(
    setting: Setting, policy, workdir: pathlib.Path, title: str, updates: int
) -> dict:
    """The evaluation after so many updates, kept in the workdir for a run that is started again.

    It is repeated if the updates, or what decides how clips are asked and scored, have changed.
    """
    c = setting.config
    deciding = flat(c.data, 'data.') | flat(c.evaluate, 'evaluate.')
    deciding |= {'updates': updates, 'rollout.slow_tokens': c.rollout.slow_tokens}
    deciding = json.loads(json.dumps(deciding))
    path = workdir / f'evaluation_{title}.json'
    writes = jax.process_index() == 0
    kept = gather_rows([json.loads(path.read_text())] if writes and path.exists() else [])
    if kept and kept[0]['of'] == deciding:
        return kept[0]
    start = time.perf_counter()
    scores, answers = evaluate(setting, policy, title)
    seconds = time.perf_counter() - start
    whole = {'of': deciding, 'scores': scores, 'answers': answers, 'seconds': seconds}
    if writes:
        write_whole(path, json.dumps(whole, indent=1))
    return whole


def examples(setting: Setting, before: list[dict], after: list[dict], count: int = 6) -> list[dict]:
    """The first clips of an evaluation with their frames, for the report."""
    clip_of = {}
    for index in range(min(len(setting.test_clips), 4 * count)):
        clip = setting.test_clips[index]
        clip_of[clip.id] = clip
    shown = [pair for pair in zip(before, after, strict=True) if pair[0]['id'] in clip_of]
    return [
        {
            'id': old['id'],
            'frames': frames_of(clip_of[old['id']], setting.config.data.fps),
            'subtitle': clip_of[old['id']].subtitle,
            'gold': list(old['gold']),
            'hit': right_words(setting, old, new),
            'before': {'fast': old['fast']['words'], 'slow': old['slow']['text']},
            'after': {'fast': new['fast']['words'], 'slow': new['slow']['text']},
        }
        for old, new in shown[:count]
    ]


def right_words(setting: Setting, *answers: dict) -> list[str]:
    """The words of the answers that some wheel puts into a category of a gold word."""
    gold_wc = setting.wheels.cells([answers[0]['gold']])[0]
    said = {word for answer in answers for mode in MODES for word in answer[mode]['words']}
    return sorted(word for word in said if (setting.wheels.cells([[word]])[0] & gold_wc).any())


def frames_of(clip, fps: float):
    """A few small frames of a clip's video, uint8[n, h, w, 3]; none for a clip without."""
    if clip.video is None:
        return np.zeros((0, 1, 1, 3), np.uint8)
    if isinstance(clip.video, str):
        return read_video(clip.video, fps, max_frames=6, pixels=(56 * 56, 168 * 168))[0]
    return clip.video


def commit() -> str | None:
    """The commit of the code that runs, if it runs from a checkout."""
    folder = pathlib.Path(__file__).parent
    asking = ['git', 'rev-parse', '--short', 'HEAD']
    try:
        asked = subprocess.run(asking, cwd=folder, capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return asked.stdout.strip() or None


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    if len(arguments) > 1:
        leave(f'{" ".join(arguments[1:])}: is no flag; keys of the config begin with --config.')
    if not WORKDIR.value:
        leave('--workdir is missing: name a folder for the run, e.g. --workdir runs/first')
    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    c, workdir = CONFIG.value, pathlib.Path(WORKDIR.value)
    try:
        check_config(c)
        if c.model.checkpoint:  # as it is seen from any folder
            c.model.checkpoint = str(pathlib.Path(c.model.checkpoint).resolve())
        setting = Setting(c, *choose_clips(c), damages_of(workdir, c.data.max_bad_clips))
        check_rewards(setting)
        other = pathlib.Path(c.model.checkpoint)
        if c.model.checkpoint and other != setting.origin.root:
            check_sizes(other, read_config(other), setting.spec)
        clips = [*setting.train_clips, *setting.test_clips] if c.data.manifest else []
        claim_workdir(workdir, c, setting.spec, clips, write=False)
        with jax.set_mesh(setting.mesh):
            policy = first_policy(setting.origin, c, setting.mesh)
        changed = claim_workdir(workdir, c, setting.spec, clips)
    except (ValueError, OSError) as error:
        leave(str(error))
    for line in changed:
        print(f'{workdir}: goes on with {line}', file=sys.stderr)
    if not DISTRIBUTED.value:  # where JAX itself listens to it, for all processes
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop_between_stages)
    try:
        results = run(setting, policy, workdir)
    except (MediaError, NotFinite, RewardError, DamagedRecords, DamagedCheckpoints) as error:
        leave(str(error))
    except Stopped as stopped:
        print(stopped.message, file=sys.stderr)
        raise
    except BaseException:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        leave('the other processes cannot go on alone, and end too')
    if jax.process_index() > 0:
        return
    print(terminal_table(results))
    for stage in ('cold_start', 'train'):
        first, later = stage_compilations(workdir, stage)
        print(f'{stage}: {first} programs compiled at the first update, {later} later')
    print(f'{workdir / "report.html"} shows the run, {workdir / "results.json"} holds its figures')
    if c.export:
        print(f'{workdir / "export"} holds the last policy as a Hugging Face checkpoint')


def stop_between_stages(number, _) -> None:
    """What SIGTERM and Ctrl-C do where no stage is under way (which saves first: loop.Termination).

    All files are whole at any time, so the process ends at once: raised, an exception could end up
    in a destructor and be lost.
    """
    name = signal.Signals(number).name
    text = f'told to stop ({name}): finished stages are saved; the same command goes on from there'
    print(f'\n{text}', file=sys.stderr, flush=True)
    os._exit(128 + number)


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
