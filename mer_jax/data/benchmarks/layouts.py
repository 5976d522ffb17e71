"""Folder layouts of published benchmarks; each yields the labelled entries of a folder."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mer_jax.data.benchmarks.files import (
    FILM,
    PICTURE,
    SOUND,
    files_by_name,
    first_file,
    inside,
    read_json,
    read_rows,
    read_table,
    read_text,
)
from mer_jax.data.formats.npz import read_npz
from mer_jax.data.wheels.affectgpt_wheel import published_list

FILMS = ('subvideo-tgt', 'subvideo_new', 'video_new', 'subvideo', 'video', 'videos')
SOUNDS = ('subaudio', 'audio')
SUBTITLES = ('english', 'sentence', 'subtitle', 'chinese')  # columns of subtitles, the best first
TRANSCRIPT = 'transcription-engchi-polish.csv'
WORD_KEYS = ('answer', 'emotion', 'label')  # of a listed image, the best first; label may be coarse
PLACEHOLDER = '<image>'  # of an image in a question; ours come before the text

_CODES = re.compile(r'(\d\d)-(\d\d)-(\d\d)(-\d\d){4}')

Gold = dict[str, str | float | list[str]]


class Entry(NamedTuple):
    """A labelled example: its name, gold label, media files if any, and subtitle."""

    name: str
    gold: Gold  # {'openset': words}, {'emo': word}, {'val': number}, or {} if it is hidden
    video: str | None = None
    audio: str | None = None
    image: str | None = None
    subtitle: str = ''
    question: str = ''


@dataclasses.dataclass(frozen=True)
class Corpus:
    """MER-UniBench: an .npz of corpora, name → {emo, val}, with media folders and a transcript.

    `emo` is a word, or an index into the label set.
    """

    file: str
    corpus: str
    field: str  # 'emo' or 'val'
    session: str = ''  # of IEMOCAP, the fifth character of a name
    transcript: str = TRANSCRIPT

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the corpus, in its order."""
        path = first_file(folder, (self.file,))
        members = read_npz(path)
        corpus = members.get(self.corpus)
        if not isinstance(corpus, dict):
            raise ValueError(
                f'{path}: needs {self.corpus}, a dictionary name → labels; it holds '
                f'{", ".join(members)[:200]}'
            )
        media = NamedMedia(folder, self.transcript)
        for name, label in corpus.items():
            where = f'{path}: {self.corpus}[{name!r:.99}]'
            name = inside(name, where)
            if name[4:5] == self.session or not self.session:
                yield media.entry(name, self._gold(label, labels, where))

    def _gold(self, label: object, labels: Sequence[str], where: str) -> Gold:
        if not isinstance(label, dict) or self.field not in label:
            raise ValueError(
                f'{where}={label!r:.99} must be a dictionary with the key {self.field}'
            )
        value = label[self.field]
        if self.field == 'emo':
            return {'emo': _word(value, labels, where)}
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f'{where}: val={value!r:.99} must be a finite number; repair the file')
        return {'val': number}


@dataclasses.dataclass(frozen=True)
class OpenWords:
    """Open-vocabulary sets: a CSV of names and, if they are published, lists of gold words."""

    file: str
    transcript: str
    start: str = ''  # with which the names of the set begin

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the table; an empty list of words means `neutral`, as in AffectGPT."""
        media = NamedMedia(folder, self.transcript)
        for where, row in read_table(first_file(folder, (self.file,)), ('name',)):
            name = inside(row['name'], where)
            gold = {}
            if 'openset' in row:
                words = [word.lower() for word in published_list(row['openset'])]
                gold = {'openset': words or ['neutral']}
            if name.startswith(self.start):
                yield media.entry(name, gold)


@dataclasses.dataclass(frozen=True)
class Questions:
    """A task of MME-Emotion: `TASK/question/*.json`, clips by relative path below the task."""

    task: str
    several: bool = False  # a label may be several words

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the question file; names begin with the task, as tasks share clips."""
        file = f'{self.task}/question/{self.task.replace("-", "_")}.json'
        path = first_file(folder, (file,))
        for index, question in enumerate(read_json(path)):
            where = f'{path}: question {index}'
            if not isinstance(question, dict) or not isinstance(question.get('label'), str):
                raise ValueError(f'{where}: {question!r:.99} must have the keys video_id and label')
            name = inside(question.get('video_id'), where)
            label = question['label'].lower()
            words = [word for part in label.split(',') if (word := part.strip())]
            places = (folder / self.task, folder / self.task / 'video', folder)
            film = next((str(place / name) for place in places if (place / name).is_file()), None)
            gold = {'openset': words} if self.several else {'emo': _word(label, labels, where)}
            yield Entry(f'{self.task}/{name}', gold, film)


@dataclasses.dataclass(frozen=True)
class ListedImages:
    """A list of images: rows [emotion, id, image, annotation] as in EmoSet, or objects.

    An object has an image, a gold word under one of WORD_KEYS, and at will an id and a problem,
    which is the question about the image. Paths are relative to the folder of the list.
    """

    file: str
    beside: tuple[str, ...] = ()  # folders below that of the list where images may lie as well

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the list."""
        for where, row in read_rows(first_file(folder, (self.file,))):
            if isinstance(row, dict):
                name, word, question = _fields(row, where)
            elif isinstance(row, list) and len(row) > 2:
                word, name, question = row[0], row[1], ''
                row = {'image': row[2]}
            else:
                raise ValueError(
                    f'{where}: {row!r:.99} must be [emotion, id, image, annotation], or an object '
                    f'with the keys image and {" or ".join(WORD_KEYS)}'
                )
            path = inside(row.get('image'), where)
            places = [folder / inner / path for inner in ('', *self.beside)]
            shown = next((str(place) for place in places if place.is_file()), None)
            gold = {'emo': _word(word, labels, where)}
            yield Entry(inside(name, where), gold, image=shown, question=question)


def _fields(row: dict, where: str) -> tuple[object, object, str]:
    """The name, gold word and question of an object; PLACEHOLDER is removed from the question."""
    found = [row[key] for key in WORD_KEYS if row.get(key) not in (None, '')]
    if not found:
        raise ValueError(f'{where}: {row!r:.99} must hold a gold word in {" or ".join(WORD_KEYS)}')
    question = row.get('problem') or ''
    if not isinstance(question, str):
        raise ValueError(f'{where}: problem={question!r:.99} must be a string')
    return row.get('id') or row.get('image'), found[0], question.replace(PLACEHOLDER, '').strip()


@dataclasses.dataclass(frozen=True)
class FolderPerClass:
    """A folder of images for each label, in the first inner folder that has any of them."""

    inner: tuple[str, ...]
    spelt: tuple[tuple[str, str], ...] = ()  # (folder, label) if they differ
    start: str = ''  # the beginning of all names
    others: bool = False  # read folders beside the labels' too, with their name as the gold word

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of all classes, class by class; a name is CLASS/FILE behind `start`."""
        labelled = dict(zip(labels, labels, strict=True)) | dict(self.spelt)
        for inner in self.inner:
            place = folder / inner
            classes = sorted(os.listdir(place)) if place.is_dir() else []
            known = [name for name in classes if name.lower() in labelled]
            if self.others and known:
                known = [name for name in classes if (place / name).is_dir()]
            for name in known:
                for file in sorted(os.listdir(place / name)):
                    if file.lower().endswith(PICTURE) and not file.startswith('.'):
                        gold = {'emo': labelled.get(name.lower(), name.lower())}
                        image = str(place / name / file)
                        yield Entry(f'{self.start}{name}/{file}', gold, image=image)
            if known:
                return
        expected = ' or '.join(os.path.normpath(f'{inner}/{labels[0]}') for inner in self.inner)
        raise FileNotFoundError(f'{folder}: expected {expected}, … with images in it')


@dataclasses.dataclass(frozen=True)
class FoldList:
    """DFEW and MAFW: the test list of a fold, `name,index` with a header or `name label`."""

    lists: tuple[str, ...]
    films: tuple[str, ...]

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the list; indices count from 1, names of films may have leading zeros."""
        path = first_file(folder, self.lists)
        paths = files_by_name(folder, self.films, FILM)
        for where, name, label in self._rows(path):
            stem = os.path.splitext(inside(name, where))[0]
            word = int(label) - 1 if label.isdecimal() else label
            film = paths.get(stem) or paths.get(stem.zfill(5))
            yield Entry(stem, {'emo': _word(word, labels, where)}, film)

    def _rows(self, path: Path) -> Iterator[tuple[str, str, str]]:
        if path.suffix == '.csv':
            for where, row in read_table(path, ('video_name', 'label')):
                yield where, row['video_name'], row['label'].strip()
            return
        for number, line in enumerate(read_text(path).splitlines(), 1):
            cells = line.split()
            if cells:
                where = f'{path}:{number}'
                if len(cells) < 2:
                    raise ValueError(f'{where}: {line!r:.99} must be a file name and a label')
                yield where, cells[0], cells[1]


@dataclasses.dataclass(frozen=True)
class CodedNames:
    """RAVDESS: seven two-digit codes make a file name, the third is the emotion.

    Films with sound (first code 01) are read or, if there are none, sounds (03). Songs (second
    code 02) are left out.
    """

    def entries(self, folder: Path, labels: Sequence[str]) -> Iterator[Entry]:
        """The entries of the files, in the order of their names."""
        for modality, endings in (('01', FILM), ('03', SOUND)):
            paths = files_by_name(folder, ('.',), endings)
            found = [match for stem in sorted(paths) if (match := _CODES.fullmatch(stem))]
            found = [match for match in found if match.group(1, 2) == (modality, '01')]
            for match in found:
                path = paths[match[0]]
                gold = {'emo': _word(int(match[3]) - 1, labels, path)}
                film, sound = (path, None) if modality == '01' else (None, path)
                yield Entry(match[0], gold, film, sound)
            if found:
                return
        raise FileNotFoundError(
            f'{folder}: expected films such as Actor_01/01-01-03-01-01-01-01.mp4'
        )


Layout = Corpus | OpenWords | Questions | ListedImages | FolderPerClass | FoldList | CodedNames


class NamedMedia:
    """The films, sounds and subtitles of a folder, by name."""

    def __init__(self, folder: Path, transcript: str):
        self.films = files_by_name(folder, FILMS, FILM)
        self.sounds = files_by_name(folder, SOUNDS, SOUND)
        self.subtitles = {}
        if (path := folder / transcript).is_file():
            for _, row in read_table(path, ('name',)):
                column = next((column for column in SUBTITLES if row.get(column)), None)
                self.subtitles[row['name'].strip()] = row[column].strip() if column else ''

    def entry(self, name: str, gold: Gold) -> Entry:
        film, sound = self.films.get(name), self.sounds.get(name)
        return Entry(name, gold, film, sound, subtitle=self.subtitles.get(name, ''))


def _word(label: object, labels: Sequence[str], where: str) -> str:
    """The word of a label, which is a word or an index into the label set."""
    if isinstance(label, str) and label.strip():
        return label.strip().lower()
    if (
        isinstance(label, bool)
        or not isinstance(label, int | float)
        or label not in range(len(labels))
    ):
        raise ValueError(
            f'{where}: the label {label!r:.99} must be a word, or an index from 0 to '
            f'{len(labels) - 1} of {", ".join(labels)}'
        )
    return labels[int(label)]
