"""Validation while training: the best update is kept, training stops early, resumed runs agree."""

import json
import os
import signal
import types

import jax.numpy as jnp
import numpy as np
import pytest
from small import changed

from mer_jax.data.clips import Clip
from mer_jax.data.loader import Batches
from mer_jax.data.media.container import MediaError
from mer_jax.evaluation.answers import MODES
from mer_jax.group import TrainState
from mer_jax.run import validation as module
from mer_jax.run.checkpoints import Checkpoints, load_policy
from mer_jax.run.defaults import mer_r1
from mer_jax.run.records import read_records, stage_seconds
from mer_jax.run.stage_loop import Every, Stopped, run_stage
from mer_jax.run.validation import (
    Validation,
    choose_policy,
    figures_of,
    leading_score,
    make_validation,
)

CURVE = (0.1, 0.3, 0.2, 0.5, 0.5, 0.4, 0.45, 0.2)  # F after each update


class PowerCut(Exception):
    """Ends a run as a kill would."""


def add(state, batch, step):
    """A policy that counts updates, and moments that add the numbers of the batches."""
    policy = {'w': state.policy['w'] + 1}
    state = TrainState(policy=policy, moments=state.moments + batch)
    return state, {'sum': float(state.moments)}, {}


@pytest.fixture
def answers(monkeypatch):
    """Answers of two clips whose F follows CURVE; the updates that were validated."""
    validated = []

    def answer_all(setting, policy, clips, title, cached):
        step = int(policy['w'])
        assert title == f'validate, update {step}' and len(clips) == 2 and cached
        validated.append(step)
        f = (CURVE[step - 1] - 0.1, CURVE[step - 1] + 0.1)
        scores = [{'recall': 1.0, 'f': x} for x in f]
        return [{'id': 'a'} | dict.fromkeys(MODES, one) for one in scores]

    monkeypatch.setattr(module, 'answer_all', answer_all)
    return validated


def setting_of(c=None, **values):
    """As much of a setting as validation needs."""
    values = {'every__validate': 1, 'steps': 8, 'evaluate__policy': 'best'} | values
    return types.SimpleNamespace(
        config=changed(c or mer_r1(), **values),
        method=types.SimpleNamespace(scored=('recall', 'f'), labels=()),
        validation_clips=[Clip('a'), Clip('b')],
        damages=types.SimpleNamespace(path='bad_clips.jsonl'),
    )


def train(workdir, update=add, save=3, keep=1, **values):
    """The state and the validation of a stage of updates; by default 8 of them, each validated."""
    setting = setting_of(**values)
    validation, steps = Validation(setting, workdir), setting.config.steps
    batches = Batches(lambda read: iter(range(read + 1, 100)), numbers=(0,), size=1)
    start = TrainState(policy={'w': jnp.float32(0)}, moments=jnp.float32(0))
    loop = workdir, steps, start, batches, update, Every(save, keep), (), validation
    return run_stage('train', *loop), validation


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'validation.jsonl').open()]


def saved(workdir):
    """The updates whose checkpoints are kept."""
    folder = workdir / 'train'  # absent before the first save
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def same(one, other):
    """Whether two workdirs hold the same records, validations and checkpoints."""
    files = [(one / name, other / name) for name in ('records.jsonl', 'validation.jsonl')]
    assert all(ours.read_bytes() == theirs.read_bytes() for ours, theirs in files)
    assert saved(one) == saved(other)
    like = TrainState(policy={'w': jnp.float32(0)}, moments=jnp.float32(0))
    for step in saved(one):
        states = []
        for workdir in (one, other):
            with Checkpoints(workdir / 'train', 9) as checkpoints:
                states.append(checkpoints.restore(step, like))
        assert states[0] == states[1]


def test_updates_are_validated_at_every_nth_and_at_the_last(answers, tmp_path):
    train(tmp_path, steps=5, every__validate=2)
    assert answers == [2, 4, 5] == [line['step'] for line in lines(tmp_path)]
    first = lines(tmp_path)[0]
    assert list(first) == ['stage', 'step', 'clips', 'fast', 'slow'] and first['clips'] == 2
    assert first['slow']['f'] == pytest.approx(0.3) and first['slow']['f_se'] == pytest.approx(0.1)


def test_the_best_update_is_kept_beside_the_last_ones(answers, tmp_path):
    state, validation = train(tmp_path)
    assert saved(tmp_path) == [4, 8] and state.policy['w'] == 8  # the first of two equal ones
    policy, chosen = choose_policy(validation.setting, state.policy, tmp_path, validation)
    assert policy['w'] == 4 and chosen == {'policy': 'best', 'update': 4}
    found = validation.results()
    assert found['best'] == {'update': 4, 'f': pytest.approx(0.5)} and found['stopped'] is None
    assert (found['score'], found['clips']) == ('f', 2)


def test_only_due_updates_better_ones_and_the_last_are_saved(
    answers, tmp_path, monkeypatch, capsys
):
    asked, save = [], Checkpoints.save

    def note(self, step, *given):
        asked.append(step)
        save(self, step, *given)

    monkeypatch.setattr(Checkpoints, 'save', note)
    train(tmp_path, save=5)
    assert asked == [1, 2, 4, 5, 8]
    told = 'validation: slow f 0.200 at update 3; best: slow f 0.300 at update 2'
    assert told in capsys.readouterr().err


def test_the_last_policy_is_evaluated_where_the_config_says_so(answers, tmp_path):
    state, validation = train(tmp_path, evaluate__policy='last')
    policy, chosen = choose_policy(validation.setting, state.policy, tmp_path, validation)
    assert policy is state.policy and chosen == {'policy': 'last', 'update': 8}
    chosen = choose_policy(validation.setting, state.policy, tmp_path, None)[1]
    assert chosen == {'policy': 'last', 'update': 8}


def test_the_last_policy_is_taken_where_the_best_one_cannot_be_read(answers, tmp_path, caplog):
    state, validation = train(tmp_path)
    (tmp_path / 'train' / '4').rename(tmp_path / 'elsewhere')
    policy, chosen = choose_policy(validation.setting, state.policy, tmp_path, validation)
    assert policy is state.policy and chosen == {'policy': 'last', 'update': 8}
    assert 'instead of the best one' in caplog.text


def test_training_stops_after_validations_without_a_better_score(answers, tmp_path):
    state, validation = train(tmp_path, early_stop=3)
    assert state.policy['w'] == 7 and answers == [1, 2, 3, 4, 5, 6, 7]  # 4 was the best
    assert validation.stopped == 7 and saved(tmp_path) == [4, 7]
    policy, chosen = choose_policy(validation.setting, state.policy, tmp_path, validation)
    assert policy['w'] == 4 and chosen == {'policy': 'best', 'update': 4}
    _, validation = train(tmp_path / 'whole', early_stop=4)
    assert validation.stopped is None  # its patience ends with the last update


def never(*_):
    raise AssertionError('an update was made')


def test_a_stopped_training_that_is_started_again_stays_stopped(answers, tmp_path):
    train(tmp_path, early_stop=3)
    before = (tmp_path / 'validation.jsonl').read_bytes()
    state, validation = train(tmp_path, update=never, early_stop=3)
    assert state.policy['w'] == 7 and validation.stopped == 7 and len(answers) == 7
    assert (tmp_path / 'validation.jsonl').read_bytes() == before
    state, validation = train(tmp_path, early_stop=0)  # unless it is told to go on
    assert state.policy['w'] == 8 and validation.stopped is None


def test_a_shorter_patience_stops_a_resumed_training_where_it_is(answers, tmp_path):
    train(tmp_path, steps=7, every__validate=2)  # at 2, 4, 6 and 7; 4 is the best
    state, validation = train(tmp_path, update=never, every__validate=2, early_stop=1)
    assert state.policy['w'] == 7 and validation.stopped == 7
    last = choose_policy(setting_of(evaluate__policy='last'), state.policy, tmp_path, validation)[1]
    assert last == {'policy': 'last', 'update': 7}


@pytest.mark.parametrize('place', ['update', 'validation', 'save'])
@pytest.mark.parametrize('at', [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 6, 8))])
def test_a_training_that_is_cut_off_anywhere_ends_like_a_whole_one(
    answers, tmp_path, monkeypatch, place, at
):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(whole, every__validate=2)

    def breaks(state, *given):
        if place == 'update' and state.policy['w'] == at - 1:
            raise PowerCut
        return add(state, *given)

    with monkeypatch.context() as patch:
        if place == 'validation':
            answer = module.answer_all

            def answer_all(setting, policy, *given):
                if policy['w'] == at:
                    raise PowerCut
                return answer(setting, policy, *given)

            patch.setattr(module, 'answer_all', answer_all)
        if place == 'save':
            save = Checkpoints.save

            def save_none(self, step, *given):
                if step == at:
                    raise PowerCut
                save(self, step, *given)

            patch.setattr(Checkpoints, 'save', save_none)
        try:
            train(cut, update=breaks, every__validate=2)
        except PowerCut:
            assert saved(cut) != saved(whole)
    train(cut, every__validate=2)
    same(whole, cut)


def test_an_update_saved_on_a_signal_is_validated_when_the_run_resumes(answers, tmp_path):
    def told(state, batch, step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(state, batch, step)

    with pytest.raises(Stopped, match='update 4 of 8'):
        train(tmp_path / 'told', update=told, every__validate=2)
    assert answers == [2]  # the machine may be gone in seconds
    train(tmp_path / 'told', every__validate=2)
    assert answers == [2, 4, 6, 8]
    train(tmp_path / 'whole', every__validate=2)
    same(tmp_path / 'told', tmp_path / 'whole')


def test_validations_that_are_lost_are_said(answers, tmp_path, caplog):
    train(tmp_path, every__validate=2)
    train(tmp_path, every__validate=2)
    assert not caplog.records
    rows = (tmp_path / 'validation.jsonl').read_text().splitlines(keepends=True)
    (tmp_path / 'validation.jsonl').write_text(rows[0] + rows[3])
    train(tmp_path, every__validate=2)
    assert 'validation.jsonl: has no validation of updates 4, 6; the best one is' in caplog.text


def test_scores_go_to_tensorboard_and_seconds_to_timings_alone(answers, tmp_path):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    train(tmp_path, steps=4, every__validate=2)
    events = event_accumulator.EventAccumulator(str(tmp_path / 'tensorboard' / 'validation'))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars('validation/slow_f')}
    assert shown == pytest.approx({2: 0.3, 4: 0.5})
    assert 'validation/slow_f_se' not in events.Tags()['scalars']
    assert stage_seconds(tmp_path, 'validation') > 0
    assert 'seconds' not in (tmp_path / 'validation.jsonl').read_text()
    assert len(read_records(tmp_path)) == 4


def test_validations_are_curves_of_a_stage_of_their_own(answers, tmp_path):
    _, validation = train(tmp_path, steps=2)
    first, _ = validation.records()
    assert (first['stage'], first['step']) == ('validation', 1)
    assert set(first) == {
        'stage', 'step', 'fast_recall', 'fast_f', 'slow_recall', 'slow_f'
    }  # fmt: skip
    assert figures_of(lines(tmp_path)[0])['slow_f'] == first['slow_f']


def test_the_score_that_decides_is_f_or_the_first_of_the_method_or_a_named_one(config):
    setting = setting_of(config)
    assert leading_score(setting) == 'f'
    changed(config, validation__score='recall')
    assert leading_score(setting) == 'recall'
    changed(config, validation__score='')
    setting.method.scored = ('accuracy', 'form')
    assert leading_score(setting) == 'accuracy'
    changed(config, validation__score='fun')
    with pytest.raises(ValueError, match=r"validation\.score='fun': .* one of accuracy, form"):
        leading_score(setting)


def test_a_run_without_validations_has_none(tmp_path):
    setting = setting_of(every__validate=0, evaluate__policy='last')
    assert make_validation(setting, tmp_path) is None
    assert make_validation(setting_of(), tmp_path).score == 'f'


def test_fewer_than_two_usable_validation_clips_are_named(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'answer_all', lambda *_: [{'id': 'a'}])
    with pytest.raises(MediaError, match=r'1 of the 2 validation clips .* bad_clips\.jsonl'):
        train(tmp_path)


def test_a_run_is_opened_with_the_policy_that_its_results_are_of(answers, tmp_path, caplog):
    train(tmp_path)
    like = {'w': jnp.float32(0)}

    def opened(evaluated):
        (tmp_path / 'results.json').write_text(json.dumps(evaluated))
        return float(load_policy(tmp_path, like)['w'])

    best = {'evaluated': {'policy': 'best', 'update': 4}}
    assert [opened(best), opened({'evaluated': {'policy': 'last', 'update': 8}})] == [4, 8]
    assert opened({'clips': 2}) == 8  # results of an earlier version
    assert 'not kept' not in caplog.text
    assert opened({'evaluated': {'policy': 'best', 'update': 5}}) == 8
    assert 'best policy (update 5) is not kept any more; update 8 is used' in caplog.text
    np.testing.assert_array_equal(saved(tmp_path), [4, 8])
