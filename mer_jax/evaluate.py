"""Evaluation: the fast and the slow answer of every held-out clip, grown from one prefill."""

import dataclasses
import functools
import zlib

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from mer_jax.data.loader import in_order
from mer_jax.models.omni import Omni
from mer_jax.rl.rewards import set_scores
from mer_jax.rl.step import roll_out
from mer_jax.setting import Setting
from mer_jax.sharding import to_devices, to_host

MODES = ('fast', 'slow')
SCORES = ('recall', 'precision', 'f', 'form', 'tokens')


def evaluate(setting: Setting, policy: Omni, title: str) -> tuple[dict, list[dict]]:
    """Scores of fast and slow answers on the held-out clips, and what was answered to each.

    The scores are means over clips of what each clip scores (set_scores: means over wheels), with
    the standard error of that mean: {'clips', 'fast': {'recall', 'recall_se', …}, 'slow': {…}};
    'form' is the share of well-formed branches, 'tokens' their mean length. The answer to a clip
    depends on the clip, the seed and the policy only.
    """
    c, processes = setting.config, jax.process_count()
    sampling = setting.sampling(c.evaluate.temperature, c.evaluate.top_p)
    opening = setting.openings(setting.fast_opening, setting.slow_opening)
    grow = jax.jit(functools.partial(roll_out, spec=setting.spec, sampling=sampling))
    clips = setting.test_clips
    numbers = range(jax.process_index(), len(clips), processes)
    size = c.evaluate.batch // processes
    scores, answers = [], []
    bar = tqdm.tqdm(total=len(numbers), desc=f'evaluate, {title}', unit='clip', dynamic_ncols=True)
    mine = [clips[number] for number in numbers]
    for examples in in_order(mine, setting.example, setting.damages, size):
        filled = examples + examples[-1:] * (size - len(examples))
        batch = setting.collate(filled)
        number_b = np.array([stable_number(example.clip.id) for example in filled], np.uint32)
        arrays = to_devices(setting.mesh, (batch.prompts, number_b))
        rollout = grow(
            policy, *arrays, np.uint32(c.seed), np.uint32(0), opening, setting.starts_wcn
        )
        branches = to_host(rollout.branches)
        reading, parsed = setting.reader.read(branches, batch.prompts.gold)
        terms = set_scores(reading.named, batch.prompts.gold[:, None])
        length = branches.mask.sum(-1)
        stacked = np.stack([*map(np.asarray, terms), reading.formed, length], -1)
        scores.append(stacked[: len(examples)])
        answers += [answer(*pair) for pair in zip(examples, parsed, strict=False)]
        bar.update(len(examples))
    bar.close()
    score_bgx = np.concatenate(scores)
    if processes > 1:
        score_bgx = multihost_utils.process_allgather(score_bgx, tiled=True)
    return summary(score_bgx), answers


def stable_number(name: str) -> int:
    """A number that stands for a clip wherever and with whomever it is evaluated."""
    return zlib.crc32(name.encode())


def summary(score_bgx) -> dict:
    """Means over clips with their standard errors, for each mode."""
    figures = {'clips': len(score_bgx)}
    for g, mode in enumerate(MODES):
        mean = score_bgx[:, g].mean(0)
        error = score_bgx[:, g].std(0, ddof=1) / len(score_bgx) ** 0.5
        figures[mode] = {}
        for name, value, spread in zip(SCORES, mean, error, strict=True):
            figures[mode][name] = float(value)
            if name in ('recall', 'precision', 'f'):
                figures[mode][f'{name}_se'] = float(spread)
    return figures


def answer(example, parsed) -> dict:
    """What was answered to a clip, for people and programs."""
    said = {mode: dataclasses.asdict(one) for mode, one in zip(MODES, parsed, strict=True)}
    return {'id': example.clip.id, 'gold': example.clip.words, **said}
