"""The cues that a reasoning names: words about face, voice and words, and words of emotion."""

import dataclasses
import html
import re
from collections.abc import Container

from mer_jax.data.stage.picture_words import EMOTIONS
from mer_jax.data.stage.words import MANNER, MODALITIES

# Words that name a modality or a part of it, by the modality. Plurals with -s are found too.
NAMED = {
    'face': 'face brow eyebrow eye mouth lip smile frown gaze glance cheek jaw forehead tear '
    'expression head nod posture shoulder hand gesture',
    'voice': 'voice tone pitch volume intonation tempo pace pause sigh laugh laughter sob breath '
    'whisper shout speech rhythm',
    'words': 'words sentence subtitle phrase statement says said saying utterance',
    'scene': 'scenery scene background picture image setting',
}
KIND_OF = {word: kind for kind, words in NAMED.items() for word in words.split()}
# Of the embedded stage. A manner is a cue in a clause that names its modality.
MANNERS = {
    modality: {manners[place] for manners in MANNER.values()}
    for place, modality in enumerate(MODALITIES)
}
MANNERS['face'] |= {emotion.manner for emotion in EMOTIONS.values()}
SCENERIES = {scenery for emotion in EMOTIONS.values() for scenery in (emotion.home, emotion.away)}
_WORD = re.compile(
    rf"\b(?:{'|'.join(sorted(SCENERIES, key=len, reverse=True))})\b|[^\W\d_]+(?:[-’'][^\W\d_]+)*"
    '|[.:;!?]',
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Cue:
    """A word that is a cue, where it is in the text, and its kind: a key of NAMED, or 'emotion'."""

    start: int
    end: int
    kind: str


def find_cues(text: str, emotions: Container[str]) -> list[Cue]:
    """The cues in a text, in order; `emotions` are words in small letters."""
    found = []
    for clause in _clauses(text):
        named = {kind for word in clause if (kind := _part(word))}
        for word in clause:
            if kind := _part(word) or _told(word.group().lower(), named, emotions):
                found.append(Cue(*word.span(), kind))
    return found


def _clauses(text: str) -> list[list[re.Match]]:
    """The words of each clause."""
    clauses = [[]]
    for word in _WORD.finditer(text):
        if word.group()[0].isalpha():
            clauses[-1].append(word)
        else:
            clauses.append([])
    return clauses


def _part(word: re.Match) -> str | None:
    """The modality that a word names, itself or a part of it."""
    plain = word.group().lower()
    return KIND_OF.get(plain) or KIND_OF.get(plain.removesuffix('s'))


def _told(word: str, named: set[str], emotions: Container[str]) -> str | None:
    """The kind of a scenery, of a manner of the modalities in `named`, or of an emotion."""
    if word in SCENERIES:
        return 'scene'
    manners = [kind for kind in MANNERS if kind in named and word in MANNERS[kind]]
    return manners[0] if manners else 'emotion' if word in emotions else None


def marked(text: str, emotions: Container[str]) -> str:
    """A text as HTML in which each cue is in a `mark` with the class of its kind."""
    parts, at = [], 0
    for cue in find_cues(text, emotions):
        parts.append(html.escape(text[at : cue.start]))
        parts.append(mark(cue.kind, text[cue.start : cue.end]))
        at = cue.end
    return ''.join([*parts, html.escape(text[at:])])


def mark(kind: str, text: str) -> str:
    """A text as HTML, marked as a cue of a kind."""
    return f'<mark class="cue-{kind}">{html.escape(text)}</mark>'


def kinds_in(text: str, emotions: Container[str]) -> list[str]:
    """The kinds of cue that a text names, in the order of NAMED, emotions last."""
    named = {cue.kind for cue in find_cues(text, emotions)}
    return [kind for kind in (*NAMED, 'emotion') if kind in named]
