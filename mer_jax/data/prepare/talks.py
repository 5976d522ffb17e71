"""Conversations as cells by role: LLaVA's JSON, messages of TRL, those of ms-swift and others."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mer_jax.data.prepare.columns import guess

TALKS = ('conversations', 'messages', 'prompt')
ASKING, ANSWERING = ('user', 'human'), ('assistant', 'gpt', 'model')
MEDIA = ('video', 'audio', 'image')
_PLACEHOLDER = re.compile(r'\s*<(?:image|video|audio|sound|speech)(?:_?\d+)?>\s*', re.IGNORECASE)
_THOUGHT = re.compile(r'<think(?:ing)?>(.*?)</think(?:ing)?>', re.DOTALL | re.IGNORECASE)


def is_talk(record: Mapping[str, Any]) -> bool:
    """Whether a record holds a conversation."""
    return any(
        isinstance(record.get(key), list) and record[key] and isinstance(record[key][0], dict)
        for key in TALKS
    )


def talk_cells(record: Mapping[str, Any], asked: Mapping[str, str], where: str) -> dict[str, Any]:
    """The cells of a conversation: the first question, and the words of the first answer.

    A column of words counts before the answer. The text in think tags is the reasoning.
    """
    plain = [key for key in record if key not in (*TALKS, 'completion', *_media_keys())]
    known = {role: column for role, column in asked.items() if column in plain}
    columns = guess(plain, known, where)
    cells = {role: record[column] for role, column in columns.items() if role != 'question'}
    media: dict[str, list[str]] = {kind: _listed(record, kind) for kind in MEDIA}
    questions, answers = [], []
    for role, content in _turns(record, where):
        text = _text_of(content, media)
        if role in ASKING:
            questions.append(text)
        elif role in ANSWERING:
            answers.append(text)
    if questions and questions[0]:
        cells['question'] = questions[0]
    if answers:
        if thought := _THOUGHT.search(answers[0]):
            cells.setdefault('reasoning', thought[1].strip())
        cells.setdefault('words', answers[0])
    cells |= {kind: list(dict.fromkeys(paths)) for kind, paths in media.items() if paths}
    return cells


def later_turns(record: Mapping[str, Any]) -> int:
    """The number of answers after the first one."""
    count = sum(role in ANSWERING for role, _ in _turns(record, ''))
    return max(count - 1, 0)


def _media_keys() -> tuple[str, ...]:
    return (*MEDIA, *(f'{kind}s' for kind in MEDIA))


def _listed(record: Mapping[str, Any], kind: str) -> list[str]:
    """The paths that a record names beside its conversation, as one or as a list."""
    found = []
    for key in (kind, f'{kind}s'):
        value = record.get(key)
        listed = value if isinstance(value, list) else [value]
        found += [path for one in listed if (path := _address(one, kind))]
    return found


def _turns(record: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """The role and the content of each turn."""
    turns = [turn for key in TALKS if isinstance(record.get(key), list) for turn in record[key]]
    completion = record.get('completion')
    turns += completion if isinstance(completion, list) else []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise ValueError(f'{where}: turn {number} must be an object, not {turn!r:.99}')
        role = turn.get('role', turn.get('from'))
        yield str(role).lower(), turn.get('content', turn.get('value'))


def _text_of(content: Any, media: dict[str, list[str]]) -> str:
    """The text of a turn; the media that it names are added to `media`."""
    if isinstance(content, str):
        return _PLACEHOLDER.sub('\n', content).strip()
    texts = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            continue
        if isinstance(part.get('text'), str):
            texts.append(part['text'])
        for kind in MEDIA:
            named = str(part.get('type', '')).startswith(kind)
            value = next((part[key] for key in (kind, f'{kind}_url') if part.get(key)), None)
            if value is None and named:
                value = next((part[key] for key in ('url', 'path') if part.get(key)), None)
            if path := _address(value, kind):
                media[kind].append(path)
    return _PLACEHOLDER.sub('\n', '\n'.join(texts)).strip()


def _address(value: Any, kind: str) -> str:
    """The path in a cell that is a path, or an object with one."""
    if isinstance(value, dict):
        value = next((value[key] for key in ('url', 'path', kind) if value.get(key)), None)
    return value.removeprefix('file://') if isinstance(value, str) else ''
