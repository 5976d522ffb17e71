"""Pictures of the embedded stage: a face, a scenery beside it, and the emotion they evoke.

A picture evokes one of the eight emotions of EmoSet. In a stated share of pictures the face is a
mask: it shows another emotion, and the scenery alone tells the truth. In some of the others the
scenery is a bare wall, and the face alone tells. Annotators of the gold steps are naive: they often
believe a mask; the crowd, which gives the gold word, seldom errs.
"""

import dataclasses

import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.stage import picture_words
from mer_jax.data.stage.canvas import draw_picture
from mer_jax.data.stage.generator import generator
from mer_jax.data.stage.picture_words import EMOTIONS, LABELS
from mer_jax.data.stage.words import Feeling, pick

PICTURES = ('home', 'away')  # domains
MASK = 0.35  # share of pictures whose face shows another emotion
BARE = 0.15  # share of the other pictures whose scenery is a bare wall
BELIEVED = 0.6  # chance that an annotator of the gold steps believes a mask
MISTAKEN = 0.03  # chance that the crowd names another emotion


@dataclasses.dataclass(frozen=True)
class PictureScene:
    """The emotion that a picture evokes, and the emotions that its two halves show."""

    felt: str
    face: str  # the emotion of the face
    strength: int  # of the expression: 0 weak, 1 medium, 2 strong
    scenery: str | None  # None for a bare wall
    left: bool  # the face is the left half

    @property
    def masked(self) -> bool:
        return self.face != self.felt

    @property
    def feeling(self) -> Feeling:
        """The expression of the face."""
        return Feeling(EMOTIONS[self.face].family, self.strength)


def picture(seed: int, split: str, index: int, domain: str = 'home') -> Clip:
    """The picture of a seed, split, index and domain ('home' or 'away'), uint8[56, 112, 3]."""
    if domain not in PICTURES:
        raise ValueError(f'domain={domain!r} must be one of {", ".join(PICTURES)}')
    rng = generator(seed, split, index, domain)
    scene = draw_scene(rng)
    clip = annotate(rng, scene, domain, f'{domain}-{split}-{seed}-{index:06d}')
    image = draw_picture(rng, scene.feeling, scene.scenery, scene.left, domain)
    return dataclasses.replace(clip, image=image)


def draw_scene(rng: np.random.Generator) -> PictureScene:
    """Draws an emotion and the two halves that show it, or contradict each other."""
    felt = pick(rng, LABELS)
    masked, bare, left = rng.random() < MASK, rng.random() < BARE, bool(rng.random() < 0.5)
    strength, other = int(rng.random() * 3), _other(rng, felt)
    scenery = None if bare and not masked else felt
    return PictureScene(felt, other if masked else felt, strength, scenery, left)


def annotate(rng: np.random.Generator, scene: PictureScene, domain: str, name: str) -> Clip:
    """The clip of a scene as text: the gold word of the crowd, gold steps and their answer."""
    mistaken, slip = rng.random() < MISTAKEN, _other(rng, scene.felt)
    answer = scene.face if rng.random() < BELIEVED else scene.felt
    return Clip(
        id=name,
        words=(slip if mistaken else scene.felt,),
        reasoning=picture_words.trace(rng, scene.face, scene.scenery, answer, domain),
        answer=(answer,),
    )


def _other(rng: np.random.Generator, label: str) -> str:
    """Another of the eight labels."""
    return pick(rng, tuple(each for each in LABELS if each != label))
