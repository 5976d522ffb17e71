"""Prediction: what a checkpoint makes of a clip, thinking slow, fast, or both.

    python -m mer_jax.predict --checkpoint runs/first clip.mp4 --subtitle "I am fine."

The checkpoint is the workdir of a run, what a run has exported, or a Hugging Face folder.
"""

import collections
import dataclasses
import pathlib

import jax
import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.media.container import kind_of_file
from mer_jax.evaluation.answers import MODES, grow_answers
from mer_jax.methods.mer_r1_answers import answer_confidence, by_category
from mer_jax.models.omni import Omni
from mer_jax.run.command_line import printable
from mer_jax.run.setting import Setting


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one way of thinking says about a clip.

    `emotions` come by the number of samples that name them, `confidence` is e^S(category) of the
    calibration, after the anchors of each sample: {wheel: {category: probability}}.
    """

    emotions: dict[str, int]
    reasoning: str  # of the first sample
    formed: int  # samples with all tags
    samples: tuple[str, ...]  # the whole texts
    confidence: dict[str, dict[str, float]]


def predict(
    setting: Setting,
    policy: Omni,
    clip: Clip,
    modes: tuple[str, ...] = MODES,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, Answer]:
    """The answer of each mode ('fast', 'slow') to a clip; MediaError if its media cannot be used.

    Setting and policy are those of `setting.open_checkpoint`. An answer depends on the clip's id,
    the seed and the policy only. `samples` branches a mode grow from one reading of the prompt,
    sampled as config.evaluate says.
    """
    repeated = [mode for mode in modes for _ in range(samples)]
    with jax.set_mesh(setting.mesh):
        example = setting.writer.bare_example(clip)
        grown = grow_answers(setting, policy, [example], 1, repeated, seed)
    (parsed,) = grown.answers
    (confidence_gwc,) = answer_confidence(grown.branches.watched, grown.reading.anchor)
    answers = {}
    for i, mode in enumerate(modes):
        own = slice(i * samples, (i + 1) * samples)
        answers[mode] = make_answer(setting, parsed[own], confidence_gwc[own])
    return answers


def make_answer(setting: Setting, parsed, confidence_gwc) -> Answer:
    """The samples of one mode, put together."""
    votes = collections.Counter(word for said in parsed for word in dict.fromkeys(said.words))
    anchored = ~np.isnan(confidence_gwc).any((1, 2))
    mean_wc = confidence_gwc[anchored].mean(0) if anchored.any() else confidence_gwc[0]
    return Answer(
        emotions=dict(votes.most_common()),
        reasoning=parsed[0].think,
        formed=sum(said.formed for said in parsed),
        samples=tuple(said.text for said in parsed),
        confidence=by_category(setting.wheels, mean_wc),
    )


def disagreement(answers: dict[str, Answer]) -> dict[str, list[str]]:
    """The emotions that only one of two ways of thinking names: {'fast': […], 'slow': […]}."""
    fast, slow = (answers[mode].emotions for mode in MODES)
    return {
        'fast': [word for word in fast if word not in slow],
        'slow': [word for word in slow if word not in fast],
    }


def clip_of_file(path: str, subtitle: str = '') -> Clip:
    """A clip that is one file: a video, a sound or a picture, whatever its name says."""
    return Clip(
        id=printable(pathlib.Path(path).name), subtitle=subtitle, **{kind_of_file(path): path}
    )
