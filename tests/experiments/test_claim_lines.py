"""A line of claims.jsonl: what it keeps of the files of a run, and its size."""

import json

import pytest

from experiments import claim_lines


def answer(**scores):
    return {'text': 'said', 'words': ['x'], 'confidence': {}} | scores


@pytest.fixture
def folder(tmp_path):
    """The workdir of a run of two clips and two updates."""
    rows = [
        {
            'id': name,
            'gold': ['happy'],
            'fast': answer(f=0.5, tokens=4.0),
            'slow': answer(f=value, recall=1.0, tokens=20.0, formed=True),
        }
        for name, value in (('b', 0.25), ('a', 1 / 3))
    ]
    (tmp_path / 'evaluation_cold_start.json').write_text(json.dumps({'answers': rows}))
    (tmp_path / 'config.json').write_text('{"steps": 2, "model.checkpoint": "/somewhere"}')
    records = [
        {'stage': 'cold_start', 'step': 1, 'loss': 1.0},
        {'stage': 'train', 'step': 1, 'f': 0.123456, 'loss': 2.0},
        {'stage': 'train', 'step': 2, 'f': 0.2, 'loss': 2.0},
    ]
    (tmp_path / 'records.jsonl').write_text('\n'.join(map(json.dumps, records)))
    return tmp_path


def test_scores_of_claims_are_kept_by_clip_and_of_others_the_mean(folder):
    found = claim_lines.scores_of_clips('mer_r1', claim_lines.answers_of(folder))
    assert found['ids'] == ['a', 'b'] and found['fast'] == {'f': [0.5, 0.5]}
    assert found['slow'] == {'recall': [1, 1], 'f': [0.3333, 0.25]}
    assert found['means'] == {'fast': {'tokens': 4}, 'slow': {'tokens': 20, 'formed': 1}}


def test_the_last_evaluation_counts(folder):
    (folder / 'evaluation_end.json').write_text('{"answers": [{"id": "c"}]}')
    assert claim_lines.answers_of(folder) == [{'id': 'c'}]


def test_curves_are_those_of_reinforcement_learning_alone(folder):
    assert claim_lines.curves_of('mer_r1', folder) == {'f': [0.1235, 0.2]}
    (folder / 'records.jsonl').unlink()
    assert claim_lines.curves_of('mer_r1', folder) == {}


def test_a_line_holds_versions_answers_and_scores_on_other_domains(folder):
    line = claim_lines.line_of('mer_r1', {'': folder, 'away': folder})
    assert line['versions'].keys() >= {'jax', 'numpy'} and line['elsewhere']['away']['ids']
    (first, _) = line['examples']
    assert first == {'id': 'a', 'gold': ['happy'], 'fast': 'said', 'slow': 'said'}


def test_the_place_of_a_checkpoint_does_not_change_the_hash_of_a_config():
    here, there = ({'steps': 1, 'model.checkpoint': place} for place in 'ab')
    assert claim_lines.digest_of_config(here) == claim_lines.digest_of_config(there)
    assert claim_lines.digest_of_config(here) != claim_lines.digest_of_config({'steps': 2})


@pytest.mark.parametrize(
    ('value', 'kept'), [(1 / 3, 0.3333), (2.0, 2), (0.000123456, 0.0001235), (-0.0, 0)]
)
def test_numbers_are_kept_with_four_digits(value, kept):
    assert json.dumps(claim_lines.short(value)) == json.dumps(kept)
