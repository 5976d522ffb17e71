"""Answers clips with a checkpoint: slow thinking, fast thinking, or both.

    python -m mer_jax.predict --checkpoint runs/first clip.mp4 --subtitle "I am fine."
    python -m mer_jax.predict --checkpoint runs/first --mode slow --samples 8 --json *.mp4

The checkpoint is the workdir of a run, an exported folder, or a Hugging Face folder.
"""

import argparse
import dataclasses
import json
import logging
import pathlib
import sys

from mer_jax.data.media.container import MediaError
from mer_jax.data.media.file_arguments import parse_files
from mer_jax.errors import quiet_pipes
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.prediction import Answer, clip_of_file, disagreement, predict
from mer_jax.evaluation.prediction_files import check_ending, write_rows
from mer_jax.models.omni import Omni
from mer_jax.run.command_line import printable
from mer_jax.run.device_errors import explained
from mer_jax.run.setting import Setting, open_checkpoint
from mer_jax.storage.paths import StorageError


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if one is missing or out of range."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.predict',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('clips', nargs='+', metavar='clip', help='a video, sound or picture file')
    parser.add_argument('--checkpoint', required=True, help='a run, an export, or a checkpoint')
    parser.add_argument('--adapter', default='', help='a LoRA adapter of it, as peft saves one')
    parser.add_argument('--subtitle', default='', help='what is said in the clip')
    parser.add_argument('--mode', choices=(*MODES, 'both'), default='both')
    parser.add_argument('--samples', type=int, default=1, help='answers of each mode')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--prompt-tokens', type=int, help='of the longest prompt, if not as trained'
    )
    parser.add_argument('--json', action='store_true', help='one JSON object a clip and line')
    parser.add_argument('--out', type=pathlib.Path, help='also write .csv, .jsonl or .parquet')
    asked = parse_files(parser, 'clips', arguments)
    if asked.samples < 1:
        parser.error(f'--samples={asked.samples}: must be at least 1')
    if asked.prompt_tokens is not None and asked.prompt_tokens < 1:
        parser.error(f'--prompt-tokens={asked.prompt_tokens}: must be at least 1')
    if not 0 <= asked.seed < 2**32:
        parser.error(f'--seed={asked.seed}: must be from 0 to 2**32 - 1')
    if asked.out:
        try:
            check_ending(asked.out, 'out')
        except ValueError as error:
            parser.error(str(error))
    return asked


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    asked = read_flags()
    try:
        setting, policy = open_checkpoint(asked.checkpoint, asked.adapter)
        if asked.prompt_tokens:
            setting.config.data.prompt_tokens = (asked.prompt_tokens,)
    except (ValueError, OSError, StorageError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    rows: list[dict] = []
    try:
        failed = answer_all(asked, setting, policy, rows)
    finally:  # those of a command that is stopped too
        if asked.out and rows:
            write_rows(asked.out, rows)
    raise SystemExit(failed)


def answer_all(asked: argparse.Namespace, setting: Setting, policy: Omni, rows: list[dict]) -> bool:
    """Prints the answers to all clips and adds their rows; whether one could not be answered."""
    modes = MODES if asked.mode == 'both' else (asked.mode,)
    failed = False
    for path in asked.clips:
        try:
            clip = clip_of_file(path, asked.subtitle)
            answers = predict(setting, policy, clip, modes, asked.samples, asked.seed)
        except (MediaError, StorageError) as error:
            print(f'mer_jax: {printable(str(error))}', file=sys.stderr)
            failed = True
            continue
        rows += as_rows(path, answers)
        if asked.json:
            print(json.dumps(as_json(path, answers)), flush=True)
        else:
            print(as_text(path, answers, asked.samples), flush=True)
    return failed


def as_rows(path: str, answers: dict[str, Answer]) -> list[dict]:
    """A row for each mode, in the columns of the files of `mer_jax.evaluate`."""
    return [
        {
            'name': pathlib.Path(path).stem,
            'mode': mode,
            'answer': list(one.emotions),
            'votes': one.emotions,
            'think': one.reasoning,
            'raw': one.samples[0],
            'confidences': one.confidence,
            'file': path,
        }
        for mode, one in answers.items()
    ]


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
        if one.reflection:
            said = [f'{name} {value:.2f}' for name, value in one.reflection.items()]
            lines.append(f'       reflection: {", ".join(said)}')
        for wheel, confidence in one.confidence.items():
            best = [f'{name} {chance:.2f}' for name, chance in list(confidence.items())[:3]]
            lines.append(f'       {wheel}: {", ".join(best)}')
        if one.formed < samples:
            lines.append(f'       {samples - one.formed} of {samples} answers lack their form')
    if len(answers) == 2:
        only = disagreement(answers)
        apart = [f'only {mode}: {", ".join(words)}' for mode, words in only.items() if words]
        lines.append(f'  {"; ".join(apart) or "slow and fast agree"}')
    return '\n'.join(lines)


if __name__ == '__main__':
    with quiet_pipes(), explained():
        main()
