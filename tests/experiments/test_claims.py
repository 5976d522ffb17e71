"""The table of claims: what is run, what is left out, and what the results say."""

import json
import types

import numpy as np
import pytest

from experiments import claims
from experiments.claim_arms import ARMS, CLAIMS, COLD_START
from mer_jax.run.defaults import grpo_f1, mer_r1
from mer_jax.run.emo_r3_defaults import emo_r3, grpo_accuracy

CONFIGS = {
    'configs/mer_r1.py': mer_r1,
    'configs/grpo_f1.py': grpo_f1,
    'configs/emo_r3.py': emo_r3,
    'configs/grpo_accuracy.py': grpo_accuracy,
}


@pytest.fixture
def runs(monkeypatch):
    """The names of the runs that are started; each ends with scores that follow its name."""
    started = []

    def run(plan, name, seed):
        started.append((seed, name))
        if name in plan.extra:
            raise RuntimeError(f'{name}: ended with 1')
        return line_of(name, seed, {'baseline': 0.5, 'full': 0.6}.get(name, 0.4))

    monkeypatch.setattr(claims, 'run', run)
    return started


def line_of(name, seed, mean, table='mer_r1', clips=40):
    rng = np.random.default_rng(seed)
    score = (mean + rng.normal(0, 0.05, clips)).tolist()
    answers = dict.fromkeys(('recall', 'precision', 'f', 'accuracy'), score)
    ids = [f'{seed}-{i}' for i in range(clips)]
    return {
        'table': table,
        'arm': name,
        'seed': seed,
        'clips': {'ids': ids, 'slow': answers, 'fast': answers},
    }


def flags(tmp_path, *more):
    return ['--table=mer_r1', '--seeds=2', f'--results={tmp_path / "claims.jsonl"}', *more]


@pytest.mark.parametrize('table', ARMS)
def test_every_arm_changes_keys_of_its_config_and_every_claim_compares_arms(table):
    for arm in ARMS[table].values():
        c = CONFIGS[arm.config]()
        for change in arm.changes:
            key = change.partition('=')[0]
            assert key in {name for name, _ in c.items()} or key.partition('.')[0] in c, change
            held = c
            for part in key.split('.'):
                held = held[part]  # raises for an unknown key
    for claim in CLAIMS[table]:
        assert {claim.arm, claim.over} <= ARMS[table].keys()


def test_all_arms_of_a_seed_continue_its_cold_start(tmp_path):
    plan, _ = claims.read_plan(flags(tmp_path, '--', '--config.steps=3'))
    first, other = (claims.command_of(plan, name, 1) for name in (COLD_START, 'full'))
    assert '--config.steps=3' in first and '--config.seed=1' in first
    assert not any('checkpoint' in flag for flag in first)
    assert f'--config.model.checkpoint={claims.workdir_of(plan, COLD_START, 1)}' in other
    assert other[-1] == '--config.cold_start.steps=0'


def test_what_is_missing_is_run_once_and_the_tables_are_printed(tmp_path, runs, capsys):
    arms = '--arms=full,baseline'
    assert claims.main(flags(tmp_path, arms)) == 0
    assert runs == [(seed, name) for seed in (0, 1) for name in (COLD_START, 'full', 'baseline')]
    told = capsys.readouterr().out
    assert '| b | MER-R1 beats the baseline | 73.15 / 70.55 | 2 | +0.1000 |' in told
    assert '| full | 2 | 0.599 |' in told and '| b1 |' in told and 'not run' in told
    claims.main(flags(tmp_path, arms))
    assert len(runs) == 6


def test_a_run_that_fails_leaves_the_others_and_is_tried_again(tmp_path, runs, capsys):
    more = '--arms=full,baseline', '--', 'full'
    assert claims.main(flags(tmp_path, *more)) == 1
    assert 'full: ended with 1' in capsys.readouterr().err and len(runs) == 6
    lines = claims.read_results(tmp_path / 'claims.jsonl')
    assert [line['arm'] for line in lines] == [COLD_START, 'baseline'] * 2
    # The folder of the cold start, which the others begin with, has gone: it is made again.
    claims.main(flags(tmp_path, *more))
    assert runs[6:] == [(seed, name) for seed in (0, 1) for name in (COLD_START, 'full')]


def test_a_report_alone_runs_nothing(tmp_path, runs, capsys):
    assert claims.main(flags(tmp_path, '--only_report')) == 0
    assert runs == [] and 'not run' in capsys.readouterr().out


def test_differences_are_paired_by_the_ids_of_clips():
    claim = types.SimpleNamespace(
        arm='full', over='baseline', score='f', answers='slow', over_answers='fast'
    )
    full, baseline = (line_of(name, 0, mean, clips=3) for name, mean in (('full', 1), ('b', 0)))
    baseline['arm'] = 'baseline'
    full['clips']['slow'] = {'f': [1.0, 2.0, 3.0]}
    baseline['clips'] = {'ids': ['0-2', 'x', '0-0'], 'fast': {'f': [10.0, 0.0, 20.0]}}
    (found,), crossed = claims.differences(claim, [full, baseline])
    assert found.tolist() == [1 - 20, 3 - 10] and not crossed


def test_the_scores_of_the_last_evaluation_are_kept_by_clip(tmp_path):
    rows = [
        {'id': name, 'fast': {'f': 0.5, 'text': 'x'}, 'slow': {'f': value, 'formed': True}}
        for name, value in (('b', 0.25), ('a', 1 / 3))
    ]
    (tmp_path / 'evaluation_cold_start.json').write_text(json.dumps({'answers': rows}))
    found = claims.scores_of_clips(tmp_path)
    assert found['ids'] == ['a', 'b'] and found['fast'] == {'f': [0.5, 0.5]}
    assert found['slow'] == {'f': [0.3333, 0.25], 'formed': [1.0, 1.0]}


@pytest.mark.parametrize(
    ('changed', 'told'),
    [('--arms=full,fool', '--arms=fool: must be of'), ('--seeds=0', '--seeds=0')],
)
def test_arms_and_numbers_that_make_no_sense_are_named(tmp_path, capsys, changed, told):
    with pytest.raises(SystemExit):
        claims.main(flags(tmp_path, changed))
    assert told in capsys.readouterr().err


def test_a_damaged_line_of_results_is_named(tmp_path):
    (tmp_path / 'claims.jsonl').write_text('{"table": "mer_r1"}\n{"tab')
    with pytest.raises(ValueError, match=r'claims.jsonl:2: is no line of results'):
        claims.read_results(tmp_path / 'claims.jsonl')
