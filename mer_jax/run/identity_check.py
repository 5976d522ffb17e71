"""Compares what a run reads with what its earlier starts read, and says what differs.

Clips to train and to validate on, wheels and the first checkpoint must be the same: their
differences refuse a start. Held-out clips may differ: both evaluations are then made again.
"""

import contextlib
import json
import pathlib
from collections.abc import Mapping, Sequence

from mer_jax.run.identity import content_of, without_paths
from mer_jax.storage.objects import contents

SHOWN = 5  # differences that a message names
RESIZED = {  # keys by which a use may get more or fewer clips
    'train': (),
    'validation': ('validation.clips', 'every.validate'),
    'test': ('evaluate.clips',),
}


def check_identity(
    workdir: pathlib.Path, before: Sequence[dict], now: Sequence[dict], changed: Sequence[str]
) -> list[str]:
    """Differences that are allowed, as sentences; ValueError for others, with the way out.

    `before` and `now` are lines of run.identity, `changed` the keys of the config that differ.
    A clip that an earlier start could not use (bad_clips.jsonl), or whose file was missing, may
    have been mended.
    """
    unused = ids_of_bad_clips(workdir)
    refused = wheels_differ(before, now) + files_differ(before, now)
    allowed = []
    for use, keys in RESIZED.items():
        resized = any(key in changed for key in keys)
        wrong, mended = clips_differ(before, now, use, unused, resized)
        if use == 'test' and wrong + mended:
            allowed.append(f'other held-out clips, so it evaluates again: {few(wrong + mended)}')
            continue
        refused += wrong
        if mended:
            allowed.append(f'mended clips: {few(mended)}')
    if refused:
        raise ValueError(
            f'--workdir={workdir}: holds a run that has read other data than this start would: '
            f'{few(refused)}. Undo the change, or choose another --workdir'
        )
    return allowed


def few(differences: Sequence[str]) -> str:
    """The first differences, and how many more there are."""
    more = len(differences) - SHOWN
    shown = '; '.join(differences[:SHOWN])
    return shown + (f'; and {more} more differences' if more > 0 else '')


def ids_of_bad_clips(workdir: pathlib.Path) -> set[str]:
    """The ids of the clips that earlier starts could not use."""
    ids = set()
    for path in sorted(workdir.glob('bad_clips*.jsonl')):
        for line in contents(path).splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a kill cut it short
                ids.add(json.loads(line)['id'])
    return ids


def wheels_differ(before: Sequence[dict], now: Sequence[dict]) -> list[str]:
    """How the wheels differ, in words."""
    old, new = (
        next((line for line in lines if line['reads'] == 'wheels'), {}) for lines in (before, now)
    )
    if old.get('digest') == new.get('digest'):
        return []
    was = {pathlib.PurePath(name).name: held for name, held in old.get('files', {}).items()}
    files = [
        f'{name} (was sha256 {was.get(pathlib.PurePath(name).name, "none")}, is {held})'
        for name, held in new.get('files', {}).items()
        if was.get(pathlib.PurePath(name).name) != held
    ]
    said = ', '.join(files) or f'was {old.get("digest")}, is {new.get("digest")}'
    return [f'content of data.wheels: {said}']


def files_differ(before: Sequence[dict], now: Sequence[dict]) -> list[str]:
    """How the files of the checkpoint that the run began with differ, in words."""
    old, new = (
        {line['file']: line for line in lines if line['reads'] == 'checkpoint'}
        for lines in (before, now)
    )
    told = [f'model.checkpoint: {name} is missing' for name in old if name not in new]
    told += [f'model.checkpoint: {name} is new' for name in new if name not in old]
    for name in old:
        if name in new and (said := media_differ(old[name], new[name])):
            told.append(f'model.checkpoint: {name}: {said[0]}')
    return told


def clips_differ(
    before: Sequence[dict], now: Sequence[dict], use: str, unused: set[str], resized: bool
) -> tuple[list[str], list[str]]:
    """How the clips of a use differ, in words: differences, and clips that have been mended.

    With `resized` only clips of both are compared.
    """
    old, new = (
        {line['id']: line for line in lines if line.get('use') == use} for lines in (before, now)
    )
    wrong, mended = [], []
    if not resized:
        wrong += [f'clip {one} ({use}) is missing' for one in old if one not in new]
        wrong += [f'clip {one} ({use}) is new' for one in new if one not in old]
        if not wrong and list(old) != list(new):
            wrong.append(f'the order of the {use} clips')
    for one in old.keys() & new.keys():
        if without_paths(old[one]) == without_paths(new[one]):
            continue
        said = texts_differ(old[one], new[one]) + media_differ(old[one], new[one])
        if said:
            was_missing = only_mended(old[one], new[one])
            (mended if one in unused or was_missing else wrong).append(
                f'clip {one}: {", ".join(said)}'
            )
    return wrong, mended


def texts_differ(old: Mapping, new: Mapping) -> list[str]:
    """How texts and lists of words of a clip differ, in words."""
    keys = [key for key in dict.fromkeys([*old, *new]) if key not in ('use', 'media', 'reads')]
    return [
        f'{key}={new.get(key, "")!r} (was {old.get(key, "")!r})'
        for key in keys
        if old.get(key) != new.get(key)
    ]


def media_differ(old: Mapping, new: Mapping) -> list[str]:
    """How the media files of a line differ, in words; their paths do not count."""
    was, now = old['media'], new['media']
    if [kind for kind, _ in was] != [kind for kind, _ in now]:
        kinds = [' and '.join(kind for kind, _ in media) or 'nothing' for media in (now, was)]
        return [f'has {kinds[0]} (had {kinds[1]})']
    told = []
    for (kind, first), (_, second) in zip(was, now, strict=True):
        one, other = content_of(first), content_of(second)
        if one is other is None or (one and other and one.is_that_of(other)):
            continue
        held = [str(content) if content else 'missing' for content in (other, one)]
        told.append(f'{kind} {second["path"]} is {held[0]} (was {held[1]})')
    return told


def only_mended(old: Mapping, new: Mapping) -> bool:
    """Whether nothing of a clip differs but files that were missing before."""
    if texts_differ(old, new) or len(old['media']) != len(new['media']):
        return False
    pairs = zip(old['media'], new['media'], strict=True)
    there = [pair for pair in pairs if content_of(pair[0][1])]
    return not media_differ(
        {'media': [first for first, _ in there]}, {'media': [second for _, second in there]}
    )
