"""A run from its config to its results: all stages in their order."""

import contextlib
import functools
import itertools
import json
import logging
import pathlib
from collections.abc import Sequence

import jax

from mer_jax.data.loader import Damages
from mer_jax.evaluation.answers import MODES
from mer_jax.models.omni import Omni
from mer_jax.run.agreement import agree, digest_of_code, meet
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.cold_start import cold_start, names_of_imitation
from mer_jax.run.compiled import keep_compiled
from mer_jax.run.config_rules import check_config, check_platform, check_tensor, flat
from mer_jax.run.export import export_anew
from mer_jax.run.gain import gain_of_run
from mer_jax.run.gold_labels import tell_unknown
from mer_jax.run.identity import facts_of, identity_of, read_identity, write_identity
from mer_jax.run.identity_check import check_identity
from mer_jax.run.kept_evaluation import evaluate_once
from mer_jax.run.lock import hold
from mer_jax.run.memory_check import check_memory
from mer_jax.run.mesh_rules import check_rules
from mer_jax.run.origin import abstract_policy, first_policy, name_of_weights
from mer_jax.run.records import read_records, stage_seconds
from mer_jax.run.report import write_report
from mer_jax.run.report_content import answers_with_frames, commit, example_clips, title_of
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import Watched
from mer_jax.run.traced import folder_of_traced, keep_traced, keeps_traced, load_ahead
from mer_jax.run.tracker import Tracker, check_tracker, tracking
from mer_jax.run.train import check_rewards, names_of_step, train
from mer_jax.run.trained_on import keep_trained_on, shared_with_training, warning_of
from mer_jax.run.validation import choose_policy, figures_of, leading_score, make_validation
from mer_jax.run.workdir import (
    IDENTITY,
    check_folder,
    check_sizes,
    claim_workdir,
    last_saved,
    read_config,
)
from mer_jax.storage.objects import write_whole
from mer_jax.storage.paths import check_bucket, is_remote, path_of

UNCOMPARED = f'a new {IDENTITY}: there is none, so media, wheels and checkpoint may be other ones'

log = logging.getLogger(__name__)


def start(c, workdir: pathlib.Path, held: contextlib.ExitStack) -> tuple[Setting, Omni, list[str]]:
    """The setting and the first policy of a run, and the changes since its last start.

    Claims the workdir, and its lock until `held` is closed, once everything fits; a refused start
    leaves nothing behind. Raises ValueError or OSError for a config, clips, a checkpoint or a
    workdir that cannot be used, in all processes if one of them is refused.
    """
    facts = {'--workdir': str(workdir), 'mer_jax': digest_of_code(), 'jax': jax.__version__}
    setting, error, lines, allowed = None, None, [], []
    try:
        setting = prepare(c, workdir)
        if jax.process_count() > 1:
            facts |= flat(c) | facts_of(setting)
        if jax.process_index() == 0:
            held.enter_context(hold(workdir))
            lines, allowed = compared(setting, workdir)
    except Exception as raised:  # known to all processes before any of them ends
        error = raised
    agree(facts, error)
    with setting.in_use():
        if keeps_traced(setting):
            load_ahead(setting, first_programs(setting, workdir))
        keep = functools.partial(keep_traced, setting)
        policy = first_policy(setting.origin, c, setting.mesh, keep)
    meet()
    if jax.process_index() == 0:
        write_identity(workdir, lines)  # first: without config.json it counts for nothing
    return setting, policy, claim(setting, workdir) + allowed


def compared(setting: Setting, workdir: pathlib.Path) -> tuple[list[dict], list[str]]:
    """The lines of run.identity for all that the run reads, and the changes since earlier starts.

    ValueError for differences that a run cannot have.
    """
    changed = claim(setting, workdir, write=False)  # since the lock is held, for good
    before = read_identity(workdir)
    now = identity_of(setting, before)
    if not (workdir / 'config.json').exists():
        return now, []
    if not before:
        return now, [UNCOMPARED] if now else []
    keys = [line.partition('=')[0] for line in changed]
    return now, check_identity(workdir, before, now, keys)


def claim(setting: Setting, workdir: pathlib.Path, write: bool = True) -> list[str]:
    """`claim_workdir` for the config and the clips of a setting."""
    clips = [*setting.train_clips, *setting.test_clips] if setting.config.data.manifest else []
    return claim_workdir(workdir, setting.config, setting.spec, clips, write)


def prepare(c, workdir: pathlib.Path) -> Setting:
    """The setting of a run, if its config, clips, checkpoint and workdir fit; nothing is written.

    Processes of one run call it alone: it computes nothing together with others.
    """
    check_config(c)
    check_tracker(c.records.tracker)
    check_bucket(workdir)
    check_folder(workdir)
    for key in ('checkpoint', 'adapter'):
        if c.model[key] and not is_remote(c.model[key]):
            # absolute, so that later commands find it from any folder
            c.model[key] = str(pathlib.Path(c.model[key]).resolve())
    setting = Setting(c, *choose_clips(c), damages_of(workdir, c.data.max_bad_clips))
    sides = (setting.train_clips, setting.test_clips, setting.validation_clips)
    tell_unknown(c, setting.wheels, itertools.chain.from_iterable(side or () for side in sides))
    check_tensor(setting.mesh, setting.spec.text)
    check_rules(setting.mesh, setting.rules, setting.spec.text)
    check_platform(setting.mesh, c.model.attention, c.model.dtype)
    check_rewards(setting)
    leading_score(setting)
    with setting.in_use():
        keep_compiled(workdir)
    if c.memory_check != 'programs':  # which compiles programs as they are traced here
        setting.traced = folder_of_traced()
    check_memory(setting)
    other = path_of(c.model.checkpoint)
    if c.model.checkpoint and other != setting.origin.root:
        check_sizes(other, read_config(other), setting.spec)
    claim(setting, workdir, write=False)
    return setting


def first_programs(setting: Setting, workdir: pathlib.Path) -> list[str]:
    """The names of the programs that a start of a run needs first, in their order."""
    c, names = setting.config, []
    if not c.model.checkpoint:
        like = abstract_policy(setting.spec, c, setting.mesh)
        names.append(name_of_weights(c.seed, like))
    if last_saved(workdir / 'cold_start') < c.cold_start.steps:
        names += names_of_imitation(c)
    elif last_saved(workdir / 'train') < c.steps:
        names += names_of_step(setting)
    return names


def damages_of(workdir: pathlib.Path, budget: int) -> Damages:
    """The list of damaged clips of this process."""
    process = jax.process_index()
    return Damages(
        workdir / (f'bad_clips_{process}.jsonl' if process else 'bad_clips.jsonl'), budget
    )


def run(setting: Setting, policy: Omni, workdir: pathlib.Path, profile: int = 0) -> dict:
    """All stages of a run from its first policy on; the content of results.json.

    Every stage continues where an earlier start of the run stopped. `profile` updates of each are
    traced.
    """
    c = setting.config
    shared = look_for_shared(setting, workdir)
    with setting.in_use(), tracking(c, workdir) as tracker:
        validation = make_validation(setting, workdir, tracker)
        watched = Watched(tracker.add, profile)
        policy = cold_start(setting, policy, workdir, watched)
        before = evaluate_once(setting, policy, workdir, 'cold_start', c.cold_start.steps)
        track_evaluation(tracker, setting, before, 0)
        policy = train(setting, policy, workdir, validation, watched)
        policy, evaluated = choose_policy(setting, policy, workdir, validation)
        same = None if c.steps else before
        after = evaluate_once(setting, policy, workdir, 'end', evaluated['update'], same)
        track_evaluation(tracker, setting, after, c.steps)
        if c.export:
            export_anew(setting, policy, workdir)
    results = results_of(before, after, c.seed, setting.method.labels) | {'evaluated': evaluated}
    if jax.process_index() == 0:
        results['seconds'] = {
            'cold_start': stage_seconds(workdir, 'cold_start'),
            'train': stage_seconds(workdir, 'train'),
            'evaluate': before['seconds'] + after['seconds'],
        }
        if validation:
            results['validation'] = validation.results()
            results['seconds']['validation'] = stage_seconds(workdir, 'validation')
        if shared:
            results['shared_with_training'] = shared
        write_whole(workdir / 'results.json', json.dumps(results, indent=1) + '\n')
        write_report(
            workdir / 'report.html',
            results,
            read_records(workdir) + (validation.records() if validation else []),
            example_clips(setting, before['answers'], after['answers']),
            title_of(setting),
            flat(c),
            commit(),
            setting.method.plotted,
        )
    return results


def track_evaluation(tracker: Tracker, setting: Setting, evaluation: dict, step: int) -> None:
    """Sends the scores and first answers of an evaluation to a tracker."""
    tracker.add('evaluation', step, figures_of(evaluation['scores']))
    given = setting, setting.test_clips, evaluation['answers']
    tracker.show('evaluation', 'evaluation', step, lambda: answers_with_frames(*given))


def look_for_shared(setting: Setting, workdir: pathlib.Path) -> dict | None:
    """Held-out clips that are among those trained on, with a warning; None without a manifest."""
    if jax.process_index() > 0:
        return None
    trained = keep_trained_on(setting, workdir)
    if not setting.config.data.manifest:
        return None
    shared = shared_with_training(trained, setting.test_clips)
    if told := warning_of(shared, 'the held-out clips'):
        log.warning(told)
    return shared


def results_of(before: dict, after: dict, seed: int, labels: Sequence[str] = ()) -> dict:
    """The scores of both evaluations and the gain between them."""
    results = {
        'clips': after['scores']['clips'],
        'seed': seed,
        'cold_start': {mode: before['scores'][mode] for mode in MODES},
        'end': {mode: after['scores'][mode] for mode in MODES},
    }
    names = {
        mode: [name for name in figures if f'{name}_se' in figures and name != 'macro_f1']
        for mode, figures in results['end'].items()
    }
    if gain := gain_of_run(before['answers'], after['answers'], names, labels):
        results['gain'] = gain
    return results
