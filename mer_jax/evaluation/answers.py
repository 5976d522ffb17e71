"""Answers: branches of each mode of each clip, grown from one prefill, read and described."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mer_jax.data.cache import FeatureCache
from mer_jax.data.loader import Example
from mer_jax.group import Array, Branches, Prompts
from mer_jax.models.omni import Omni
from mer_jax.rl.step import compiled_roll_out
from mer_jax.run.feature_cache import keep_features
from mer_jax.run.second_look import look_again
from mer_jax.run.setting import Setting
from mer_jax.run.traced import keep_traced
from mer_jax.sharding import to_devices, to_host

MODES = ('fast', 'slow')


@dataclasses.dataclass(frozen=True)
class Grown:
    """The branches of a batch of examples as numpy, with the method's reading of them."""

    prompts: Prompts
    features: Array  # of the towers, on the devices
    branches: Branches
    reading: Any
    answers: list[list[Any]]  # [b][g], as the method parses them


def grow_answers(
    setting: Setting,
    policy: Omni,
    examples: list[Example],
    size: int,
    modes: Sequence[str],
    seed: int,
) -> Grown:
    """The Grown of examples, filled up to `size`, sampled as config.evaluate says.

    There is a branch for each entry of `modes`. It depends on the example's clip, the seed and the
    policy, not on the other examples of the batch.
    """
    examples = examples + [setting.writer.filler()] * (size - len(examples))
    asked = setting.config.evaluate
    sampling = setting.sampling(asked.temperature, asked.top_p)
    grow = compiled_roll_out(sampling, setting.method.watch)
    grow = keep_traced(setting, f'grow {sampling}', grow)
    prompts = setting.batcher.collate(examples)
    number_b = np.array([stable_number(example.clip.id) for example in examples], np.uint32)
    arrays = to_devices(setting.mesh, (prompts, number_b))
    opening, seed, zero = setting.openings(*modes), np.uint32(seed), np.uint32(0)
    rollout = grow(policy, *arrays, seed, zero, opening)
    branches = to_host(rollout.branches)
    texts = setting.texts.read(branches.token, branches.mask)
    reading, answers = setting.method.read(texts, [example.clip for example in examples])
    given = policy, arrays[0], rollout, reading, arrays[1], seed, zero
    reading = look_again(setting, sampling, *given)
    return Grown(prompts, rollout.features, branches, reading, answers)


def describe(setting: Setting, grown: Grown) -> list[list[dict]]:
    """Each branch as a dictionary of JSON values, [b][g]: its text, words, scores and the like."""
    branches = grown.branches
    return setting.method.describe(grown.reading, grown.answers, branches.mask, branches.watched)


def answerer(
    setting: Setting, policy: Omni, cache: FeatureCache | None
) -> Callable[[list[Example], int], list[dict]]:
    """A function of (examples, size) that gives the answers to each of at most `size` examples.

    An entry is {'id', 'gold', 'fast': {…}, 'slow': {…}}.
    """

    def answer_clips(examples: list[Example], size: int) -> list[dict]:
        grown = grow_answers(setting, policy, examples, size, MODES, setting.config.seed)
        keep_features(cache, examples, grown.prompts, grown.features)
        return [
            {'id': example.clip.id, 'gold': list(example.clip.words)}
            | dict(zip(MODES, described, strict=True))
            for example, described in zip(examples, describe(setting, grown), strict=False)
        ]

    return answer_clips


def stable_number(name: str) -> int:
    """A number that represents a clip in every batch and every process."""
    return zlib.crc32(name.encode())
