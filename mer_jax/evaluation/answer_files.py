"""Files of answers: a line for each mode of each clip, written block by block and resumed."""

import json
import logging
import pathlib
from collections.abc import Sequence

from mer_jax.data.clips import Clip
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.benchmark_sets import TestSet
from mer_jax.models.omni import Omni
from mer_jax.run.held_out import answer_blocks
from mer_jax.run.setting import Setting
from mer_jax.storage.objects import append, contents, upload_lines, write_whole

LINE = {
    'raw': str,
    'think': str,
    'answer': str,
    'words': list,
    'scores': dict,
}  # types of values that a line has

log = logging.getLogger(__name__)


def answer_set(setting: Setting, policy: Omni, test: TestSet, path: pathlib.Path) -> list[dict]:
    """The lines of the predictions file: one for each mode of a clip, or why a clip has none.

    An existing file is resumed after its last complete block.
    """
    size = setting.config.evaluate.batch
    kept = whole_blocks(path, test.clips, size)
    write_whole(path, ''.join(json.dumps(line) + '\n' for line in kept))
    start = -(-len({line['id'] for line in kept}) // size)
    prepare, scored = setting.writer.bare_example, setting.method.scored
    blocks = answer_blocks(setting, policy, test.clips, test.key, prepare, start)
    for rows, damaged in blocks:
        lines = [line_of(row, mode, scored) for row in rows for mode in MODES]
        lines += [{'id': one['id'], 'mode': 'none', 'error': one['reason']} for one in damaged]
        append(path, ''.join(json.dumps(line) + '\n' for line in lines))
        upload_lines()
        kept += lines
    return kept


def whole_blocks(path: pathlib.Path, clips: list[Clip], size: int) -> list[dict]:
    """The lines of the blocks that an earlier start wrote completely, up to a damaged line."""
    kept, done = [], set()
    for number, text in enumerate(contents(path).splitlines(), 1):
        line = line_in(text)
        if line is None:
            told = '%s line %d: is damaged, or a kill cut it off; clips are asked again from there'
            log.warning(told, path, number)
            break
        kept.append(line)
    written = {}
    for line in kept:
        written.setdefault(line['id'], set()).add(line['mode'])
    for first in range(0, len(clips), size):
        ids = {clip.id for clip in clips[first : first + size]}
        if not all(written.get(name) in ({'none'}, set(MODES)) for name in ids):
            break
        done |= ids
    return [line for line in kept if line['id'] in done]


def line_in(text: bytes) -> dict | None:
    """The line of a predictions file that a text holds; None if it holds none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get('id'), str):
        return None
    if line.get('mode') == 'none':
        return line if isinstance(line.get('error'), str) else None
    fits = line.get('mode') in MODES and all(
        isinstance(line.get(key, kind()), kind) for key, kind in LINE.items()
    )
    return line if fits else None


def line_of(row: dict, mode: str, scored: Sequence[str]) -> dict:
    """A line of the predictions file; of the scores of its method, those that the answer has."""
    said = row[mode]
    return {
        'id': row['id'],
        'mode': mode,
        'raw': said['text'],
        'think': said['think'],
        'answer': ', '.join(said['words']),
        'words': list(said['words']),
        'confidences': said['confidence'],
        'scores': {name: said[name] for name in scored if name in said},
    }
