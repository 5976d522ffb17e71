"""The table of claims: what is run, what is left out, and what the results say."""

import threading
import types

import numpy as np
import pytest

from experiments import claim_runs, claims
from experiments.claim_arms import ARMS, CLAIMS, COLD_START
from experiments.claim_tables import differences
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
        return line_of(name, seed, {'baseline': 0.5, 'full': 0.6}.get(name, 0.4), plan.table)

    monkeypatch.setattr(claim_runs, 'run', run)
    return started


def line_of(name, seed, mean, table='mer_r1', clips=40):
    rng = np.random.default_rng(seed)
    score = (mean + rng.normal(0, 0.05, clips)).tolist()
    answers = dict.fromkeys(('recall', 'precision', 'f', 'accuracy'), score)
    ids = [f'{seed}-{i}' for i in range(clips)]
    scores = {'ids': ids, 'slow': answers, 'fast': answers}
    more = {'elsewhere': {'away': scores}} if table == 'emo_r3' else {}
    return {'table': table, 'arm': name, 'seed': seed, 'clips': scores} | more


def flags(tmp_path, *more):
    return ['--table=mer_r1', '--seeds=2', f'--results={tmp_path / "claims.jsonl"}', *more]


def plan_of(tmp_path, *more):
    """The only plan of a command line."""
    (plan,), _ = claims.read_plans(flags(tmp_path, *more))
    return plan


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
    plan = plan_of(tmp_path, '--', '--config.steps=3')
    first, other = (claim_runs.command_of(plan, name, 1) for name in (COLD_START, 'full'))
    assert '--config.steps=3' in first and '--config.seed=1' in first
    assert not any('checkpoint' in flag for flag in first)
    assert f'--config.model.checkpoint={claim_runs.workdir_of(plan, COLD_START, 1)}' in other
    assert '--config.cold_start.steps=0' in other


def test_a_line_keeps_a_command_without_the_folders_of_the_machine(tmp_path):
    plan = plan_of(tmp_path, f'--runs={tmp_path}')
    kept = claim_runs.printed_command(plan, 'full', 1)
    assert kept.startswith('python -m mer_jax.main --config=configs/mer_r1.py --workdir=runs/')
    assert str(tmp_path) not in kept and 'checkpoint=runs/claims/mer_r1/seed_1/cold_start' in kept


def test_imitation_continues_the_cold_start_and_is_evaluated_on_other_pictures_as_it_is(tmp_path):
    plan = plan_of(tmp_path, '--table=emo_r3')
    trained = claim_runs.command_of(plan, 'sft', 1)
    assert trained[-2:] == ['--config.steps=0', '--config.cold_start.steps=200']
    asked = claim_runs.command_elsewhere(plan, 'sft', 1)
    workdir = claim_runs.workdir_of(plan, 'sft', 1)
    assert f'--workdir={workdir}_away' in asked and asked[-1] == '--config.data.stage=away'
    assert f'--config.model.checkpoint={workdir}' in asked
    assert [flag for flag in asked if 'steps' in flag] == [
        '--config.steps=0',
        '--config.cold_start.steps=0',
    ]
    assert not claim_runs.command_elsewhere(plan_of(tmp_path), 'full', 1)  # films have no other
    own = plan_of(tmp_path, '--table=emo_r3', '--', '--config.data.manifest=x.jsonl')
    assert not claim_runs.command_elsewhere(own, 'full', 1)


def test_what_is_missing_is_run_once_and_the_tables_are_printed(tmp_path, runs, capsys):
    arms = '--arms=full,baseline'
    assert claims.main(flags(tmp_path, arms)) == 0
    assert runs == [(seed, name) for seed in (0, 1) for name in (COLD_START, 'baseline', 'full')]
    told = capsys.readouterr().out
    assert '| b | MER-R1 beats the baseline | 73.15 / 70.55 | 2 | +0.1000 |' in told
    assert '| full | 2 | 0.599 |' in told and '| b1 |' in told and 'not run' in told
    claims.main(flags(tmp_path, arms))
    assert len(runs) == 6


def test_other_arms_follow_the_main_ones_of_all_seeds_arm_by_arm(tmp_path):
    tasks = claim_runs.missing(plan_of(tmp_path, '--arms=gspo,full,rd'), [])
    order = [(task.arm, task.seed) for task in tasks]
    assert order[:4] == [(COLD_START, 0), ('full', 0), (COLD_START, 1), ('full', 1)]
    assert order[4:] == [('rd', 0), ('rd', 1), ('gspo', 0), ('gspo', 1)]


def test_seeds_may_be_some_of_those_that_other_machines_run(tmp_path, runs, capsys):
    claims.main(flags(tmp_path, '--arms=full', '--seeds=2:4'))
    assert [seed for seed, _ in runs] == [2, 2, 3, 3]
    assert '| full | 2 |' in capsys.readouterr().out
    claims.main(flags(tmp_path, '--arms=full', '--seeds=4', '--only_report'))
    assert len(runs) == 4 and '| full | 2 |' in capsys.readouterr().out
    claims.main(flags(tmp_path, '--arms=full', '--seeds=3', '--only_report'))
    assert '| full | 1 |' in capsys.readouterr().out


def test_a_run_that_fails_leaves_the_others_and_is_tried_again(tmp_path, runs, capsys):
    more = '--arms=full,baseline', '--', 'full'
    assert claims.main(flags(tmp_path, *more)) == 1
    assert 'full: ended with 1' in capsys.readouterr().err and len(runs) == 6
    lines = claims.read_results(tmp_path / 'claims.jsonl')
    assert [line['arm'] for line in lines] == [COLD_START, 'baseline'] * 2
    # The folder of the cold start, which the others begin with, has gone: it is made again.
    claims.main(flags(tmp_path, *more))
    assert runs[6:] == [(seed, name) for name in (COLD_START, 'full') for seed in (0, 1)]
    assert len(claims.read_results(tmp_path / 'claims.jsonl')) == 4


def test_without_its_cold_start_no_arm_of_a_seed_begins(tmp_path, runs, capsys):
    assert claims.main(flags(tmp_path, '--arms=full', '--', COLD_START)) == 1
    assert runs == [(seed, COLD_START) for seed in (0, 1)]


def test_runs_are_made_side_by_side_once_the_cold_start_of_their_seed_is_there(
    tmp_path, monkeypatch
):
    together, ended = threading.Barrier(3, timeout=60), []

    def run(plan, name, seed):
        if name != COLD_START:
            assert (plan.table, COLD_START) in ended
            together.wait()  # three arms at a time, of both tables
        ended.append((plan.table, name))
        return line_of(name, seed, 0.5, plan.table)

    monkeypatch.setattr(claim_runs, 'run', run)
    some = '--table=all', '--seeds=1', '--arms=baseline,full,grpo', '--jobs=4'
    monkeypatch.setitem(
        ARMS, 'emo_r3', {name: ARMS['emo_r3'][name] for name in ('cold_start', 'grpo')}
    )
    assert claims.main(flags(tmp_path, *some)) == 0
    lines = claims.read_results(tmp_path / 'claims.jsonl')
    assert len(lines) == 5 and {line['table'] for line in lines} == {'mer_r1', 'emo_r3'}


def test_a_report_alone_runs_nothing(tmp_path, runs, capsys):
    assert claims.main(flags(tmp_path, '--only_report')) == 0
    assert runs == [] and 'not run' in capsys.readouterr().out


def test_differences_are_paired_by_the_ids_of_clips():
    claim = types.SimpleNamespace(
        arm='full', over='baseline', score='f', answers='slow', over_answers='fast', domain=''
    )
    full, baseline = (line_of(name, 0, mean, clips=3) for name, mean in (('full', 1), ('b', 0)))
    baseline['arm'] = 'baseline'
    full['clips']['slow'] = {'f': [1.0, 2.0, 3.0]}
    baseline['clips'] = {'ids': ['0-2', 'x', '0-0'], 'fast': {'f': [10.0, 0.0, 20.0]}}
    (found,), crossed = differences(claim, [full, baseline])
    assert found.tolist() == [1 - 20, 3 - 10] and not crossed


def test_a_claim_out_of_domain_compares_the_clips_of_that_domain():
    claim = types.SimpleNamespace(
        arm='full', over='sft', score='f', answers='slow', over_answers='slow', domain='away'
    )
    lines = [line_of(name, 0, 0.5, 'emo_r3', clips=2) for name in ('full', 'sft')]
    lines[0]['elsewhere'] = {'away': {'ids': ['a', 'b'], 'slow': {'f': [3.0, 4.0]}}}
    lines[1]['elsewhere'] = {'away': {'ids': ['a', 'b'], 'slow': {'f': [1.0, 1.0]}}}
    (found,), _ = differences(claim, lines)
    assert found.tolist() == [2, 3]
    del lines[1]['elsewhere']
    assert differences(claim, lines) == ([], False)


@pytest.mark.parametrize(
    ('changed', 'told'),
    [
        ('--arms=full,fool', '--arms=fool: must be of'),
        ('--jobs=0', '--jobs=0: must be at least 1'),
        *(
            (f'--seeds={seeds}', f"--seeds: '{seeds}': must be")
            for seeds in ('0', '3:3', '-1:2', 'a')
        ),
    ],
)
def test_arms_and_numbers_that_make_no_sense_are_named(tmp_path, capsys, changed, told):
    with pytest.raises(SystemExit):
        claims.main(flags(tmp_path, changed))
    assert told in capsys.readouterr().err


def test_a_damaged_line_of_results_is_named(tmp_path):
    (tmp_path / 'claims.jsonl').write_text('{"table": "mer_r1"}\n{"tab')
    with pytest.raises(ValueError, match=r'claims.jsonl:2: is no line of results'):
        claims.read_results(tmp_path / 'claims.jsonl')
