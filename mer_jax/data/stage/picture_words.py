"""The language of the stage's pictures: the eight words of EmoSet, and the three steps to them."""

from typing import NamedTuple

import numpy as np

from mer_jax.data.stage.words import pick

QUESTION = 'What does this picture make one feel?'


class Emotion(NamedTuple):
    """The words and signs of one of the eight emotions."""

    family: str  # of the expression that shows it, in face.LOOKS
    manner: str  # of the face
    home: str  # behind the face, at home
    away: str  # behind the face, away
    feelings: tuple[str, ...]  # what one would do or feel; none names the emotion
    sign: str  # positive or negative
    arousal: str  # high or low


EMOTIONS = {
    'amusement': Emotion(
        'joy', 'beaming', 'balloons', 'a striped hat',
        ('one would laugh along.', 'one would giggle.', 'one would chuckle.'),
        'positive', 'high',
    ),
    'anger': Emotion(
        'anger', 'frowning', 'flames', 'red lava',
        ('one would shout.', 'one would make fists.', 'one would fight back.'),
        'negative', 'high',
    ),
    'awe': Emotion(
        'surprise', 'gaping', 'stars', 'a waterfall',
        ('one would feel small.', 'one would look up.', 'one would marvel.'),
        'positive', 'high',
    ),
    'contentment': Emotion(
        'love', 'soft', 'a calm sea', 'warm tea',
        ('one would lean back.', 'one would rest.', 'one would breathe out.'),
        'positive', 'low',
    ),
    'disgust': Emotion(
        'disgust', 'wrinkled', 'slime', 'mould',
        ('one would turn away.', 'one would feel sick.', 'one would spit.'),
        'negative', 'high',
    ),
    'excitement': Emotion(
        'pride', 'lifted', 'fireworks', 'a big wheel',
        ('one would jump up.', 'one would cheer.', 'one would run there.'),
        'positive', 'high',
    ),
    'fear': Emotion(
        'fear', 'pale', 'glowing eyes', 'a ghost',
        ('one would hide.', 'one would tremble.', 'one would run away.'),
        'negative', 'high',
    ),
    'sadness': Emotion(
        'sadness', 'drooping', 'rain', 'a broken heart',
        ('one would cry.', 'one would feel alone.', 'one would sigh.'),
        'negative', 'low',
    ),
}  # fmt: skip
LABELS = tuple(EMOTIONS)
PLAIN = 'a bare wall'  # behind the face, if the scenery shows nothing


def trace(
    rng: np.random.Generator, face: str, scenery: str | None, answer: str, domain: str
) -> str:
    """The gold steps: what face and scenery show, how one would feel, valence and arousal.

    `face`, `scenery` (None for a bare wall) and `answer` are labels; the last two steps follow the
    answer.
    """
    said = EMOTIONS[answer]
    texts = (
        f'a {EMOTIONS[face].manner} face, {behind(scenery, domain)} behind.',
        pick(rng, said.feelings),
        f'{said.sign}, {said.arousal} arousal.',
    )
    return ''.join(f'<step{place}>{step}</step{place}>' for place, step in enumerate(texts, 1))


def steps(reasoning: str) -> list[str]:
    """The texts of the gold steps, without their tags."""
    return [part.partition('</')[0] for part in reasoning.split('>') if '</' in part]


def behind(scenery: str | None, domain: str) -> str:
    """The words for the scenery of a label; None is a bare wall."""
    if scenery is None:
        return PLAIN
    return EMOTIONS[scenery].home if domain == 'home' else EMOTIONS[scenery].away
