"""Runs by their command line: bad input, kills, signals, damage, rewards of one's own."""

import json
import signal
import subprocess
import sys
import time

import forks
import numpy as np
import orbax.checkpoint as ocp
import pytest
from metrics_page import unknown_names
from programs import ROOT, SMALL, environment, flags, write_config

from experiments import torture
from mer_jax.data.stage import stage
from mer_jax.run.records import read_records

LONG = "return {'length': [[float(len(text)) for text in row] for row in texts]}"
NAN_AT_STEP_3 = """
    length.calls = vars(length).get('calls', 0) + 1  # the first call is a check
    rewards = [[float(len(text)) for text in row] for row in texts]
    if length.calls == 4:
        rewards[1][0] = math.nan
    return {'length': rewards}
"""


def run(workdir, *changes, devices=1, **options):
    given = flags(workdir, *changes, **options)
    return forks.run('mer_jax.main', *given, variables=environment(devices))


def start(workdir, *changes, **options):
    """A run in the background."""
    given = flags(workdir, *changes, **options)
    return forks.Fork('mer_jax.main', *given, variables=environment())


def refused(workdir, *changes, **options):
    """The one line that a refused run prints."""
    outcome = run(workdir, *changes, **options)
    assert outcome.returncode not in (0, -9), outcome.stderr
    assert 'Traceback' not in outcome.stderr, outcome.stderr
    said = [line for line in outcome.stderr.splitlines() if line.startswith('mer_jax: ')]
    assert len(said) == 1, outcome.stderr
    return said[0]


def leaves(workdir, stage='train'):
    """The parameters and moments of the last checkpoint of a stage, and at which update."""
    manager = ocp.CheckpointManager(workdir / stage)
    step = manager.latest_step()
    state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))
    return step, state['state']


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    """A folder of twelve films with their manifest."""
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=12, seed=5, split='train', sheet=False)
    return folder


def test_an_unknown_key_is_named_with_the_key_it_may_have_meant(tmp_path):
    said = refused(tmp_path / 'run', 'learn.kll=0.1')
    assert '--config.learn.kll=0.1' in said and 'Did you mean "kl"' in said
    assert not (tmp_path / 'run').exists()


def test_a_group_of_one_is_refused_before_anything_is_written(tmp_path):
    said = refused(tmp_path / 'run', 'rollout.group=1')
    assert 'rollout.group=1' in said and 'at least two branches' in said
    assert not (tmp_path / 'run').exists()


def test_prompts_that_do_not_divide_over_the_mesh_are_refused(tmp_path):
    said = refused(tmp_path / 'run', 'prompts_per_step=6', 'mesh.fsdp=2', devices=4)
    assert 'prompts_per_step=6' in said and 'mesh.data * mesh.fsdp = 4' in said and '8' in said
    assert not (tmp_path / 'run').exists()


def test_a_workdir_of_another_model_is_refused_and_left_alone(tmp_path):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'config.json').write_text(json.dumps({'spec.text.hidden_size': 64}))
    said = refused(workdir, 'model.text.hidden_size=128')
    assert f'model.text.hidden_size=128, but {workdir} holds a model with 64' in said
    assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_a_manifest_line_without_gold_words_is_named(tmp_path, films):
    lines = (films / 'manifest.jsonl').read_text().splitlines()
    broken = json.loads(lines[2])
    del broken['words']
    lines[2] = json.dumps(broken)
    (films / 'broken.jsonl').write_text('\n'.join(lines))
    said = refused(tmp_path / 'run', f'data.manifest={films / "broken.jsonl"}')
    assert 'broken.jsonl:3' in said and 'words' in said
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('body', 'changes', 'parts'),
    [
        (LONG, ['method=foo'], ["method='foo'", 'one of mer_r1']),
        (LONG, ['learn.minibatches=3'], ['learn.minibatches=3', 'prompts_per_step=2', '_step=3']),
        ("return {'length': [1.0]}", [], ['own.py:length', 'has shape [1]', '[b, g] = [1, 2]']),
    ],
)
def test_bad_input_of_a_config_and_its_rewards_is_refused_at_once(tmp_path, body, changes, parts):
    config = write_config(tmp_path / 'own.py', body)
    said = refused(tmp_path / 'run', *SMALL, *changes, config=config)
    assert [part for part in parts if part not in said] == []
    assert not (tmp_path / 'run').exists()


def test_an_argument_that_is_no_flag_is_named(tmp_path):
    given = [*flags(tmp_path / 'run'), 'steps=3']
    said = forks.run('mer_jax.main', *given, variables=environment())
    assert said.returncode != 0 and 'steps=3: is not a flag' in said.stderr
    assert not (tmp_path / 'run').exists()


def test_a_workdir_that_is_missing_is_named():
    outcome = forks.run('mer_jax.main', variables=environment())
    assert outcome.returncode != 0 and '--workdir is missing' in outcome.stderr


@pytest.mark.slow
def test_a_workdir_that_is_missing_is_named_by_a_process_that_is_not_forked():
    outcome = subprocess.run(
        [sys.executable, '-m', 'mer_jax.main'], cwd=ROOT, capture_output=True, text=True
    )
    assert outcome.returncode != 0 and '--workdir is missing' in outcome.stderr


@pytest.fixture(scope='module')
def tortured(tmp_path_factory):
    """The workdir of a run that nothing interrupts, with kills and differences of equal runs."""
    folder = tmp_path_factory.mktemp('runs')
    # This seed stops it three times, in an evaluation and validations, and ends it in a validation,
    # a save and the report, one after the other, so that no update is repeated often.
    kills, runs = torture.torture(folder, 6, seed=131855, twice=False)
    return folder / 'whole', kills, runs


@pytest.mark.slow
def test_a_run_that_is_killed_six_times_ends_like_one_that_was_not(tortured):
    _, kills, runs = tortured
    assert [run['differences'] for run in runs] == [[]] * len(runs)
    assert len(kills) == 6 and {kill['signal'] for kill in kills} == set(torture.SIGNALS)


@pytest.mark.slow
def test_a_run_ends_with_figures_of_its_held_out_clips(tortured):
    whole, _, _ = tortured
    results = json.loads((whole / 'results.json').read_text())
    assert results['clips'] == 4 and set(results['end']) == {'fast', 'slow'}
    assert results['gain']['clips'] == 4
    for mode in ('fast', 'slow'):
        gain = results['end'][mode]['f'] - results['cold_start'][mode]['f']
        assert results['gain'][mode]['f']['difference'] == pytest.approx(gain)
    assert (whole / 'report.html').read_text().startswith('<!doctype html>')


@pytest.mark.slow
def test_a_run_validates_keeps_and_evaluates_its_best_update(tortured):
    whole, _, _ = tortured
    assert len((whole / 'validation.jsonl').read_bytes().splitlines()) == 3
    results = json.loads((whole / 'results.json').read_text())
    best = results['evaluated']['update']
    assert results['evaluated']['policy'] == 'best' and best in (2, 4, 6)
    assert results['validation']['best']['update'] == best
    kept = {int(path.name) for path in (whole / 'train').iterdir() if path.name.isdigit()}
    assert kept == {best, 6}
    page = (whole / 'report.html').read_text()
    assert 'Learning curves: validation' in page and '<b>slow_f</b>' in page
    assert f'<td>best, of update {best}</td>' in page


@pytest.mark.slow
def test_several_updates_on_a_rollout_leave_its_policy_and_train_the_towers(tortured):
    whole, _, _ = tortured
    for record in read_records(whole, 'train'):
        assert record['update_norm'] > 0 and 'kl' not in record
        assert record['ratio_spread'] > 1e-6  # of the first update alone it would be 0
    (_, before), (_, after) = leaves(whole, 'cold_start'), leaves(whole)
    for tower in ('policy.visual.', 'policy.audio_tower.'):
        moved = [np.abs(after[n] - before[n]).max() for n in after if n.startswith(tower)]
        assert len(moved) > 4 and max(moved) > 0


@pytest.mark.slow
def test_an_own_reward_has_figures_and_curves_and_its_run_can_be_asked(tortured, films):
    whole, _, _ = tortured
    held = json.loads((whole / 'config.json').read_text())
    assert held['learn.rewards'] == ['own.py:length'] and held['learn.weights.length'] == 0.5
    trained = read_records(whole, 'train')
    assert len(trained) == 6
    assert all(record['length'] > 0 and record['length_std'] > 0 for record in trained)
    assert unknown_names(whole, ['length']) == []
    page = (whole / 'report.html').read_text()
    assert '<b>length</b>' in page and '>length</span>' in page
    given = ('--json', '--checkpoint', whole, next(films.rglob('*.mp4')))
    said = forks.run('mer_jax.predict', *given, variables=environment())
    assert said.returncode == 0, said.stderr
    assert set(json.loads(said.stdout)) == {'clip', 'fast', 'slow', 'only'}


@pytest.mark.slow
def test_a_reward_that_becomes_nan_stops_the_run_which_resumes_once_it_is_mended(tmp_path):
    workdir, config = tmp_path / 'run', tmp_path / 'own.py'
    changes = *SMALL, *torture.SEVERAL, 'cold_start.steps=0', 'every.save=1', 'every.keep=2'
    said = refused(workdir, *changes, config=write_config(config, NAN_AT_STEP_3))
    assert "own.py:length: its reward 'length' is nan for clip train-0-" in said
    assert 'branch 0; it must be finite' in said
    saved = [path.name for path in (workdir / 'train').iterdir() if path.name.isdigit()]
    kept = (workdir / 'records.jsonl').read_bytes()
    assert sorted(saved) == ['1', '2'] and len(kept.splitlines()) == 2

    outcome = run(workdir, *changes, config=write_config(config, LONG))
    assert outcome.returncode == 0, outcome.stderr
    assert (workdir / 'records.jsonl').read_bytes().startswith(kept)
    assert [record['step'] for record in read_records(workdir, 'train')] == list(range(1, 7))


@pytest.mark.slow
def test_sigterm_saves_first_and_leaves_with_a_message(tmp_path):
    workdir = tmp_path / 'run'
    process = start(workdir, *SMALL, 'cold_start.steps=500', 'every.save=1000')
    records = workdir / 'records.jsonl'
    while not (records.exists() and len(records.read_bytes().splitlines()) >= 3):
        time.sleep(0.05)
        assert process.poll() is None, process.stderr
    said = refused(workdir, *SMALL)  # a second run in the same workdir
    assert f'--workdir={workdir}: process ' in said and 'writes into this folder' in said
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    said = process.stderr
    assert 'Traceback' not in said and 'SIGTERM' in said
    assert not (workdir / 'lock.json').exists()
    assert 'the same command resumes there' in said
    saved = [int(path.name) for path in (workdir / 'cold_start').iterdir() if path.name.isdigit()]
    assert len(saved) == 1 and saved[0] >= 3
    assert len(records.read_bytes().splitlines()) == saved[0]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    workdir = tmp_path / 'run'
    # The weights grow ninefold an update, until their squares exceed the range of float32.
    wild = 'cold_start.learning_rate=1.0', 'optim.weight_decay=10.0', 'optim.warmup=0'
    said = refused(workdir, *SMALL, *wild, 'cold_start.steps=40', 'every.save=1')
    bad = json.loads((workdir / 'not_finite.json').read_text())
    last = bad['step'] - 1
    assert bad['stage'] == 'cold_start' and last > 1
    assert f'cold_start step {last + 1}' in said and 'checkpoint is kept' in said
    terms = [name for name, value in bad.items() if value in ('nan', 'inf')]
    assert terms and all(f'{name}={bad[name]}' in said for name in terms)
    saved = {path.name for path in (workdir / 'cold_start').iterdir() if path.name.isdigit()}
    assert str(last) in saved and str(last + 1) not in saved
    assert len((workdir / 'records.jsonl').read_text().splitlines()) == last


@pytest.mark.slow
def test_a_run_from_films_counts_missing_ones_within_the_budget(tmp_path, films):
    lines = (films / 'manifest.jsonl').read_text().splitlines()
    missing = json.loads(lines[0])
    missing['video'] = 'gone.mp4'
    lines[0] = json.dumps(missing)
    manifest = films / 'holes.jsonl'
    manifest.write_text('\n'.join(lines))
    config = write_config(tmp_path / 'own.py', LONG)
    changes = *SMALL, *torture.SEVERAL, 'cold_start.steps=0', f'data.manifest={manifest}'
    workdir = tmp_path / 'run'
    outcome = run(workdir, *changes, config=config)
    assert outcome.returncode == 0, outcome.stderr
    assert 'paired over ' in outcome.stdout
    noted = [json.loads(line) for line in (workdir / 'bad_clips.jsonl').read_text().splitlines()]
    assert [note['id'] for note in noted] == [missing['id']]
    assert 'gone.mp4' in noted[0]['reason']
    assert missing['id'] in outcome.stderr

    said = refused(tmp_path / 'strict', *changes, 'data.max_bad_clips=0', config=config)
    assert 'data.max_bad_clips=0' in said and missing['id'] in said
