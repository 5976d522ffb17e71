"""Prediction: what a checkpoint makes of a clip, thinking slow, fast, or both.

    python -m mer_jax.predict --checkpoint runs/first clip.mp4 --subtitle "I am fine."

The checkpoint is the workdir of a run, what a run has exported, or a Hugging Face folder.
"""

import argparse
import collections
import dataclasses
import json
import logging
import pathlib
import sys

import jax
import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.media.container import MediaError, kind_of_file
from mer_jax.evaluation.answers import MODES, grow_answers
from mer_jax.methods.mer_r1_answers import answer_confidence, by_category
from mer_jax.models.omni import Omni
from mer_jax.run.command_line import printable
from mer_jax.run.setting import Setting, open_checkpoint


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


def as_json(path: str, answers: dict[str, Answer]) -> dict:
    """The answers to a clip for programs."""
    line = {'clip': path} | {mode: dataclasses.asdict(one) for mode, one in answers.items()}
    return line | ({'only': disagreement(answers)} if len(answers) == 2 else {})


def as_text(path: str, answers: dict[str, Answer], samples: int) -> str:
    """The answers to a clip for people."""
    lines = [printable(path)]
    for mode, one in answers.items():
        named = [
            word if samples == 1 else f'{word} {votes}/{samples}'
            for word, votes in one.emotions.items()
        ]
        lines.append(f'  {mode:5}{", ".join(named) or "names no emotion"}')
        if mode == 'slow' and one.reasoning:
            lines.append(f'       because: {" ".join(one.reasoning.split())}')
        for wheel, confidence in one.confidence.items():
            best = [f'{name} {chance:.2f}' for name, chance in list(confidence.items())[:3]]
            lines.append(f'       {wheel}: {", ".join(best)}')
        if one.formed < samples:
            lines.append(f'       {samples - one.formed} of {samples} answers lack their tags')
    if len(answers) == 2:
        only = disagreement(answers)
        apart = [f'only {mode}: {", ".join(words)}' for mode, words in only.items() if words]
        lines.append(f'  {"; ".join(apart) or "slow and fast agree"}')
    return '\n'.join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; those that cannot be met end with a message."""
    parser = argparse.ArgumentParser(prog='mer_jax.predict', description=__doc__.partition('\n')[0])
    parser.add_argument('clips', nargs='+', metavar='clip', help='a video, sound or picture file')
    parser.add_argument('--checkpoint', required=True, help='a run, an export, or a checkpoint')
    parser.add_argument('--subtitle', default='', help='what is said in the clip')
    parser.add_argument('--mode', choices=(*MODES, 'both'), default='both')
    parser.add_argument('--samples', type=int, default=1, help='answers of each mode')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--prompt-tokens', type=int, help='of the longest prompt, if not as trained'
    )
    parser.add_argument('--json', action='store_true', help='one JSON object a clip and line')
    asked = parser.parse_args(arguments)
    if asked.samples < 1:
        parser.error(f'--samples={asked.samples}: must be at least 1')
    if asked.prompt_tokens is not None and asked.prompt_tokens < 1:
        parser.error(f'--prompt-tokens={asked.prompt_tokens}: must be at least 1')
    if not 0 <= asked.seed < 2**32:
        parser.error(f'--seed={asked.seed}: must be from 0 to 2**32 - 1')
    return asked


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    asked = parse()
    try:
        setting, policy = open_checkpoint(asked.checkpoint)
        if asked.prompt_tokens:
            setting.config.data.prompt_tokens = (asked.prompt_tokens,)
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    modes = MODES if asked.mode == 'both' else (asked.mode,)
    failed = False
    for path in asked.clips:
        try:
            clip = clip_of_file(path, asked.subtitle)
            answers = predict(setting, policy, clip, modes, asked.samples, asked.seed)
        except MediaError as error:
            print(f'mer_jax: {printable(str(error))}', file=sys.stderr)
            failed = True
            continue
        if asked.json:
            print(json.dumps(as_json(path, answers)), flush=True)
        else:
            print(as_text(path, answers, asked.samples), flush=True)
    raise SystemExit(failed)


if __name__ == '__main__':
    main()
