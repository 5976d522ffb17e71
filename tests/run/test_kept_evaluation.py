"""An evaluation is made once, and again after a change that decides its answers."""

import json
import types

import pytest
from small import changed

from mer_jax.run import kept_evaluation
from mer_jax.run.kept_evaluation import evaluate_once


@pytest.fixture
def made(monkeypatch):
    """The titles of the evaluations that were made."""
    titles = []

    def evaluate(setting, policy, title):
        titles.append(title)
        return {'clips': len(titles)}, [{'id': 'a', 'gold': ['sad']}]

    monkeypatch.setattr(kept_evaluation, 'evaluate', evaluate)
    return titles


def test_an_evaluation_is_made_once(made, config, tmp_path):
    setting = types.SimpleNamespace(config=config)
    first = evaluate_once(setting, None, tmp_path, 'end', 150)
    assert evaluate_once(setting, None, tmp_path, 'end', 150) == first
    assert made == ['end'] and first['scores'] == {'clips': 1}
    evaluate_once(setting, None, tmp_path, 'cold_start', 150)
    assert made == ['end', 'cold_start']
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'evaluation_cold_start.json',
        'evaluation_end.json',
    ]


@pytest.mark.parametrize(
    ('key', 'value', 'again'),
    [
        ('data.question', 'Why?', True),
        ('evaluate.temperature', 0.5, True),
        ('rollout.slow_tokens', 9, True),
        ('learn.kl', 0.5, False),
        ('every.save', 1, False),
        ('evaluate.policy', 'best', False),
        ('data.validation', 0.5, False),
    ],
)
def test_it_is_made_again_where_clips_are_asked_otherwise(
    made, config, tmp_path, key, value, again
):
    setting = types.SimpleNamespace(config=config)
    evaluate_once(setting, None, tmp_path, 'end', 150)
    changed(config, **{key.replace('.', '__'): value})
    evaluate_once(setting, None, tmp_path, 'end', 150)
    assert len(made) == 1 + again


def test_an_evaluation_of_the_same_policy_is_kept_under_both_titles(made, config, tmp_path):
    setting = types.SimpleNamespace(config=config)
    before = evaluate_once(setting, None, tmp_path, 'cold_start', 170)
    after = evaluate_once(setting, None, tmp_path, 'end', 0, before)
    assert made == ['cold_start']
    assert after['scores'] == before['scores'] and after['answers'] == before['answers']
    assert after['of']['updates'] == 0 and after['seconds'] < 1
    assert evaluate_once(setting, None, tmp_path, 'end', 0) == after and made == ['cold_start']
    assert evaluate_once(setting, None, tmp_path, 'end', 5)['of']['updates'] == 5
    assert made == ['cold_start', 'end']


def test_it_is_made_again_after_more_updates(made, config, tmp_path):
    setting = types.SimpleNamespace(config=config)
    for updates in (150, 300, 300):
        evaluate_once(setting, None, tmp_path, 'end', updates)
    assert len(made) == 2


def damaged_copies():
    """Bytes in place of a kept evaluation, and the same with a changed digit."""
    return [b'{', b'null', b'[]', b'{"of": {}}', b'\xff', None]


@pytest.mark.parametrize('content', damaged_copies())
def test_a_damaged_evaluation_is_made_again_and_that_is_said(
    made, config, tmp_path, caplog, content
):
    setting = types.SimpleNamespace(config=config)
    evaluate_once(setting, None, tmp_path, 'end', 150)
    path = tmp_path / 'evaluation_end.json'
    whole = path.read_bytes()
    path.write_bytes(content or whole.replace(b'"clips": 1', b'"clips": 7'))
    assert evaluate_once(setting, None, tmp_path, 'end', 150)['scores'] == {'clips': 2}
    assert f'{path}: is damaged' in caplog.text
    assert evaluate_once(setting, None, tmp_path, 'end', 150)['scores'] == {'clips': 2}


def test_an_evaluation_of_an_earlier_version_is_kept(made, config, tmp_path):
    setting = types.SimpleNamespace(config=config)
    first = evaluate_once(setting, None, tmp_path, 'end', 150)
    (tmp_path / 'evaluation_end.json').write_text(json.dumps(first))
    assert evaluate_once(setting, None, tmp_path, 'end', 150) == first and len(made) == 1
