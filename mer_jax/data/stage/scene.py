"""Scenes of the embedded stage: emotions felt, emotions shown by each modality, annotations."""

import dataclasses

import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.stage import words as stage_words
from mer_jax.data.stage.words import FAMILIES, KIN, MODALITIES, VALENCE, Feeling, pick

HOW_MANY = (0.22, 0.66, 0.92, 1.0)  # chance of at most 1, 2, 3, 4 emotions; mean 2.2
POSITIVE = 0.45  # share of clips whose emotions are mostly pleasant
MIXED = 0.12  # share of honest clips in which an emotion of the other valence is felt as well
CONTRADICTION = 0.25  # share of clips in which one modality lies
SHARED = 0.35  # chance that a further modality shows an emotion too
CAUTION = 0.85  # share of slow answers that keep only what at least two modalities support
SYNONYM = 0.25  # chance that the crowd uses another word of the family
OMITTED = 0.06  # chance that the crowd misses an emotion
KINDRED = 0.08  # chance that the crowd adds a word of a related family


@dataclasses.dataclass(frozen=True)
class Scene:
    """The emotions felt, those that each modality shows, and the modality that lies, if any."""

    felt: tuple[Feeling, ...]
    shown: dict[str, tuple[Feeling, ...]]
    liar: str | None


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws the emotions of a scene and the modalities that show them."""
    count = 1 + int(np.searchsorted(HOW_MANY, rng.random(), side='right'))
    valence = 1 if rng.random() < POSITIVE else -1
    lying, mixed = rng.random() < CONTRADICTION, rng.random() < MIXED
    # Only an emotion with a valence can be contradicted: surprise alone cannot.
    signs = (valence,) if lying and count == 1 else (valence, 0)
    near = tuple(family for family, sign in VALENCE.items() if sign in signs)
    against = tuple(family for family, sign in VALENCE.items() if sign == -valence)
    families = [near[place] for place in rng.permutation(len(near))[:count]]
    if mixed and not lying and count > 1:
        families[-1] = pick(rng, against)
    felt = tuple(_feeling(rng, family) for family in families)
    if not lying:
        return Scene(felt, _share_out(rng, felt, MODALITIES), None)
    liar = pick(rng, MODALITIES)
    shown = _share_out(rng, felt, tuple(each for each in MODALITIES if each != liar))
    telling = tuple(feeling for feeling in felt if VALENCE[feeling.family])
    for each, feelings in shown.items():
        if not set(feelings) & set(telling):
            shown[each] = (*feelings, pick(rng, telling))
    shown[liar] = (_feeling(rng, pick(rng, against)),)
    return Scene(felt, {each: shown[each] for each in MODALITIES}, liar)


def _feeling(rng: np.random.Generator, family: str) -> Feeling:
    """An emotion of the family, weak, medium or strong."""
    return Feeling(family, int(rng.random() * 3))


def _share_out(
    rng: np.random.Generator, felt: tuple[Feeling, ...], modalities: tuple[str, ...]
) -> dict[str, tuple[Feeling, ...]]:
    """The emotions that each modality shows, at most two, in order; only words may show none."""
    shown = {each: [] for each in modalities}
    rest = list(felt)
    if len({VALENCE[feeling.family] for feeling in felt} - {0}) == 2:
        # Mixed feelings show together somewhere; apart, one of them would look like a lie.
        together = pick(rng, modalities)
        first = next(feeling for feeling in felt if VALENCE[feeling.family])
        shown[together] += [first, felt[-1]]
        rest = [feeling for feeling in felt if feeling not in shown[together]]
    for feeling in rest:
        free = tuple(each for each in modalities if len(shown[each]) < 2)
        shown[pick(rng, free)].append(feeling)
    for feeling in felt:
        for feelings in shown.values():
            if len(feelings) < 2 and feeling not in feelings and rng.random() < SHARED:
                feelings.append(feeling)
    for each, feelings in shown.items():
        if not feelings and each != 'words':
            feelings.append(pick(rng, felt))
        if len(feelings) == 2 and rng.random() < 0.5:
            feelings.reverse()
    return {each: tuple(feelings) for each, feelings in shown.items()}


def annotate(rng: np.random.Generator, scene: Scene, name: str) -> Clip:
    """The clip of a scene as text: subtitle, cues, gold words, gold reasoning and its answer."""
    return Clip(
        id=name,
        subtitle=stage_words.subtitle(rng, scene.shown['words']),
        words=_crowd(rng, scene.felt),
        cues=tuple(stage_words.cue(each, scene.shown[each]) for each in MODALITIES),
        reasoning=stage_words.trace(scene.shown, scene.liar),
        answer=_reasoned(scene, cautious=bool(rng.random() < CAUTION)),
    )


def _crowd(rng: np.random.Generator, felt: tuple[Feeling, ...]) -> tuple[str, ...]:
    """The words of many annotators, the strongest emotion first, with synonyms and mistakes."""
    noticed = [feeling for feeling in felt if rng.random() >= OMITTED] or [pick(rng, felt)]
    noticed.sort(key=lambda feeling: -feeling.strength)
    words = []
    for feeling in noticed:
        others = tuple(word for word in FAMILIES[feeling.family] if word != feeling.word)
        words.append(pick(rng, others) if rng.random() < SYNONYM else feeling.word)
    if rng.random() < KINDRED:
        words.append(pick(rng, FAMILIES[KIN[noticed[0].family]]))
    return tuple(dict.fromkeys(words))


def _reasoned(scene: Scene, cautious: bool) -> tuple[str, ...]:
    """The words of one annotator who weighs the cues; a cautious one keeps what two support."""
    honest = [scene.shown[each] for each in MODALITIES if each != scene.liar]
    found = list(dict.fromkeys(feeling for feelings in honest for feeling in feelings))
    if cautious:
        supported = [each for each in found if sum(each in feelings for feelings in honest) > 1]
        found = supported or [max(found, key=lambda feeling: feeling.strength)]
    return tuple(feeling.word for feeling in found)
