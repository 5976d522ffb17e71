"""Arithmetic and content of the line that experiments/speed.py prints; no test asserts a time."""

import dataclasses
import json

import numpy as np
import pytest
import tiny
from tiny import SPEC
from tiny_workload import work_of

from experiments import flops, speed
from mer_jax.models.spec import Spec

PARTS = ['prefill', 'grow', 'score', 'echo', 'update', 'rollout', 'learn', 'step']


def test_gain_holds_what_was_measured_against_what_the_flops_promise():
    shared, copied = (
        {'score': dict(seconds=2.0, gflop=1.0)},
        {'score': dict(seconds=6.0, gflop=4.0)},
    )
    row = speed.gain(shared, copied)['score']
    assert row == {'measured': 3.0, 'promised': 4.0, 'reached': 0.75}


def test_figures_take_the_median_and_leave_the_rest_of_learning_to_the_update():
    work = work_of()
    seconds = {
        'prefill': np.array([1.0, 2.0, 9.0]),
        'grow': np.array([4.0, 4.0, 4.0]),
        'read': np.array([0.25, 0.5, 0.75]),
        'score': np.array([1.0, 1.0, 1.0]),
        'echo': np.array([0.5, 0.5, 0.5]),
        'learn': np.array([5.5, 6.5, 4.5]),
        'step': np.array([12.0, 14.0, 13.0]),
    }
    peaks = {'matmul_gflop_per_second': 1e-6, 'bandwidth_gbyte_per_second': 1e-6}
    rows = speed.figures(work, tiny.shapes(SPEC).decoder, seconds, (18, 10), peaks)
    assert list(rows) == PARTS
    assert rows['prefill']['seconds'] == 2 and rows['prefill']['tokens_per_second'] == 5
    assert rows['update']['seconds'] == 4 and rows['update']['tokens_per_second'] == 4.5
    assert rows['rollout']['seconds'] == 6
    assert rows['step']['seconds'] == 13 and rows['step']['read_seconds'] == 0.5
    count = flops.part_flops(work)
    assert rows['grow']['of_matmul_peak'] == pytest.approx(count['grow'] / 4 / 1e3)
    learn = count['score'] + count['echo'] + count['update']
    assert rows['learn']['gflop'] == pytest.approx(learn / 1e9)
    whole = count['prefill'] + count['grow'] + learn
    assert rows['step']['gflop'] == pytest.approx(whole / 1e9)


@pytest.mark.slow
def test_the_line_compares_shared_with_copied_prompts_and_compiles_nothing_while_it_times():
    text = dataclasses.replace(SPEC.text, num_hidden_layers=1)
    line = speed.measure(work_of(Spec(text, None, None)), copied=True, repeats=2, seed=0)
    assert list(line['shared']) == list(line['copied']) == list(line['gain']) == PARTS
    assert line['compilations_before'] == line['compilations_after'] > 0
    assert 0 <= line['logp_difference'] < 1e-5
    assert line['gain']['prefill']['promised'] == pytest.approx(3)
    assert json.loads(json.dumps(speed.rounded(line)))['machine']['cores'] > 0


def test_numbers_are_rounded_to_four_digits():
    assert speed.rounded({'a': 123456.0, 'b': [0.0123456, 7]}) == {'a': 123500.0, 'b': [0.01235, 7]}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--preset', 'stag'], "invalid choice: 'stag'"),
        (['--copied', '--group', '1'], '--group=1 with --copied'),
        (['--repeats', '0'], '--repeats=0: must be at least 1'),
    ],
)
def test_flags_that_cannot_be_met_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit):
        speed.parse(arguments)
    assert message in capsys.readouterr().err
