"""Answers: the fast and the slow branch of each clip, grown from one prefill, read and scored."""

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import numpy as np

from mer_jax.data.cache import FeatureCache
from mer_jax.data.loader import Example
from mer_jax.data.wheel import Wheels
from mer_jax.group import Branches, Reading
from mer_jax.models.omni import Omni
from mer_jax.models.spec import Spec
from mer_jax.rl.branches import Sampling
from mer_jax.rl.rewards import set_scores
from mer_jax.rl.step import roll_out
from mer_jax.setting import Setting
from mer_jax.sharding import to_devices, to_host

MODES = ('fast', 'slow')
SCORES = ('recall', 'precision', 'f', 'form', 'tokens')


@functools.cache
def growing(spec: Spec, sampling: Sampling):
    """The rollout, compiled once for each size of batch."""
    return jax.jit(functools.partial(roll_out, spec=spec, sampling=sampling))


def answerer(
    setting: Setting, policy: Omni, cache: FeatureCache | None
) -> Callable[[list[Example], int], list[dict]]:
    """A function of (examples, size) that gives what is answered to each of at most `size`."""
    opening = setting.openings(setting.fast_opening, setting.slow_opening)
    asked = setting.config.evaluate
    grow = growing(setting.spec, setting.sampling(asked.temperature, asked.top_p))
    seed = np.uint32(setting.config.seed)

    def answer_clips(examples: list[Example], size: int) -> list[dict]:
        filled = examples + [setting.filler()] * (size - len(examples))
        prompts = setting.collate(filled)
        number_b = np.array([stable_number(example.clip.id) for example in filled], np.uint32)
        arrays = to_devices(setting.mesh, (prompts, number_b))
        rollout = grow(policy, *arrays, seed, np.uint32(0), opening, setting.starts_wcn)
        branches = to_host(rollout.branches)
        setting.keep_features(cache, examples, prompts, rollout.features)
        reading, parsed = setting.reader.read(branches, prompts.gold)
        terms = set_scores(reading.named, prompts.gold[:, None])
        length = branches.mask.sum(-1)
        score_bgx = np.stack([*map(np.asarray, terms), reading.formed, length], -1)
        confidence_bgwc = branch_confidence(branches, reading)
        rows = zip(examples, parsed, score_bgx, confidence_bgwc, strict=False)
        return [answer(setting.wheels, *row) for row in rows]

    return answer_clips


def stable_number(name: str) -> int:
    """A number that stands for a clip wherever and with whomever it is evaluated."""
    return zlib.crc32(name.encode())


def answer(wheels: Wheels, example: Example, parsed, score_gx, confidence_gwc) -> dict:
    """What was answered to a clip and what that scores, for people and programs."""
    said = {
        mode: dataclasses.asdict(one)
        | dict(zip(SCORES, score_x.tolist(), strict=True))
        | {'confidence': by_category(wheels, confidence_wc)}
        for mode, one, score_x, confidence_wc in zip(
            MODES, parsed, score_gx, confidence_gwc, strict=True
        )
    }
    return {'id': example.clip.id, 'gold': list(example.clip.words), **said}


def branch_confidence(branches: Branches, reading: Reading):
    """e^S of each category behind each branch, f[b, g, w, c]; NaN for one without anchors.

    S is the mean over a branch's anchors of the log-probability that a word of the category starts
    there, as in the calibration.
    """
    anchor_bga = reading.anchor
    at = np.maximum(anchor_bga, 0)[..., None, None]
    s_bgawc = np.take_along_axis(branches.confidence, at, axis=2)
    there = (anchor_bga >= 0)[..., None, None]
    count = there.sum(2)
    mean = np.where(there, s_bgawc, 0).sum(2) / np.maximum(count, 1)
    return np.where(count > 0, np.exp(mean), np.nan)


def by_category(wheels: Wheels, confidence_wc) -> dict[str, dict[str, float]]:
    """Confidences by wheel and category, the highest first; {} for a branch without anchors."""
    if np.isnan(confidence_wc).any():
        return {}
    named = {}
    for wheel, names, found_c in zip(wheels.names, wheels.categories(), confidence_wc, strict=True):
        pairs = zip(names, found_c.tolist(), strict=False)
        named[wheel] = dict(sorted(pairs, key=lambda pair: -pair[1]))
    return named
