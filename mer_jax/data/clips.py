"""Clips, and the manifests that list them: JSON lines, one clip a line."""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mer_jax.data.answer_text import read_answer
from mer_jax.storage.paths import naming, path_of

ONE = ('video', 'audio')  # media of which a clip has at most one
MEDIA = (*ONE, 'image')
TEXTS = ('subtitle', 'question', 'reasoning', 'source')
LISTS = ('words', 'cues', 'answer')


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording of a person: its media, its subtitle and its annotations."""

    id: str
    video: np.ndarray | str | None = None  # uint8[n, height, width, 3], or a path
    audio: np.ndarray | str | None = None  # float32[samples], 16 kHz mono, or a path
    # uint8[height, width, 3], or a path, or several of these
    image: np.ndarray | str | tuple[np.ndarray | str, ...] | None = None
    fps: float | None = None  # of the video array
    subtitle: str = ''
    question: str = ''  # asked in place of config.data.question
    words: tuple[str, ...] = ()  # gold emotion words
    cues: tuple[str, ...] = ()  # sentences about face, voice and words
    reasoning: str = ''  # gold reasoning trace
    answer: tuple[str, ...] = ()  # gold emotion words after the reasoning
    source: str = ''  # film, speaker or dialogue; clips of one source stay on one side of a split

    @property
    def images(self) -> tuple[np.ndarray | str, ...]:
        """All images, in order."""
        if self.image is None:
            return ()
        return self.image if isinstance(self.image, tuple) else (self.image,)

    @property
    def media(self) -> tuple[np.ndarray | str, ...]:
        """The media of the clip, in the order video, audio, images."""
        found = (self.video, self.audio, *self.images)
        return tuple(medium for medium in found if medium is not None)


def label_of(word: str) -> str:
    """A word of a closed set of labels as it is compared: in small letters, no outer blanks."""
    return word.strip().lower()


def read_manifest(path: str | os.PathLike) -> list[Clip]:
    """The clips of a JSON-lines manifest; media paths in it are relative to its folder.

    Keys: id, words (required), video, audio, image (a path or a list of them), subtitle,
    question, cues, reasoning, answer, source. Words and answers are read as `mer_jax.score` reads
    them. A line that breaks a rule raises ValueError with file, line, key, value and rule.
    """
    path = path_of(path)
    line_of, clips = {}, []
    with naming(path):
        lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f'{path}:{number}'
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{where}: each line must be one JSON object: {error}') from None
        clip = _clip(record, path.parent, where)
        if clip.id in line_of:
            raise ValueError(
                f'{where}: id={clip.id!r} must be unique; line {line_of[clip.id]} has it too'
            )
        line_of[clip.id] = number
        clips.append(clip)
    if not clips:
        raise ValueError(f'{path}: a manifest needs at least one clip, this file has none')
    return clips


def write_manifest(path: str | os.PathLike, clips: Iterable[Clip]) -> None:
    """Writes clips as `read_manifest` reads them; media in arrays must be saved to files first."""
    path = Path(path)
    records = {}
    for clip in clips:
        where = f'{path}: clip {clip.id!r}'
        if clip.id in records:
            raise ValueError(f'{where}: id must be unique, two clips have it')
        records[clip.id] = record = _record(clip, path.parent, where)
        _clip(record, path.parent, where)
    lines = [json.dumps(record, ensure_ascii=False) + '\n' for record in records.values()]
    path.write_text(''.join(lines), encoding='utf-8')


def _record(clip: Clip, folder: Path, where: str) -> dict:
    """The JSON object of a clip, empty keys left out."""
    record = {'id': clip.id}
    for key in MEDIA:
        value = getattr(clip, key)
        paths = value if isinstance(value, tuple) else (value,)
        if any(isinstance(path, np.ndarray) for path in paths):
            raise ValueError(
                f'{where}: {key} is an array; a manifest holds paths, so save it first'
            )
        if value is not None:
            paths = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
            record[key] = paths if isinstance(value, tuple) else paths[0]
    for key in TEXTS + LISTS:
        if value := getattr(clip, key):
            record[key] = value if key in TEXTS else list(value)
    return record


def _clip(record: object, folder: Path, where: str) -> Clip:
    """The clip of a JSON object; ValueError if it breaks a rule."""
    if not isinstance(record, dict):
        raise ValueError(f'{where}: each line must be one JSON object, not {record!r}')
    keys = ('id', *MEDIA, *TEXTS, *LISTS)
    for key, value in record.items():
        if key not in keys:
            raise ValueError(
                f'{where}: {key}={value!r} is not a key; the keys are {", ".join(keys)}'
            )
    name = record.get('id')
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f'{where}: id={name!r} must be a string that is not empty')
    for key in TEXTS:
        if not isinstance(record.get(key, ''), str):
            raise ValueError(f'{where}: {key}={record[key]!r} must be a string')
    for key in LISTS:
        value = record.get(key, [])
        if not isinstance(value, list) or not all(isinstance(w, str) and w.strip() for w in value):
            raise ValueError(f'{where}: {key}={value!r} must be a list of strings, none empty')
    words = {key: _words(record.get(key, ())) for key in ('words', 'answer')}
    if not words['words']:
        raise ValueError(f'{where}: words={record.get("words")!r} must hold at least one gold word')
    media = {key: _inside(record.get(key), folder, f'{where}: {key}') for key in ONE}
    media['image'] = _images(record.get('image'), folder, f'{where}: image')
    if not any(media.values()) and not record.get('subtitle'):
        raise ValueError(f'{where}: a clip needs one of {", ".join(MEDIA)}, subtitle; it has none')
    texts = {key: record.get(key, '') for key in TEXTS}
    return Clip(id=name, **media, **texts, cues=tuple(record.get('cues', ())), **words)


def _words(texts: Iterable[str]) -> tuple[str, ...]:
    """The emotion words in texts as scores read them, each once."""
    return tuple(dict.fromkeys(word for text in texts for word in read_answer(text)))


def _images(value: object, folder: Path, where: str) -> str | tuple[str, ...] | None:
    """The path of one image, the paths of several, or None."""
    if not isinstance(value, list):
        return _inside(value, folder, where)
    if not value or None in value:
        raise ValueError(f'{where}={value!r} must be a path, a list of paths, or be left out')
    return tuple(_inside(one, folder, where) for one in value)


def _inside(value: object, folder: Path, where: str) -> str | None:
    """The path of a media file below the folder of the manifest, or None."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f'{where}={value!r} must be a path, or be left out')
    # Links are not resolved: one that leads elsewhere was put there by the owner of the folder.
    inner = os.path.normpath(value)
    if os.path.isabs(value) or inner.split(os.sep)[0] == os.pardir:
        raise ValueError(f'{where}={value!r} must stay below the folder of the manifest')
    return str(folder / inner)
