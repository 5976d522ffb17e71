"""Files of answers: which lines of an interrupted evaluation are kept."""

import json

from mer_jax.data.clips import Clip
from mer_jax.evaluation.answer_files import whole_blocks

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
