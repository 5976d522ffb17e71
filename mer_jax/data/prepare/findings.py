"""The report of a prepared manifest: counts, unknown words, duplicates, leaks, unusable media."""

import collections
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mer_jax.data.clip_sources import hold_out
from mer_jax.data.clips import Clip
from mer_jax.data.prepare.drafts import Draft
from mer_jax.data.prepare.probe import is_silent
from mer_jax.data.wheels.wheel import Wheels

MOST_LISTED = 200  # of each kind of problem
LONG, SHORT = 60.0, 0.5  # seconds of a film or sound that the report points out
HELD_OUT = 0.2  # as data.held_out of a run


def findings(
    drafts: Sequence[Draft], probes: Mapping[str, dict], wheels: Wheels, held_out: float
) -> dict[str, Any]:
    """All figures and problems of clips, as a dictionary for JSON; `probes` may be empty.

    Sides are the splits of the rows; without splits, those that training would make by source.
    """
    sides = sides_of(drafts, held_out)
    unknown = unknown_words(drafts, wheels)
    return {
        'clips': len(drafts),
        'sides': dict(collections.Counter(sides.values())),
        'sides_are': 'splits of the rows' if _has_splits(drafts) else f'hold_out of {held_out}',
        'sources': len({draft.clip.source for draft in drafts if draft.clip.source}),
        'without_source': sum(not draft.clip.source for draft in drafts),
        'words': dict(collections.Counter(w for d in drafts for w in d.clip.words).most_common()),
        'unknown_words': dict(unknown.most_common(MOST_LISTED)),
        'clips_without_known_word': _listed(
            draft.clip.id
            for draft in drafts
            if not any(word in wheels.row for word in draft.clip.words)
        ),
        'words_per_clip': _summary([len(draft.clip.words) for draft in drafts]),
        'subtitle_words': _summary(
            [len(d.clip.subtitle.split()) for d in drafts if d.clip.subtitle]
        ),
        'kinds': dict(collections.Counter(_kinds(draft.clip) for draft in drafts)),
        'duplicates': duplicates(drafts, probes, sides),
        'leaks': leaks(drafts, sides),
        'media': media_figures(probes),
    }


def sides_of(drafts: Sequence[Draft], held_out: float) -> dict[str, str]:
    """The side of each clip, by id: its split, or train and held out as training would choose."""
    if _has_splits(drafts):
        return {draft.clip.id: draft.split or 'no split' for draft in drafts}
    train, held, _ = hold_out([draft.clip for draft in drafts], held_out)
    side = {clip.id: 'train' for clip in train} | {clip.id: 'held out' for clip in held}
    return {draft.clip.id: side[draft.clip.id] for draft in drafts}


def _has_splits(drafts: Iterable[Draft]) -> bool:
    return len({draft.split for draft in drafts}) > 1


def unknown_words(drafts: Iterable[Draft], wheels: Wheels) -> collections.Counter[str]:
    """The words that no wheel knows, and how many clips have each."""
    words = (word for draft in drafts for word in draft.clip.words)
    return collections.Counter(word for word in words if word not in wheels.row)


def duplicates(
    drafts: Sequence[Draft], probes: Mapping[str, dict], sides: Mapping[str, str]
) -> dict[str, Any]:
    """Groups of clips that share a file or the content of one; those across sides come first.

    Without probes only clips that name the same file are found.
    """
    of_content: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for draft in drafts:
        for path in draft.clip.media:
            content = probes.get(path, {}).get('ends') or path
            of_content[content][draft.clip.id] = None
    groups = [list(ids) for ids in of_content.values() if len(ids) > 1]
    groups = [list(ids) for ids in dict.fromkeys(map(tuple, groups))]
    groups.sort(key=lambda ids: len({sides[name] for name in ids}) == 1)
    across = [ids for ids in groups if len({sides[name] for name in ids}) > 1]
    return {
        'groups': len(groups),
        'across_sides': len(across),
        'by': 'content' if probes else 'path',
        'examples': [{'clips': ids, 'sides': _sides(ids, sides)} for ids in groups[:MOST_LISTED]],
    }


def leaks(drafts: Sequence[Draft], sides: Mapping[str, str]) -> dict[str, Any]:
    """The sources that have clips on more than one side."""
    of_source: dict[str, list[str]] = collections.defaultdict(list)
    for draft in drafts:
        if draft.clip.source:
            of_source[draft.clip.source].append(draft.clip.id)
    leaking = {
        source: ids for source, ids in of_source.items() if len({sides[name] for name in ids}) > 1
    }
    return {
        'sources': len(leaking),
        'clips': sum(map(len, leaking.values())),
        'examples': [
            {'source': source, 'clips': len(ids), 'sides': _sides(ids, sides)}
            for source, ids in list(leaking.items())[:MOST_LISTED]
        ],
    }


def media_figures(probes: Mapping[str, dict]) -> dict[str, Any]:
    """Figures of the files that were opened, and those that are unusual or cannot be read."""
    good = [one for one in probes.values() if 'error' not in one]
    films = [one for one in good if one['kind'] == 'video']
    timed = [(one['file'], one.get('seconds', one.get('sound'))) for one in good]
    timed = [(file, seconds) for file, seconds in timed if seconds is not None]
    bad = [one for one in probes.values() if 'error' in one]
    return {
        'opened': len(probes),
        'unreadable': [{'file': one['file'], 'reason': one['error']} for one in bad[:MOST_LISTED]],
        'unreadable_count': len(bad),
        'seconds': _summary([seconds for _, seconds in timed]),
        'frames': _summary([one['frames'] for one in films]),
        'fps': _summary([one['fps'] for one in films]),
        'height': _summary([one['pixels'][0] for one in good if 'pixels' in one]),
        'sound_seconds': _summary([one['sound'] for one in good if 'sound' in one]),
        'films_without_sound': _files(films, lambda one: 'sound' not in one),
        'silent': _files(good, is_silent),
        'long': _listed(file for file, seconds in timed if seconds > LONG),
        'short': _listed(file for file, seconds in timed if seconds < SHORT),
    }


def unreadable_ids(drafts: Iterable[Draft], probes: Mapping[str, dict]) -> dict[str, str]:
    """The clips one of whose files cannot be read, and why."""
    found = {}
    for draft in drafts:
        for path in draft.clip.media:
            if reason := probes.get(path, {}).get('error'):
                found[draft.clip.id] = f'{path}: {reason}'
    return found


def _files(probes: Iterable[dict], wanted: Callable[[dict], bool]) -> dict[str, Any]:
    return _listed(one['file'] for one in probes if wanted(one))


def _listed(names: Iterable[str]) -> dict[str, Any]:
    names = list(names)
    return {'count': len(names), 'examples': names[:MOST_LISTED]}


def _summary(values: Sequence[float]) -> dict[str, Any]:
    """Count, least, median, mean and greatest of values, and the values of a histogram."""
    if not values:
        return {'count': 0}
    return {
        'count': len(values),
        'least': min(values),
        'median': statistics.median(values),
        'mean': round(statistics.fmean(values), 4),
        'greatest': max(values),
        'histogram': histogram(values),
    }


def histogram(values: Sequence[float], bins: int = 20) -> dict[str, Any]:
    """Counts in bins of equal width; the last bin holds all above the 99th percentile."""
    low, high = min(values), sorted(values)[int(0.99 * (len(values) - 1))]
    if all(float(value).is_integer() for value in values):
        bins = min(bins, int(high - low) + 1)
        high = max(high, low + bins - 1) + 1
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    return {'low': low, 'width': round(width, 6), 'counts': counts}


def _kinds(clip: Clip) -> str:
    kinds = [kind for kind in ('video', 'audio', 'image') if getattr(clip, kind) is not None]
    return ' + '.join([*kinds, *(['subtitle'] if clip.subtitle else [])])


def _sides(ids: Iterable[str], sides: Mapping[str, str]) -> dict[str, int]:
    return dict(collections.Counter(sides[name] for name in ids))
