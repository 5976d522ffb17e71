"""EMO-R3's reflection, tested: the policy judges steps that are known to be true or false.

    setting, policy = open_checkpoint('runs/emo')
    clips = choose_clips(setting.config).test
    seen = reflect(setting, policy, clips, [[clip.reasoning, other.reasoning] …])
    binned(seen.yes, true_ng)

`notebooks/emo_r3_reflection.ipynb` is an example. Axes: n clips, g texts about a clip, k labels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.methods.emo_r3_reflection import within_set
from mer_jax.models.omni import Omni
from mer_jax.rl.step import compiled_roll_out
from mer_jax.run.second_look import compiled_look
from mer_jax.run.setting import Setting
from mer_jax.sharding import to_devices, to_host


@dataclasses.dataclass(frozen=True)
class Reflected:
    """The policy's answers to both questions of the reflection about each text."""

    label: np.ndarray  # f[n, g, k], probability of each label, read without the picture
    yes: np.ndarray  # f[n, g], probability that the first step describes the picture
    asked: np.ndarray  # bool[n, g], the text has the steps that the questions quote


def reflect(
    setting: Setting,
    policy: Omni,
    clips: Sequence[Clip],
    texts: Sequence[Sequence[str]],
    size: int = 16,
) -> Reflected:
    """The Reflected of texts [n][g] about clips [n]; each has the steps of an answer.

    Setting and policy are those of `setting.open_checkpoint`. ValueError if the method of the
    checkpoint scores no reflection.
    """
    c = setting.config
    if c.method != 'emo_r3' or c.learn.reflection.by != 'score':
        raise ValueError(
            f'method={c.method!r}: must be emo_r3 with learn.reflection.by=score, whose reflection '
            'gives probabilities; name the workdir of such a run'
        )
    parts = []
    with setting.in_use():
        for first in range(0, len(clips), size):
            block = range(first, min(first + size, len(clips)))
            rows = [list(texts[n]) for n in block]
            found = _reflect_block(setting, policy, [clips[n] for n in block], rows, size)
            parts.append([x[: len(block)] for x in found])
    return Reflected(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _reflect_block(setting: Setting, policy: Omni, clips, texts, size: int):
    """label f[size, g, k], yes f[size, g] and asked bool[size, g] of at most `size` clips."""
    method, c = setting.method, setting.config
    examples = [setting.writer.bare_example(clip) for clip in clips]
    examples += [setting.writer.filler()] * (size - len(clips))
    texts = texts + [texts[0]] * (size - len(clips))
    prompts = setting.batcher.collate(examples)
    number_b = np.zeros(size, np.uint32)
    prompts, number_b = to_devices(setting.mesh, (prompts, number_b))
    sampling = setting.sampling(c.evaluate.temperature, c.evaluate.top_p)
    shortest = dataclasses.replace(sampling, tokens=2)  # the keys of the prompt alone are needed
    opening = setting.openings(*['slow'] * len(texts[0]))
    zero = np.uint32(0)
    grow = compiled_roll_out(shortest, method.watch)
    rollout = grow(policy, prompts, number_b, zero, zero, opening)
    reading, _ = method.read(texts, [example.clip for example in examples])
    look = compiled_look(setting.mesh, method.look, sampling, c.learn.microbatch)
    arrays = prompts, rollout, to_devices(setting.mesh, reading), number_b
    seen = to_host(look(policy, *arrays, zero, zero))
    return (
        within_set(seen.label),
        within_set(seen.yes_no)[..., 0],
        np.array(reading.view_length) > 0,
    )


def binned(chance, right, bins: int = 10) -> dict[str, np.ndarray]:
    """How often something is right, by the probability given to it: f[bins] by name.

    Bins are of equal width; empty ones are left out. `count` is the number in a bin, `sure` the
    mean probability, `right` the share that is right.
    """
    chance, right = np.ravel(chance), np.ravel(right)
    bin_i = np.minimum((chance * bins).astype(int), bins - 1)
    count = np.bincount(bin_i, minlength=bins)
    held = count > 0
    sure, share = (np.bincount(bin_i, x, bins)[held] / count[held] for x in (chance, right))
    return {'count': count[held], 'sure': sure, 'right': share}


def outranks(true, false) -> float:
    """The probability that a true case has a higher value than a false one; equal ones count half.

    This is the area under the ROC curve: 0.5 is chance.
    """
    true, false = np.ravel(true)[:, None], np.ravel(false)
    return float(((true > false) + 0.5 * (true == false)).mean())
