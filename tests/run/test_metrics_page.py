"""docs/METRICS.md names what a run records, and nothing else."""

import inspect
import re

import pytest
from metrics_page import GROUPS, is_named, keys_of, named, sections, unknown_names

from mer_jax.evaluation.answers import MODES
from mer_jax.methods import METHODS, emo_r3_answers, mer_r1_answers
from mer_jax.rl import step as rl
from mer_jax.run import cold_start, stage_loop, stages, train
from mer_jax.run.spikes import FIGURE as SPIKE

NORMS = {'gradient_norm', 'update_norm'}
SCORES = {*mer_r1_answers.SCORES, *emo_r3_answers.SCORES, 'macro_f1'}


def test_the_table_of_the_cold_start_is_complete():
    losses = {'loss', *(f'{mode}_loss' for mode in MODES)}
    assert named('records.jsonl, stage cold_start') == losses | NORMS | {SPIKE}


def test_the_tables_of_a_step_are_complete():
    of_rollout, of_update, *of_methods, further = sections()['records.jsonl, stage train']
    assert tuple(of_rollout) == rl.FIGURES[:6]
    assert {*of_update} == {*rl.FIGURES[6:], SPIKE}
    for method, table in zip(METHODS.values(), of_methods, strict=True):
        assert {*table} == {*method.TERMS, *method.FIGURES}
    assert further == ['…_std']


def test_the_table_of_timings_is_complete():
    sources = ''.join(map(inspect.getsource, (train, cold_start, stage_loop)))
    timers = re.findall(r"timer\('(\w+)'\)", sources)
    timings = re.findall(r"timings\['(\w+)'\]", sources)
    assert named('timings.jsonl') == {*timers, *timings, 'tokens_per_second'}


def test_the_table_of_scores_is_complete():
    assert named('validation.jsonl') == SCORES | {'clips', '…_se'}


@pytest.mark.parametrize(('labels', 'score'), [((), 'f'), (('joy', 'fear'), 'accuracy')])
def test_the_table_of_results_names_scores_and_gains(labels, score):
    answer = {score: 1.0, 'words': ['joy']}
    rows = [{'id': name, 'gold': ['joy'], 'fast': answer, 'slow': answer} for name in 'ab']
    scores = {mode: {score: 1.0, f'{score}_se': 0.1} for mode in MODES} | {'clips': 2}
    evaluation = {'scores': scores, 'answers': rows}
    names = named('results.json') | named('validation.jsonl') | GROUPS
    found = keys_of(stages.results_of(evaluation, evaluation, 0, labels))
    assert {'gain', 'difference', score} <= found
    assert [name for name in found if not is_named(name, names)] == []


def test_names_that_the_page_lacks_are_found(tmp_path):
    figures = '"loss": 0.1, "recall_std": 0.1, "mine_std": 1, "odd": 2'
    (tmp_path / 'records.jsonl').write_text(f'{{"stage": "train", "step": 1, {figures}}}\n')
    (tmp_path / 'results.json').write_text('{"clips": 2, "end": {"slow": {"f_se": 1, "g": 2}}}')
    missing = ['records.jsonl: mine_std', 'records.jsonl: odd', 'results.json: g']
    assert unknown_names(tmp_path) == missing
    assert unknown_names(tmp_path, ['mine']) == missing[1:]
