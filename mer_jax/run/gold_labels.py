"""Gold words against the labels of a config: clips with another word are told and left out."""

import collections
import logging
from collections.abc import Iterable, Sequence

from mer_jax.data.clips import Clip, label_of
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.methods import METHODS

KEY = 'data.labels'

log = logging.getLogger(__name__)


def labelled(c, clips: Sequence[Clip], use: str) -> list[Clip]:
    """The clips whose first gold word is a label; all of them where a method needs no labels.

    The log counts the words of the others. ValueError if none is left. `use` says what the clips
    are for.
    """
    if KEY not in METHODS[c.method].WORDS:
        return list(clips)
    labels = {label_of(word) for word in c.data.labels}
    source, clips_of_use = f'data.manifest={c.data.manifest}', f'clips {use}'.strip()
    kept = [clip for clip in clips if gold_of(clip) in labels]
    others = counted(gold_of(clip) for clip in clips if gold_of(clip) not in labels)
    if clips and not kept:
        raise ValueError(
            f'{KEY}={",".join(c.data.labels)}: none of the {len(clips):,} {clips_of_use} of '
            f'{source} has one of these gold words, they have {others}; set {KEY} to the '
            'words of the clips'
        )
    if others:
        log.warning(
            '%s: %s of %s %s have a gold word outside %s: %s; add the words to it, or these '
            'clips are left out',
            source,
            f'{len(clips) - len(kept):,}',
            f'{len(clips):,}',
            clips_of_use,
            KEY,
            others,
        )
    return kept


def tell_unknown(c, wheels: Wheels | None, clips: Iterable[Clip]) -> None:
    """Warns of gold words that no wheel knows, with how often each occurs: they do not count."""
    if not c.data.manifest or wheels is None or KEY in METHODS[c.method].WORDS:
        return
    words = [word for clip in clips for word in clip.words]
    unknown = [word for word in words if wheels.row.get(word.strip().lower()) is None]
    if unknown:
        log.warning(
            'data.manifest=%s: %s of %s gold words are in none of data.wheels=%s and do not count: '
            '%s; correct them, or add a wheel that has them',
            c.data.manifest,
            f'{len(unknown):,}',
            f'{len(words):,}',
            ','.join(wheels.names),
            counted(unknown),
        )


def gold_of(clip: Clip) -> str:
    """The gold word of a clip as it is compared; '' without one."""
    return label_of(clip.words[0]) if clip.words else ''


def counted(words: Iterable[str]) -> str:
    """Words and how often each occurs, the most frequent first: 'joy 80, surprise 40'."""
    pairs = collections.Counter(words).most_common()
    shown = ', '.join(f'{word or "none"} {count:,}' for word, count in pairs[:20])
    return f'{shown}, …' if len(pairs) > 20 else shown
