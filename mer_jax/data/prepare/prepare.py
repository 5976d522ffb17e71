"""A folder of clips to a manifest and its report."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tqdm

from mer_jax.data.clips import write_manifest
from mer_jax.data.prepare.drafts import Draft, Drafts, Reader
from mer_jax.data.prepare.findings import HELD_OUT, MOST_LISTED, findings, unreadable_ids
from mer_jax.data.prepare.layouts import Found, find_rows
from mer_jax.data.prepare.media_index import MediaIndex
from mer_jax.data.prepare.page import MOST_SHOWN, page
from mer_jax.data.prepare.probe import probe_all
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.storage.objects import write_whole


@dataclasses.dataclass(frozen=True)
class Asked:
    """The folder, the manifest and the choices of a call of `prepare`."""

    place: Path  # a folder, or one table
    manifest: Path
    layout: str = ''  # of layouts.LAYOUTS; '' = found out
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)  # role → column
    tables: tuple[str, ...] = ()  # names of the tables to read; () = all
    labels: tuple[str, ...] = ()  # the words of labels that are numbers
    sentences: bool = False  # whether words of the wheels are taken out of sentences
    source: str = ''  # a pattern of ids, whose first group is the source
    wheels: tuple[str, ...] = ('builtin',)
    held_out: float = HELD_OUT
    media: bool = True  # whether files are opened
    workers: int = 1


def prepare(asked: Asked) -> dict[str, Any]:
    """Writes the manifest, one for each split if there are several, and its report in two forms.

    Gives the report. ValueError if no row can be used, or a rule is broken, with the way out.
    """
    asked = dataclasses.replace(
        asked, place=_absolute(asked.place), manifest=_absolute(asked.manifest)
    )
    check_ours(asked.manifest)
    folder = asked.place if asked.place.is_dir() else asked.place.parent
    home = asked.manifest.parent
    made = home / 'media'
    wheels = load_wheels(asked.wheels)
    found = find_rows(
        asked.place, asked.layout, asked.columns, asked.tables, media=made, ours=asked.manifest
    )
    reader = Reader(
        index=MediaIndex(folder, also=made),
        labels=asked.labels or found.labels,
        wheels=wheels if asked.sentences else None,
        source=re.compile(asked.source) if asked.source else None,
    )
    drafts = reader.drafts(tqdm.tqdm(found.rows, unit='row', desc='rows', disable=None))
    if not drafts.kept:
        first = drafts.left_out[0] if drafts.left_out else {'where': folder, 'reason': 'no row'}
        raise ValueError(
            f'{first["where"]}: none of the {len(drafts.left_out)} rows of layout {found.layout} '
            f'can be used; the first: {first["reason"]}'
        )
    drafts.kept = _reachable(drafts.kept, folder, home)
    probes = {}
    if asked.media:
        files = [path for draft in drafts.kept for path in draft.clip.media]
        probes = probe_all(files, beside(asked.manifest, 'probes.jsonl'), asked.workers)
        _leave_out_unreadable(drafts, probes)
    report = {
        'manifest': str(asked.manifest),
        'folder': str(asked.place),
        'layout': found.layout,
        'columns': found.guessed,
        'notes': [*found.notes, *drafts.notes],
        'left_out': {
            'count': len(drafts.left_out),
            'examples': drafts.left_out[:MOST_LISTED],
        },
        **findings(drafts.kept, probes, wheels, asked.held_out),
    }
    report['problems'] = problems(report)
    _write(asked, found, drafts, report)
    return report


def problems(report: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Each kind of problem: how many there are, and the way out."""
    media, same = report['media'], report['duplicates']
    first = next((one['reason'] for one in report['left_out']['examples']), '')
    return [
        (report['left_out']['count'], f'rows are left out; the first: {first}'),
        (
            report['clips_without_known_word']['count'],
            'clips have no word that a wheel knows: MER-R1 cannot train on them; mend the words, '
            'or add them to a wheel of your own (data.wheels)',
        ),
        (
            sum(report['unknown_words'].values()),
            'words are in no wheel and do not count in rewards and scores',
        ),
        (
            same['across_sides'],
            f'groups of clips with the same {same["by"]} are on two sides: keep one of them, or '
            'give them one source',
        ),
        (
            same['groups'] - same['across_sides'],
            f'groups of clips with the same {same["by"]} are on one side: keep one of them',
        ),
        (
            report['leaks']['sources'],
            'sources have clips on two sides: split by source, as data.held_out does',
        ),
        (
            report['without_source'] if report['without_source'] == report['clips'] else 0,
            'clips, all of them, have no source: clips of one film or speaker may come to two '
            'sides; name its column (--source COLUMN) or its place in the ids (--source-pattern '
            'REGEX)',
        ),
        (
            report['kinds'].get('subtitle', 0),
            'clips have no media file, a subtitle is all that a model gets: name the column of '
            'their files (--video COLUMN, --media COLUMN)',
        ),
        (media['films_without_sound']['count'], 'films have no sound track'),
        (media['silent']['count'], 'files have a sound track in which nothing is heard'),
        (media['long']['count'], 'files last more than a minute: cut them, or lower data.fps'),
        (media['short']['count'], 'files last less than half a second'),
    ]


def beside(manifest: Path, ending: str) -> Path:
    """The path of a file that belongs to a manifest, such as manifest.report.json."""
    return manifest.with_name(f'{manifest.stem}.{ending}')


def check_ours(manifest: Path) -> None:
    """ValueError if a manifest exists that `prepare` has not written: it may be somebody's work."""
    if manifest.exists() and not beside(manifest, 'report.json').exists():
        raise ValueError(
            f'--out={manifest}: exists, and has no report of this command beside it, so it is not '
            'overwritten; name another file, e.g. --out prepared.jsonl'
        )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _reachable(drafts: list[Draft], folder: Path, home: Path) -> list[Draft]:
    """The drafts with paths below the folder of the manifest; a link leads to media elsewhere."""
    if folder.is_relative_to(home):
        return drafts
    link = home / (folder.name or 'clips')
    if not link.is_symlink() and link.exists():
        raise ValueError(
            f'{link}: is in the way of a link to {folder}; write the manifest into that folder or '
            'above it (--out), or name another folder'
        )
    if not link.is_symlink():
        link.symlink_to(folder, target_is_directory=True)
    elif link.resolve() != folder.resolve():
        raise ValueError(f'{link}: leads to {link.resolve()}, not to {folder}; name another --out')

    def moved(path: str) -> str:
        inside = path.startswith(os.path.join(folder, ''))
        return str(link / os.path.relpath(path, folder)) if inside else path

    return [_moved(draft, moved) for draft in drafts]


def _moved(draft: Draft, moved) -> Draft:
    clip, media = draft.clip, {}
    for kind in ('video', 'audio', 'image'):
        value = getattr(clip, kind)
        if isinstance(value, tuple):
            media[kind] = tuple(map(moved, value))
        elif value is not None:
            media[kind] = moved(value)
    return dataclasses.replace(draft, clip=dataclasses.replace(clip, **media))


def _leave_out_unreadable(drafts: Drafts, probes: Mapping[str, dict]) -> None:
    """Moves clips whose media cannot be read to those that are left out."""
    bad = unreadable_ids(drafts.kept, probes)
    drafts.left_out += [
        {'where': draft.where, 'reason': bad[draft.clip.id]}
        for draft in drafts.kept
        if draft.clip.id in bad
    ]
    drafts.kept = [draft for draft in drafts.kept if draft.clip.id not in bad]
    if not drafts.kept:
        raise ValueError(f'{drafts.left_out[0]["reason"]} (and no other clip can be read)')


def _write(asked: Asked, found: Found, drafts: Drafts, report: dict[str, Any]) -> None:
    """Writes manifests and reports."""
    kept, path = drafts.kept, asked.manifest
    report['manifests'] = {'all': str(path)}
    manifests = {path: [draft.clip for draft in kept]}
    splits = dict.fromkeys(draft.split for draft in kept)
    for split in splits if len(splits) > 1 else ():
        name = re.sub(r'[^\w.-]+', '_', split) or 'no_split'
        own = path.with_name(f'{path.stem}-{name}{path.suffix}')
        manifests[own] = [draft.clip for draft in kept if draft.split == split]
        report['manifests'][split or 'no split'] = str(own)
    shown = []
    if asked.media:
        shown = [
            (
                draft.clip.id,
                ', '.join(draft.clip.words),
                str(draft.clip.video or draft.clip.images[0]),
            )
            for draft in kept
            if draft.clip.video or draft.clip.images
        ][:: max(len(kept) // MOST_SHOWN, 1)][:MOST_SHOWN]
    text = json.dumps(report, indent=1, ensure_ascii=False)
    write_whole(beside(path, 'report.json'), text + '\n')
    write_whole(beside(path, 'report.html'), page(report, shown))
    for own, clips in manifests.items():
        write_manifest(own, clips)
