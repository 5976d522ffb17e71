"""Chats to token ids: a template's control tokens are kept, and user text never becomes one."""

import dataclasses
import functools
import itertools
import re

# Private characters that mark the system message and the user's text in a rendered template.
SYSTEM, USER = '\ue000', '\ue001'


@dataclasses.dataclass(frozen=True)
class Frame:
    """Everything of a rendered chat but its two texts, the system message and the user's.

    The plain text between a text and the nearest control token on either side is tokenised together
    with the text, as in the whole chat; the rest is token ids already.
    """

    around: tuple[tuple[list[int], str, str], ...]  # ids before a text, plain text on either side
    after: list[int]  # ids after the last text
    control: frozenset[int]  # ids of all added tokens


def chat_ids(tokenizer, kinds: tuple[str, ...], system: str, text: str) -> list[int]:
    """Token ids of a chat up to the answer; the user shows media of `kinds`, then says `text`.

    `kinds` are 'video', 'image' and 'audio', each of which becomes one placeholder. `system` is the
    system message; if it is empty, the template's own is kept, if it has one. Control tokens
    written in a text are cut apart, so a subtitle can neither end the turn nor show a picture.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            'the tokenizer has no chat template; set tokenizer.chat_template to that of Qwen2.5'
        )
    texts = (system, text) if system else (text,)
    frame = _frame(tokenizer, tokenizer.chat_template, kinds, bool(system))
    ids = []
    for said, (before, head, tail) in zip(texts, frame.around, strict=True):
        ids += before + _plain(tokenizer, head + said + tail, frame.control)
    return ids + frame.after


@functools.lru_cache(maxsize=64)
def _frame(tokenizer, template: str, kinds: tuple[str, ...], instructed: bool) -> Frame:
    """The frame of a chat with media of `kinds`, and with a system message if `instructed`."""
    content = [{'type': kind} for kind in kinds] + [{'type': 'text', 'text': USER}]
    turns = [{'role': 'user', 'content': content}]
    marks = {USER: 'text of the user'}
    if instructed:
        turns = [{'role': 'system', 'content': SYSTEM}, *turns]
        marks = {SYSTEM: 'message of the system'} | marks
    chat = tokenizer.apply_chat_template(
        turns,
        chat_template=template,
        add_generation_prompt=True,
        tokenize=False,
    )
    for mark, name in marks.items():
        if chat.count(mark) != 1:
            raise ValueError(
                f'the chat template renders the {name} {chat.count(mark)} times; it must accept '
                'content as a list of items and render each once'
            )
    control = frozenset(tokenizer.get_added_vocab().values())
    cut = [_cut(tokenizer, part, control) for part in re.split(f'[{SYSTEM}{USER}]', chat)]
    cut[0] = '', cut[0][0] + cut[0][1], cut[0][2]
    around = tuple(
        (_code(tokenizer, middle, control)[0], head, tail)
        for (_, middle, head), (tail, _, _) in itertools.pairwise(cut)
    )
    return Frame(around, _code(tokenizer, ''.join(cut[-1][1:]), control)[0], control)


def _cut(tokenizer, part: str, control: frozenset[int]) -> tuple[str, str, str]:
    """A part of a chat in three: before the first control token, to the end of the last, the rest.

    A part without control tokens is all rest.
    """
    _, spans = _code(tokenizer, part, control)
    if not spans:
        return '', '', part
    first, last = spans[0][0], spans[-1][1]
    return part[:first], part[first:last], part[last:]


def _plain(tokenizer, text: str, control: frozenset[int]) -> list[int]:
    """Token ids of a text, none of them in `control`.

    Which spans are control tokens is asked of the tokenizer, because it may ignore case or swallow
    spaces. Each is cut after its first character, and the pieces are tokenised in the same way.
    """
    ids, spans = _code(tokenizer, text, control)
    if not spans or len(text) == 1:
        return ids
    cuts = [0, *(start + 1 for start, _ in spans), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(cuts)]
    return [one for piece in pieces for one in _plain(tokenizer, piece, control)]


def _code(tokenizer, text: str, control: frozenset[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text, and the (start, end) of each token in `control`.

    A lone surrogate cannot be encoded and becomes '?'.
    """
    text = text.encode(errors='replace').decode()
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    both = zip(coded['input_ids'], coded['offset_mapping'], strict=True)
    return coded['input_ids'], [span for one, span in both if one in control]
