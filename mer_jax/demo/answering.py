"""Answers to the files of visitors: limits checked, fast and slow answered, errors as a message."""

import dataclasses
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable

from mer_jax.data.loader import Example
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.look import Look, look_at
from mer_jax.data.media.sound_line import RATE
from mer_jax.demo.answer_html import answer_page, message_page
from mer_jax.demo.answered import Answered
from mer_jax.demo.category_bars import shares
from mer_jax.demo.limits import Limits
from mer_jax.errors import printable
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.prediction import clip_of_file, make_answer, sample
from mer_jax.models.omni import Omni
from mer_jax.run.device_errors import reason_of_device
from mer_jax.run.setting import Setting
from mer_jax.storage.paths import StorageError

log = logging.getLogger(__name__)

MOST_LETTERS = 1000  # of a subtitle
NO_CLIP = 'Choose a clip first: drop a file, record one, or take an example.'
BROKEN = 'This clip could not be answered because of an error; the terminal of the server tells it.'


@dataclasses.dataclass(frozen=True)
class Answerer:
    """A policy that answers files below one folder, one file at a time.

    Always `most` samples of each mode grow together, so that any number of samples asked for uses
    one program; the rest is left out. `shapes` are those of the batches answered so far.
    """

    setting: Setting
    policy: Omni
    folder: pathlib.Path
    limits: Limits
    most: int
    trained: int  # tokens of the longest prompt of training
    seed: int = 0
    shapes: set = dataclasses.field(default_factory=set)
    turn: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def page(self, path: str | None, subtitle: str, samples: float) -> str:
        """The answers to a file as HTML; a message if it cannot be answered. Raises nothing."""
        if not path:
            return message_page(NO_CLIP)
        try:
            with self.turn:
                answered = self.answer(path, subtitle or '', int(samples))
            return answer_page(answered, self.emotions)
        except (MediaError, StorageError, OSError) as error:
            return message_page(told(error, path, self.folder))
        except Exception as error:
            log.exception('a clip could not be answered')
            return message_page(reason_of_device(error) or BROKEN)

    @property
    def emotions(self) -> frozenset[str]:
        """The words of emotion that are marked in a reasoning."""
        known = self.setting.wheels.row if self.setting.wheels else ()
        return frozenset(known) | frozenset(label.lower() for label in self.setting.method.labels)

    def answer(self, path: str, subtitle: str, samples: int) -> Answered:
        """The answers to a file; MediaError if it is no clip within the limits."""
        if not is_below(path, self.folder):
            raise MediaError(f'{path}: there is no such file')
        if len(subtitle) > MOST_LETTERS:
            raise MediaError(f'{path}: a subtitle may have {MOST_LETTERS} letters at most')
        subtitle = printable(' '.join(subtitle.split()))
        samples = min(max(samples, 1), self.most)
        started = time.monotonic()
        self.limits.check_file(path)
        look = self.look(path)
        example = self.setting.writer.bare_example(clip_of_file(path, subtitle))
        read = time.monotonic()
        compiled = self.is_new(example)
        described = sample(self.setting, self.policy, example, MODES, self.most, self.seed)
        kept = {mode: grown[:samples] for mode, grown in described.items()}
        answers = {mode: make_answer(shown) for mode, shown in kept.items()}
        return Answered(
            look=dataclasses.replace(look, file=example.clip.id),
            subtitle=subtitle,
            answers=answers,
            bars={
                mode: shares(
                    [one['words'] for one in kept[mode]],
                    answers[mode].confidence,
                    self.setting.wheels,
                    self.setting.method.labels,
                )
                for mode in kept
            },
            samples=samples,
            grown=self.most,
            reading=read - started,
            answering=time.monotonic() - read,
            compiled=compiled,
            tokens=len(example.prompt.token),
            trained=self.trained,
            hears=bool(len(example.prompt.sound)),
        )

    def look(self, path: str) -> Look:
        """The file as the model sees and hears it; MediaError if it lasts too long."""
        data = self.setting.config.data
        look = look_at(path, data.fps, data.sound_start, data.max_frames)
        heard = 0 if look.samples is None else len(look.samples) / RATE
        try:
            self.limits.check_seconds(max(look.seconds, heard))
        except MediaError as error:
            raise MediaError(f'{path}: {error}') from None
        return look

    def is_new(self, example: Example) -> bool:
        """Whether an example takes a program that no example before it has taken."""
        prompts = self.setting.batcher.collate([example])
        shape = prompts.token.shape, prompts.media.patch.shape, prompts.media.sound.shape
        is_new = shape not in self.shapes
        self.shapes.add(shape)
        return is_new

    def warm_up(self, path: str, said: Callable[[str], None]) -> None:
        """Answers a file once, so that the program is compiled.

        Clips of up to twice its sound, and of frames up to twice as large, share the program.
        """
        said('compiling the program with an example; this takes seconds to minutes')
        example = self.setting.writer.bare_example(clip_of_file(path))
        prompt = example.prompt
        frames, patches = prompt.patch_mask.shape[:2]
        self.setting.batcher.least = frames, 2 * patches, 2 * len(prompt.sound)
        answered = self.answer(path, '', self.most)
        said(f'ready after {answered.answering:.1f} s')


def is_below(path: str, folder: pathlib.Path) -> bool:
    """Whether a file lies below a folder, links followed."""
    return pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def told(error: Exception, path: str, folder: pathlib.Path) -> str:
    """The message of an error with the name of the visitor's file, without paths of the server."""
    if isinstance(error, OSError):
        return f'{printable(pathlib.Path(path).name)}: {os.strerror(error.errno or 5).lower()}'
    text = str(error)
    for whole in (os.path.realpath(path), path):
        text = text.replace(whole, pathlib.Path(path).name)
    for place in (os.path.realpath(folder), str(folder)):
        text = text.replace(place, '')
    return printable(text)
