"""The identity of a run: the content of everything it reads, kept so that a restart can compare.

identity.jsonl in the workdir has a line for each clip, for the wheels and for each file of the
checkpoint that the run began with. Paths do not count, so that a run may move to another machine.
Its last line is a checksum of the others.
"""

import dataclasses
import hashlib
import json
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence

from mer_jax.data.clips import LISTS, ONE, TEXTS, Clip
from mer_jax.run.checkpoint_files import files_of_adapter, files_of_checkpoint
from mer_jax.run.setting import Setting
from mer_jax.run.workdir import IDENTITY
from mer_jax.storage.checksums import Content, contents_of_files
from mer_jax.storage.objects import contents, write_whole
from mer_jax.storage.paths import path_of

LONGEST = 60  # letters of a text that are kept; of a longer one the beginning and a hash
USES = ('train', 'validation', 'test')
FOUND = ('path', 'version')  # parts of a file's entry that are no content
SUM = 'the lines above'  # read by the last line, which runs of earlier versions lack


def identity_of(setting: Setting, known: Sequence[dict] = ()) -> list[dict]:
    """The lines of a run; files that the `known` lines hold and that did not change are not read.

    Clips of the embedded stage need none: they follow from the config.
    """
    c, lines = setting.config, []
    if setting.wheels:
        files = {name: digest_of_wheel(name) for name in c.data.wheels if name.endswith('.csv')}
        lines.append({'reads': 'wheels', 'digest': setting.wheels.digest, 'files': files})
    held = {entry['path']: content_of(entry) for line in known for entry in entries_of(line)}
    named = files_of_checkpoint(c.model.checkpoint, setting.origin.root)
    named |= files_of_adapter(c.model.adapter)
    clips = clips_of(setting)
    paths = [path for clip in clips for _, path in media_of(clip)]
    found = contents_of_files([*map(str, named.values()), *paths], held)
    for name, path in named.items():
        entry = entry_of(str(path), found[str(path)])
        lines.append({'reads': 'checkpoint', 'file': name, 'media': [['file', entry]]})
    uses = [use for use in USES for _ in sides_of(setting)[use]]
    for use, clip in zip(uses, clips, strict=True):
        media = [[kind, entry_of(path, found[path])] for kind, path in media_of(clip)]
        lines.append({'reads': 'clip', 'use': use} | texts_of(clip) | {'media': media})
    return lines


def sides_of(setting: Setting) -> dict[str, Sequence[Clip]]:
    """The clips of each use; none of the embedded stage."""
    if not setting.config.data.manifest:
        return dict.fromkeys(USES, ())
    sides = setting.train_clips, setting.validation_clips, setting.test_clips
    return dict(zip(USES, sides, strict=True))


def clips_of(setting: Setting) -> list[Clip]:
    """The clips of all uses, in their order."""
    return [clip for clips in sides_of(setting).values() for clip in clips]


def texts_of(clip: Clip) -> dict:
    """Id, texts and lists of words of a clip, those that are empty left out."""
    texts = {key: brief(vars(clip)[key]) for key in TEXTS if vars(clip)[key]}
    lists = {key: [*map(brief, vars(clip)[key])] for key in LISTS if vars(clip)[key]}
    return {'id': clip.id} | texts | lists


def brief(text: str) -> str:
    """A text, or the beginning of a long one with a hash of all of it."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f'{text[: LONGEST // 2]}… ({len(text)} letters, sha256 {digest})'


def media_of(clip: Clip) -> list[tuple[str, str]]:
    """The kinds and paths of the media files of a clip."""
    media = [(kind, vars(clip)[kind]) for kind in ONE]
    media += [('image', image) for image in clip.images]
    return [(kind, path) for kind, path in media if isinstance(path, str)]


def entry_of(path: str, content: Content | None) -> dict:
    """A file as a line names it; without a size if it is missing."""
    return {'path': path} | (dataclasses.asdict(content) if content else {})


def content_of(entry: Mapping) -> Content | None:
    """The content of a file that a line names; None if it was missing."""
    fields = dataclasses.fields(Content)
    return Content(**{f.name: entry[f.name] for f in fields}) if 'size' in entry else None


def entries_of(line: Mapping) -> list[dict]:
    """The files that a line names."""
    return [entry for _, entry in line.get('media', ())]


def digest_of_wheel(name: str) -> str:
    """A hash of the file of a wheel."""
    return hashlib.sha256(path_of(name).read_bytes()).hexdigest()[:16]


def read_identity(workdir: pathlib.Path) -> list[dict]:
    """The lines that an earlier start wrote; none without one, and none of a damaged file.

    A line names what it `reads`; ValueError for a file with other lines.
    """
    path = workdir / IDENTITY
    try:
        written = contents(path).splitlines(keepends=True)
        lines = [json.loads(line) for line in written]
        for line in lines:
            line['reads']
            list(map(content_of, entries_of(line)))
        if lines and lines[-1]['reads'] == SUM:
            if lines.pop()['crc32'] != zlib.crc32(b''.join(written[:-1])):
                raise ValueError('its content does not agree with its checksum')
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f'{path}: must hold what an earlier start of the run has read, and cannot be read '
            f'({error!r}); restore it from a copy, or remove it if nothing that the run reads has '
            'changed'
        ) from None
    return lines


def write_identity(workdir: pathlib.Path, lines: Iterable[dict]) -> None:
    """Writes the lines of a run into its workdir, unless they are there already."""
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    text += json.dumps({'reads': SUM, 'crc32': zlib.crc32(text.encode())}) + '\n'
    if text.encode() != contents(workdir / IDENTITY):
        write_whole(workdir / IDENTITY, text)


def without_paths(line: Mapping) -> dict:
    """The content of a line: that which stays when files are moved or touched."""
    media = [
        [kind, {key: entry[key] for key in entry if key not in FOUND}]
        for kind, entry in line.get('media', ())
    ]
    return dict(line) | {'media': media}


def digest_of_lines(lines: Iterable[Mapping]) -> str:
    """A hash of the content of lines: 16 hexadecimal digits."""
    text = json.dumps([without_paths(line) for line in lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_use(workdir: pathlib.Path, use: str) -> str:
    """A hash of the content of all clips of one use."""
    return digest_of_lines(line for line in read_identity(workdir) if line.get('use') == use)


def facts_of(setting: Setting) -> dict[str, str]:
    """Hashes of that which every process of a run reads alike: texts of clips, and wheels."""
    facts = {'content of data.manifest': digest_of_lines(map(texts_of, clips_of(setting)))}
    if setting.wheels:
        facts['content of data.wheels'] = setting.wheels.digest
    return facts
