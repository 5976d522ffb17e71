"""Rows of other people's tables as clips: media found, words read, each problem named."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mer_jax.data.answer_text import read_answer
from mer_jax.data.clips import Clip
from mer_jax.data.prepare.media_index import ENDINGS, MediaIndex, kind_of_name
from mer_jax.data.wheels.wheel import Wheels

LONGEST = 5  # words in the name of an emotion; a longer part belongs to a sentence
MEAN = 3  # the same for the mean over the parts of a text
TEXT_ROLES = ('subtitle', 'question', 'reasoning', 'source')
_NUMBER = re.compile(r'\s*(\d+)(?:\.0)?\s*')
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: where it is, and its cells by role (columns.ROLES)."""

    where: str  # file and line
    cells: Mapping[str, Any]
    split: str = ''
    beside: str = ''  # folder of the table, from which its paths may start


@dataclasses.dataclass(frozen=True)
class Draft:
    """A clip, the row that it is from, and the split that it belongs to."""

    clip: Clip
    where: str
    split: str


@dataclasses.dataclass
class Drafts:
    """The clips of all rows that can be used, and why the others cannot."""

    kept: list[Draft] = dataclasses.field(default_factory=list)
    left_out: list[dict[str, str]] = dataclasses.field(default_factory=list)  # where, reason
    notes: list[str] = dataclasses.field(default_factory=list)


class RowError(ValueError):
    """A row that cannot become a clip; the message says why."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """How rows are read: the media of their folder, and the rules for their words."""

    index: MediaIndex
    labels: tuple[str, ...] = ()  # the words of labels that are numbers
    wheels: Wheels | None = None  # if given, their words are taken out of sentences
    source: re.Pattern | None = None  # its first group, found in an id, is the source

    def drafts(self, rows: Iterable[Row]) -> Drafts:
        """The drafts of all rows; ids are made unique."""
        found, of_id = Drafts(), {}
        renamed = repeated = 0
        for row in rows:
            try:
                draft = self.draft(row)
            except ValueError as error:
                found.left_out.append({'where': row.where, 'reason': str(error)})
                continue
            name = draft.clip.id
            if name in of_id:
                if any(_same(draft, other) for other in of_id[name]):
                    repeated += 1
                    continue
                renamed += 1
                other = dataclasses.replace(draft.clip, id=_free(name, of_id))
                draft = dataclasses.replace(draft, clip=other)
            of_id.setdefault(name, []).append(draft)
            of_id.setdefault(draft.clip.id, [draft])
            found.kept.append(draft)
        if repeated:
            found.notes.append(f'{repeated} rows repeat an earlier one and are left out')
        if renamed:
            found.notes.append(f'{renamed} rows have the id of another: theirs end in #2, #3, …')
        return found

    def draft(self, row: Row) -> Draft:
        """The draft of a row; ValueError if it has neither words nor media."""
        cells = row.cells
        media = self._media(row)
        name = _text(cells.get('id'))
        if not name:
            first = next((path for path in _paths(media)), None)
            if first is None:
                raise RowError('names neither an id nor a media file')
            name = os.path.relpath(first, self.index.folder).replace(os.sep, '/')
        if not media:
            media = self._media_of(name)
        texts = {role: _text(cells.get(role)) for role in TEXT_ROLES}
        if not media and not texts['subtitle']:
            raise RowError(
                f'id {name!r:.99}: no media file of this name below {self.index.folder}, and no '
                'subtitle'
            )
        words = self.words(cells.get('words'))
        if not texts['source'] and self.source and (part := self.source.search(name)):
            texts['source'] = part[1]
        more = {'cues': _texts(cells.get('cues')), 'answer': self._answer(cells, words)}
        clip = Clip(id=name, words=words, **media, **texts, **more)
        return Draft(clip, row.where, _text(cells.get('split')) or row.split)

    def words(self, value: Any) -> tuple[str, ...]:
        """The emotion words of a cell: a text, a number of `labels`, or a list of these."""
        entries = value if isinstance(value, list | tuple) else [value]
        words: dict[str, None] = {}
        for entry in entries:
            text = _text(entry)
            if number := _NUMBER.fullmatch(text):
                text = self._named(int(number[1]))
            parts = read_answer(text)
            words.update(dict.fromkeys(self._in_sentence(text) if _is_sentence(parts) else parts))
        if not words:
            raise RowError(f'words={value!r:.99}: holds no emotion word')
        return tuple(words)

    def _answer(self, cells: Mapping[str, Any], words: Sequence[str]) -> tuple[str, ...]:
        """The gold answer of a row; () for a column that holds something else, such as a letter."""
        try:
            answer = self.words(cells.get('answer'))
        except RowError:
            return ()
        return answer if set(answer) & set(words) else ()

    def _named(self, number: int) -> str:
        if number >= len(self.labels):
            raise RowError(
                f'words={number} is a number, and {len(self.labels)} labels are named: name all in '
                'the order of the numbers (--labels angry,happy,…)'
            )
        return self.labels[number]

    def _in_sentence(self, sentence: str) -> list[str]:
        """The words of a sentence that a wheel knows."""
        if self.wheels is None:
            raise RowError(
                f'words={sentence!r:.99} is a sentence: name the column of words (--words), or '
                'take the words that a wheel knows out of it (--sentences)'
            )
        return [word for word in _WORD.findall(sentence.lower()) if word in self.wheels.row]

    def _media(self, row: Row) -> dict[str, Any]:
        """The media that a row names, by kind."""
        media: dict[str, Any] = {}
        for role, kinds in (
            *((kind, (kind,)) for kind in ENDINGS),
            ('media', tuple(ENDINGS)),
        ):
            value = row.cells.get(role)
            listed = value if isinstance(value, list | tuple) else [value]
            paths = [self._path(_text(one), kinds, row, role) for one in listed if _text(one)]
            if not paths:
                continue
            kind = role if role != 'media' else kind_of_name(paths[0])
            if kind != 'image' and len(paths) > 1:
                raise RowError(f'{role}={value!r:.99}: {len(paths)} files; a clip has one {kind}')
            media.setdefault(kind, paths[0] if len(paths) == 1 else tuple(paths))
        return media

    def _path(self, value: str, kinds: Sequence[str], row: Row, role: str) -> str:
        try:
            path = self.index.find(value, kinds, row.beside)
        except ValueError as error:
            raise RowError(f'{role}={error}') from None
        if path is None:
            raise RowError(
                f'{role}={value!r:.99}: no such file of kind {" or ".join(kinds)} below '
                f'{self.index.folder}'
            )
        return path

    def _media_of(self, name: str) -> dict[str, Any]:
        """The media whose name is an id, by kind; of a film with its frames, the film counts."""
        found = {}
        for kind in ENDINGS:
            try:
                path = self.index.find(name, (kind,))
            except ValueError as error:
                raise RowError(f'id={error}') from None
            if path:
                found[kind] = path
        if 'video' in found:
            found.pop('image', None)
        return found


def _is_sentence(parts: Sequence[str]) -> bool:
    """Whether the parts of an answer are too long for names of emotions."""
    lengths = [part.count(' ') + 1 for part in parts]
    return bool(lengths) and (max(lengths) > LONGEST or sum(lengths) > MEAN * len(lengths))


def _text(value: Any) -> str:
    """A cell as text; '' for none."""
    if value is None or value != value:  # NaN
        return ''
    text = str(value).strip()
    return '' if text.lower() in ('nan', 'none') else text


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a list, or the one of a cell."""
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(text for one in listed if (text := _text(one)))


def _paths(media: Mapping[str, Any]) -> Iterable[str]:
    for value in media.values():
        yield from value if isinstance(value, tuple) else (value,)


def _same(one: Draft, other: Draft) -> bool:
    """Whether two drafts are of the same content, whatever their ids."""
    return dataclasses.replace(one.clip, id='') == dataclasses.replace(other.clip, id='')


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """An id that no clip has yet."""
    number = 2
    while f'{name}#{number}' in taken:
        number += 1
    return f'{name}#{number}'
