"""Prediction: the answers of a checkpoint to a clip, thinking slow, fast, or both.

    python -m mer_jax.predict --checkpoint runs/first clip.mp4 --subtitle "I am fine."

The checkpoint is the workdir of a run, what a run has exported, or a Hugging Face folder.
"""

import collections
import dataclasses
import pathlib

from mer_jax.data.clips import Clip
from mer_jax.data.loader import Example
from mer_jax.data.media.kind import kind_of_file
from mer_jax.evaluation.answers import MODES, describe, grow_answers
from mer_jax.methods.method import SECOND_LOOK
from mer_jax.models.omni import Omni
from mer_jax.run.command_line import printable
from mer_jax.run.setting import Setting


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of one mode, slow or fast, to a clip.

    `emotions` come by the number of samples that name them. `confidence` is a mean over samples:
    {wheel: {category: e^S of the calibration}} of MER-R1, {'coherence': {label: probability}} of
    EMO-R3. `reflection` holds the mean rewards of EMO-R3's reflection.
    """

    emotions: dict[str, int]
    reasoning: str  # of the first sample
    formed: int  # samples with the form that the method asks for
    samples: tuple[str, ...]  # the whole texts
    confidence: dict[str, dict[str, float]]
    reflection: dict[str, float]


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
    example = setting.writer.bare_example(clip)
    described = sample(setting, policy, example, modes, samples, seed)
    return {mode: make_answer(told) for mode, told in described.items()}


def sample(
    setting: Setting,
    policy: Omni,
    example: Example,
    modes: tuple[str, ...],
    samples: int,
    seed: int,
) -> dict[str, list[dict]]:
    """Samples of each mode for an example, described as Method.describe says."""
    repeated = [mode for mode in modes for _ in range(samples)]
    with setting.in_use():
        grown = grow_answers(setting, policy, [example], 1, repeated, seed)
    (described,) = describe(setting, grown)
    return {mode: described[i * samples : (i + 1) * samples] for i, mode in enumerate(modes)}


def make_answer(samples: list[dict]) -> Answer:
    """The samples of one mode, as Method.describe gives them, put together."""
    votes = collections.Counter(word for said in samples for word in dict.fromkeys(said['words']))
    return Answer(
        emotions=dict(votes.most_common()),
        reasoning=samples[0]['think'],
        formed=sum(said['formed'] for said in samples),
        samples=tuple(said['text'] for said in samples),
        confidence=mean_confidence([said['confidence'] for said in samples]),
        reflection={
            name: sum(said[name] for said in samples) / len(samples)
            for name in SECOND_LOOK
            if name in samples[0]
        },
    )


def mean_confidence(samples: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of the samples that have a confidence, the highest first."""
    known = [sample for sample in samples if sample]
    means = {}
    for name in known[0] if known else ():
        sums = {key: sum(one[name][key] for one in known) / len(known) for key in known[0][name]}
        means[name] = dict(sorted(sums.items(), key=lambda pair: -pair[1]))
    return means


def disagreement(answers: dict[str, Answer]) -> dict[str, list[str]]:
    """The emotions that only one of two ways of thinking names: {'fast': […], 'slow': […]}."""
    fast, slow = (answers[mode].emotions for mode in MODES)
    return {
        'fast': [word for word in fast if word not in slow],
        'slow': [word for word in slow if word not in fast],
    }


def clip_of_file(path: str, subtitle: str = '') -> Clip:
    """A clip of one file: a video, a sound or a picture, by the content of the file."""
    return Clip(
        id=printable(pathlib.Path(path).name), subtitle=subtitle, **{kind_of_file(path): path}
    )
