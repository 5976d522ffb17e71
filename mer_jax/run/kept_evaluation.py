"""An evaluation of a run, kept in its workdir so that a restarted run does not repeat it."""

import json
import logging
import pathlib
import time
import zlib

import jax

from mer_jax.errors import one_line
from mer_jax.models.omni import Omni
from mer_jax.run.config_rules import flat
from mer_jax.run.held_out import evaluate
from mer_jax.run.identity import digest_of_use
from mer_jax.run.setting import Setting
from mer_jax.run.shares import gather_rows
from mer_jax.storage.objects import contents, write_whole

NOT_ASKED = ('data.validation', 'evaluate.policy')  # keys of those sections that decide no answer
KEPT = {'of': dict, 'scores': dict, 'answers': list, 'seconds': float}

log = logging.getLogger(__name__)


def evaluate_once(
    setting: Setting,
    policy: Omni,
    workdir: pathlib.Path,
    title: str,
    updates: int,
    same: dict | None = None,
) -> dict:
    """The evaluation after so many updates, read from the workdir if an earlier start made it.

    {'of', 'scores', 'answers', 'seconds'}. It is repeated if the number of updates, the content of
    the held-out clips, or a key of the config that decides how clips are asked and scored, has
    changed. `same` is an evaluation of the same policy under another title: its answers are kept
    under this one too, and no clip is asked again.
    """
    c = setting.config
    deciding = flat(c.data, 'data.') | flat(c.evaluate, 'evaluate.')
    deciding |= {'updates': updates, 'rollout.slow_tokens': c.rollout.slow_tokens}
    deciding = {key: deciding[key] for key in deciding if key not in NOT_ASKED}
    writes = jax.process_index() == 0
    (deciding['clips'],) = gather_rows([digest_of_use(workdir, 'test')] if writes else [])
    deciding = json.loads(json.dumps(deciding))
    path = workdir / f'evaluation_{title}.json'
    kept = gather_rows(read_kept(path) if writes else [])
    if kept and kept[0]['of'] == deciding:
        return kept[0]
    start = time.perf_counter()
    if same is None:
        scores, answers = evaluate(setting, policy, title)
    else:
        scores, answers = same['scores'], same['answers']
    seconds = time.perf_counter() - start
    evaluation = {'of': deciding, 'scores': scores, 'answers': answers, 'seconds': seconds}
    if writes:
        write_whole(path, json.dumps(evaluation | {'crc32': sum_of(evaluation)}, indent=1))
    return evaluation


def read_kept(path: pathlib.Path) -> list[dict]:
    """The evaluation in a file; [] without one, or with a warning if it is damaged.

    Evaluations of earlier versions have no checksum.
    """
    text = contents(path)
    if not text:
        return []
    try:
        kept = json.loads(text)
        if kept.pop('crc32', None) not in (None, sum_of(kept)):
            raise ValueError('its content does not agree with its checksum')
        for key, kind in KEPT.items():
            if not isinstance(kept[key], kind):
                raise TypeError(f'{key} is no {kind.__name__}')
        return [kept]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        log.warning('%s: is damaged (%s); the evaluation is made again', path, one_line(error))
        return []


def sum_of(evaluation: dict) -> int:
    """The checksum of an evaluation."""
    return zlib.crc32(json.dumps(evaluation).encode())
