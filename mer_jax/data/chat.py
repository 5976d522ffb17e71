"""Chats to token ids: what a template lays down is control, what is said in it stays plain text."""

import dataclasses
import functools
import itertools
import re

# Private characters that stand for the system message and the user's text in a rendered template.
SYSTEM, USER = '\ue000', '\ue001'


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a chat puts around the texts that are said in it.

    The plain text between a text and the nearest control token on either side is tokenised with it,
    as it would be in one piece; all else is token ids already.
    """

    around: tuple[tuple[list[int], str, str], ...]  # ids, plain text before it, and behind it
    after: list[int]  # the last text
    control: frozenset[int]  # all added tokens


def chat_ids(tokenizer, kinds: tuple[str, ...], system: str, text: str) -> list[int]:
    """Token ids of a chat whose user shows media of `kinds`, then says `text`, up to the answer.

    `kinds` are 'video', 'image' and 'audio', each of which becomes one placeholder. `system` is the
    system message; if it is empty, the template's own, if any, is left. What looks like a control
    token in a text is torn apart, so a subtitle cannot end the turn or show a picture.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            'the tokenizer has no chat template; set tokenizer.chat_template to that of Qwen2.5'
        )
    frame = _frame(tokenizer, tokenizer.chat_template, kinds, bool(system))
    ids = []
    for said, (before, head, tail) in zip((system, text)[not system :], frame.around, strict=True):
        ids += before + _plain(tokenizer, head + said + tail, frame.control)
    return ids + frame.after


@functools.lru_cache(maxsize=64)
def _frame(tokenizer, template, kinds, instructed):
    """The frame of a chat with media of `kinds`, and with a system message if `instructed`."""
    content = [{'type': kind} for kind in kinds] + [{'type': 'text', 'text': USER}]
    turns = [{'role': 'system', 'content': SYSTEM}, {'role': 'user', 'content': content}]
    chat = tokenizer.apply_chat_template(
        turns[not instructed :],
        chat_template=template,
        add_generation_prompt=True,
        tokenize=False,
    )
    marks = {SYSTEM: 'message of the system', USER: 'text of the user'}
    for mark in list(marks)[not instructed :]:
        if chat.count(mark) != 1:
            raise ValueError(
                f'the chat template renders the {marks[mark]} {chat.count(mark)} times; it must '
                'accept content as a list of items and render each once'
            )
    control = frozenset(tokenizer.get_added_vocab().values())
    cut = [_cut(tokenizer, part, control) for part in re.split(f'[{SYSTEM}{USER}]', chat)]
    cut[0] = '', cut[0][0] + cut[0][1], cut[0][2]
    around = tuple(
        (_code(tokenizer, middle, control)[0], head, tail)
        for (_, middle, head), (tail, _, _) in itertools.pairwise(cut)
    )
    return Frame(around, _code(tokenizer, ''.join(cut[-1][1:]), control)[0], control)


def _cut(tokenizer, part, control):
    """A part of a chat before its first control token, up to the end of the last, and the rest."""
    _, spans = _code(tokenizer, part, control)
    if not spans:
        return '', '', part
    first, last = spans[0][0], spans[-1][1]
    return part[:first], part[first:last], part[last:]


def _plain(tokenizer, text, control):
    """Token ids of a text, none of them in `control`.

    What is a control token, the tokenizer says itself, in whatever case or with spaces around; each
    is cut behind its first character, and the pieces are looked at again.
    """
    ids, spans = _code(tokenizer, text, control)
    if not spans or len(text) == 1:
        return ids
    cuts = [0, *(start + 1 for start, _ in spans), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(cuts)]
    return [one for piece in pieces for one in _plain(tokenizer, piece, control)]


def _code(tokenizer, text, control):
    """Token ids of a text, and where in it those in `control` stand: [(start, end)].

    A lone surrogate is no letter and becomes '?'.
    """
    text = text.encode(errors='replace').decode()
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    both = zip(coded['input_ids'], coded['offset_mapping'], strict=True)
    return coded['input_ids'], [span for one, span in both if one in control]
