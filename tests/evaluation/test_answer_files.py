"""Files of answers: which lines of an interrupted evaluation are kept."""

import json

import pytest

from mer_jax.data.clips import Clip
from mer_jax.evaluation.answer_files import line_of, whole_blocks

CLIPS = [Clip(name, subtitle='Fine.') for name in 'abcde']


def line(name, mode):
    """As much of a line as decides whether it is kept."""
    return {'id': name, 'mode': mode}


def test_only_blocks_that_were_written_whole_are_kept(tmp_path):
    lines = [line('a', 'fast'), line('a', 'slow'), {'id': 'b', 'mode': 'none', 'error': 'torn'}]
    lines += [line('c', 'fast'), line('c', 'slow'), line('d', 'fast')]
    path = tmp_path / 'manifest.jsonl'
    assert whole_blocks(path, CLIPS, 2) == []
    path.write_text(''.join(json.dumps(one) + '\n' for one in lines) + '{"id": "d", "mo')
    assert whole_blocks(path, CLIPS, 2) == lines[:3]
    assert whole_blocks(path, CLIPS, 1) == lines[:5]
    assert whole_blocks(path, CLIPS, 4) == []


@pytest.mark.parametrize(
    'damaged',
    [
        '??',
        'null',
        '[]',
        '{"id": ["a"], "mode": "fast"}',
        '{"id": "b", "mode": "loud"}',
        '{"id": "b", "mode": ["fast"]}',
        '{"id": "b", "mode": "none", "error": 3}',
        '{"id": "b", "mode": "fast", "words": "awe"}',
        '{"id": "b", "mode": "fast", "scores": null}',
    ],
)
def test_clips_from_a_damaged_line_on_are_asked_again_and_that_is_said(tmp_path, caplog, damaged):
    lines = [json.dumps(line(name, mode)) for name in 'abc' for mode in ('fast', 'slow')]
    lines[2] = damaged
    path = tmp_path / 'manifest.jsonl'
    path.write_text('\n'.join(lines))
    assert whole_blocks(path, CLIPS, 1) == [line('a', 'fast'), line('a', 'slow')]
    assert f'{path} line 3: is damaged' in caplog.text


def test_a_line_holds_the_scores_of_the_method_that_its_answer_has():
    said = {'text': 'Awe.', 'think': '', 'words': ['awe'], 'confidence': {}, 'form': 1.0}
    row = {'id': 'a', 'slow': said | {'coherence': 0.5, 'truth': 'awe'}, 'fast': said}
    scored = ('form', 'coherence')
    assert line_of(row, 'slow', scored)['scores'] == {'form': 1.0, 'coherence': 0.5}
    assert line_of(row, 'fast', scored)['scores'] == {'form': 1.0}
