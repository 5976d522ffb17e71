"""Answers: the fast and the slow branch of each clip, grown from one prefill, read and scored."""

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np

from mer_jax.data.cache import FeatureCache
from mer_jax.data.loader import Example
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.group import Array, Branches, Prompts, Reading
from mer_jax.methods.mer_r1_reading import Parsed
from mer_jax.methods.mer_r1_rewards import set_scores
from mer_jax.models.omni import Omni
from mer_jax.rl.step import compiled_roll_out
from mer_jax.run.setting import Setting
from mer_jax.sharding import to_devices, to_host

MODES = ('fast', 'slow')
SCORES = ('recall', 'precision', 'f', 'form', 'tokens')


@dataclasses.dataclass(frozen=True)
class Grown:
    """The branches of a batch of examples as numpy, and what was read in them."""

    prompts: Prompts
    features: Array  # what the towers made of the media, on the devices
    branches: Branches
    reading: Reading
    parsed: list[list[Parsed]]

    def scores(self) -> np.ndarray:
        """What each branch scores, by the names in SCORES: f[b, g, x]."""
        terms = set_scores(self.reading.named, self.prompts.gold[:, None])
        length = self.branches.mask.sum(-1)
        return np.stack([*map(np.asarray, terms), self.reading.formed, length], -1)


def grow_answers(
    setting: Setting, policy: Omni, examples: list[Example], size: int, opening_go, seed: int
) -> Grown:
    """The Grown of examples, filled up to `size`, sampled as config.evaluate says.

    There is a branch an opening. It depends on the example's clip, the seed and the policy, not on
    who else is in the batch.
    """
    examples = examples + [setting.filler()] * (size - len(examples))
    asked = setting.config.evaluate
    grow = compiled_roll_out(setting.spec, setting.sampling(asked.temperature, asked.top_p))
    prompts = setting.collate(examples)
    number_b = np.array([stable_number(example.clip.id) for example in examples], np.uint32)
    arrays = to_devices(setting.mesh, (prompts, number_b))
    rollout = grow(policy, *arrays, np.uint32(seed), np.uint32(0), opening_go, setting.starts_wcn)
    branches = to_host(rollout.branches)
    reading, parsed = setting.reader.read(branches, prompts.gold)
    return Grown(prompts, rollout.features, branches, reading, parsed)


def answerer(
    setting: Setting, policy: Omni, cache: FeatureCache | None
) -> Callable[[list[Example], int], list[dict]]:
    """A function of (examples, size) that gives what is answered to each of at most `size`."""
    opening = setting.openings(setting.fast_opening, setting.slow_opening)

    def answer_clips(examples: list[Example], size: int) -> list[dict]:
        grown = grow_answers(setting, policy, examples, size, opening, setting.config.seed)
        setting.keep_features(cache, examples, grown.prompts, grown.features)
        confidence_bgwc = branch_confidence(grown.branches, grown.reading)
        rows = zip(examples, grown.parsed, grown.scores(), confidence_bgwc, strict=False)
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
