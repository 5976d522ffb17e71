"""Reading EMO-R3's answers on the host: steps, boxed word, form, questions of the reflection."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
from flax import struct

from mer_jax.data.answer_words import split_answer
from mer_jax.data.clips import Clip, label_of
from mer_jax.data.collate import size_class
from mer_jax.data.texts import Text
from mer_jax.group import Array
from mer_jax.sharding import largest_of_all

BOX = r'\boxed{'
PARTS = ('<step1>', '</step1>', '<step2>', '</step2>', '<step3>', '</step3>', BOX, '}')
IN_BOX = PARTS[-2:]
FEELING = (
    '{text}\nWhich emotion best describes the text above?\nAnswer with one word out of: {words}.'
)
DESCRIBES = 'Can the following text describe the image? Answer yes or no.{text}'


@struct.dataclass
class Reading:
    """Answers against their gold word, and the two questions that each of them is asked about.

    `story` is a whole chat about the first two steps, without the picture. `view` is the part of a
    chat after the picture, about the first step. Both are padded at the end; a length of 0 means
    that the question is not asked, because the steps are missing or it is too long.
    """

    right: Array  # bool[b, g], the boxed word in small letters is the gold word, if there is one
    formed: Array  # bool[b, g]
    truth: Array  # i[b, g], the label that coherence looks for, −1 = none
    story: Array  # i[b, g, t]
    story_length: Array  # i[b, g]
    view: Array  # i[b, g, s]
    view_length: Array  # i[b, g]
    too_long: Array  # i[b, g], questions that do not fit
    coherence: Array  # f[b, g], 0 until the reflection
    consistency: Array  # f[b, g]
    chance: Array | None = None  # f[b, g, labels] of the answers to `story`, if they are scored


@dataclasses.dataclass(frozen=True)
class Parsed:
    """One branch as text: all of it, its steps, its boxed word, its form."""

    text: str
    steps: tuple[str, ...]  # as far as they are there
    word: str | None  # in the box, as it is but for commands of LaTeX
    formed: bool


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads answers whose gold word is one of `labels`.

    `ask(text, pictured)` gives the token ids of a chat in which the user says a text; if it is
    pictured, those after the picture alone. A question of more than `most` tokens is not asked.
    """

    labels: tuple[str, ...]
    ask: Callable[[str, bool], list[int]]
    most: int
    steps: bool  # whether the form asks for the three steps
    truth: str  # 'gold' or 'own': the word that coherence looks for; own where a clip has no gold

    def read(
        self, texts: Sequence[Sequence[Text]], clips: Sequence[Clip]
    ) -> tuple[Reading, list[list[Parsed]]]:
        """The Reading of texts [b][g], as numpy, and each of them parsed."""
        answers = [[parse(str(text), self.steps) for text in row] for row in texts]
        said = [[(answer.word or '').lower() for answer in row] for row in answers]
        gold = [[label_of(clip.words[0]) if clip.words else None] * len(texts[0]) for clip in clips]
        own = [self.truth == 'own' or not clip.words for clip in clips]
        truth = [mine if one else its for one, mine, its in zip(own, said, gold, strict=True)]
        shape = len(texts), len(texts[0])
        story, story_length, long_story = self.questions(answers, story_of, pictured=False)
        view, view_length, long_view = self.questions(answers, view_of, pictured=True)
        reading = Reading(
            right=np.array(said, object) == np.array(gold, object),
            formed=np.array([[answer.formed for answer in row] for row in answers]),
            truth=np.array([[self.index(word) for word in row] for row in truth], np.int32),
            story=story,
            story_length=story_length,
            view=view,
            view_length=view_length,
            too_long=long_story.astype(np.int32) + long_view,
            coherence=np.zeros(shape, np.float32),
            consistency=np.zeros(shape, np.float32),
        )
        return reading, answers

    def index(self, word: str) -> int:
        """The number of a label, −1 for another word."""
        return self.labels.index(word) if word in self.labels else -1

    def questions(self, answers, text_of, pictured: bool) -> tuple[np.ndarray, ...]:
        """Questions about all answers: tokens i[b, g, t], lengths i[b, g], bool[b, g] too long."""
        asked = [[text_of(answer.text, self.labels) for answer in row] for row in answers]
        ids = [[self.ask(text, pictured) if text else [] for text in row] for row in asked]
        length = np.array([[len(one) for one in row] for row in ids], np.int32)
        too_long = length > self.most
        length[too_long] = 0
        (longest,) = largest_of_all([int(length.max())])
        size = min(size_class(max(longest, 1)), self.most)  # few sizes, so few programs
        token = np.zeros((*length.shape, size), np.int32)
        for i, row in enumerate(ids):
            for j, one in enumerate(row):
                token[i, j, : length[i, j]] = one[: length[i, j]]
        return token, length, too_long


def parse(text: str, steps: bool = True) -> Parsed:
    """An answer as text, parsed."""
    found = (between(text, f'<step{n}>', f'</step{n}>') for n in (1, 2, 3))
    return Parsed(
        text=text,
        steps=tuple(step.strip() for step in found if step is not None),
        word=without_commands(boxed(text)),
        formed=has_form(text, PARTS if steps else IN_BOX),
    )


def between(text: str, opening: str, closing: str) -> str | None:
    """The text between the first opening and the closing after it; None if one is missing."""
    start = text.find(opening)
    end = text.find(closing, start + len(opening)) if start >= 0 else -1
    return text[start + len(opening) : end] if end >= 0 else None


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{…}, to the brace that closes it; None without one."""
    start = text.rfind(BOX)
    depth = 1
    first = start + len(BOX)
    for at in range(first, len(text)) if start >= 0 else ():
        depth += {'{': 1, '}': -1}.get(text[at], 0)
        if not depth:
            return text[first:at]
    return None


def without_commands(word: str | None) -> str | None:
    r"""The words in `\text{…}` and the like; a box without commands is compared as it is."""
    return ', '.join(split_answer(word)) if word and '\\' in word else word


def has_form(text: str, parts: Sequence[str] = PARTS) -> bool:
    """Whether the parts follow each other, whatever lies between; steps come first.

    White space around <, > and / is removed first. The published expression, a full match of
    <step1>.*</step1>.* and so on, has the same matches; searching part by part takes linear time.
    """
    text = re.sub(r'\s*([<>/])\s*', r'\1', text)
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0 or (part == PARTS[0] and found):
            return False
        at = found + len(part)
    return True


def story_of(text: str, labels: Sequence[str]) -> str | None:
    """The question of coherence about the first two steps of an answer; None without them."""
    found = between(text, '<step1>', '</step2>')
    if found is None:
        return None
    return FEELING.format(text=f'<step1>{found}</step2>', words=', '.join(labels))


def view_of(text: str, _: Sequence[str] = ()) -> str | None:
    """The question of consistency about the first step of an answer; None without it."""
    found = between(text, '<step1>', '<step2>')
    return None if found is None else DESCRIBES.format(text=f'<step1>{found}')
