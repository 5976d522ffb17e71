"""The sentiment of a list of emotion words, from a table of how pleasant words are.

It replaces the language model of published evaluations, which is asked whether such a list is
positive, negative or neutral.
"""

import functools
import re
from collections.abc import Iterable
from typing import Literal

from mer_jax.data.wheels.csv_wheel import FOLDER, read_lexicon, read_rows

Sentiment = Literal['positive', 'negative', 'neutral']

LONGEST = 5  # words of a phrase of the table
_TOKEN = re.compile(r'[^\W\d_]+(?:’[^\W\d_]+)?')
# Every negation is read as `not`, in the table too, so that `no worry` counts as `not worried`.
_NEGATION = re.compile(
    r'\b(?:no longer|not|no|non|never|nothing|without|hardly|barely|nor|neither|cannot|unable to|'
    r'far from|free (?:from|of)|anything but|\w+n’t)\b'
)
# Words that deny nothing, and signs such as tears, whose sense is that of the word after them.
_EMPTY = re.compile(
    r'\b(?:not|no|n’t)(?: only| just| merely| simply)\b|\b(?:nothing|none) but\b|\bnot without\b|'
    r'\b(?:couldn’t|cannot|can’t|could not) be (?:any )?(?:more|so)\b|'
    r'\b(?:(?:tears?|cr(?:y|ying|ies|ied)|weep(?:s|ing)?|sob(?:s|bing)?|scream(?:s|ing)?|'
    r'shout(?:s|ing)?|trembl(?:e|es|ing)|shak(?:e|es|ing)) ){1,3}(?:of|with|from)\b|'
    r'(?<=\bhappy )(?:tears|cry|crying)\b|(?<=\bjoyful )(?:tears|crying)\b'
)
_CHINESE = re.compile('[\u4e00-\u9fff]+')
_CHINESE_SIGNS = dict.fromkeys(('不', '没', '没有', '无', '毫无'), 'not') | dict.fromkeys(
    ('有点', '有些', '略', '稍'), 'slightly'
)
_LACKING = frozenset(
    'lack lacks lacking lacked loss lose loses losing lost absence low less'.split()
)
_SLIGHTLY = frozenset('slightly slight somewhat little bit mildly mild faintly faint hint'.split())
_TURNING = {'not'} | _LACKING | _SLIGHTLY
# Before another word these only intensify it; alone they are pleasant.
_STRONGLY = frozenset('great strong pretty good deep rich powerful'.split())
_OPPOSITES = ('un', 'non', 'dis')
_SUFFIX = re.compile(
    '(?:ations?|ments?|ness(?:es)?|ings?|ions?|ives?|ivity|ities|ity|[ai]bly|[ai]ble|[iy][sz]e[srd]?|'
    'iest|ier|ies|ied|fuls?|fully|ously?|ors?|ers?|est|eds?|edly|ly|es|s|e|y|i)$'
)
_SHORTEST = 4  # letters of a stem


def valence(words: Iterable[str]) -> Sentiment:
    """The sentiment of a list of words: the sign of their total pleasantness.

    A list that is empty, balanced or without known words is neutral.
    """
    if isinstance(words, str):
        raise TypeError(f'{words!r} is one string: give a list of words')
    total = sum(map(pleasantness, words))
    return 'positive' if total > 0 else 'negative' if total < 0 else 'neutral'


def pleasantness(text: str) -> int:
    """How pleasant a word or phrase is, from −2 to 2; 0 also if it is unknown.

    The longest phrases of the table count, each once. A negation makes the next phrase unpleasant
    if it is pleasant (`not happy`) and 0 if it is not (`not angry`). `slightly` weakens the next
    phrase to 1 or −1, and `great` does not change it.
    """
    return _read(text)[0]


def is_known(text: str) -> bool:
    """Whether a word or phrase is known, even as neither pleasant nor unpleasant."""
    return _read(text)[1]


@functools.lru_cache(2**16)
def _read(text: str) -> tuple[int, bool]:
    """How pleasant a text is, and whether it is known."""
    tokens = _tokens(_EMPTY.sub('', _plain(_CHINESE.sub(_chinese_words, text))))
    total, at, known, before = 0, 0, False, set[str]()
    while at < len(tokens):
        size, value = _longest(tokens[at : at + LONGEST])
        known |= value is not None
        if size == 1 and tokens[at] in _TURNING:
            before.add(tokens[at])
        elif size == 1 and tokens[at] in _STRONGLY and at + 1 < len(tokens):
            pass  # it only intensifies the next word
        elif value:
            total += _after(before, value)
            before.clear()
        at += size
    lacking = any(token in _LACKING for token in before)
    return max(-2, min(2, total - lacking)), known or lacking


def _tokens(text: str) -> list[str]:
    """The words of a text, lower-case, with `not` for each negation."""
    return _NEGATION.sub('not', _plain(text)).split()


def _plain(text: str) -> str:
    """A text in small letters with blanks between its words."""
    return ' '.join(_TOKEN.findall(text.lower().replace("'", '’')))


def _chinese_words(found: re.Match) -> str:
    """The words of the table in a Chinese text, which has no blanks, the longest first."""
    words = _chinese_pattern().findall(found.group())
    return f' {" ".join(_CHINESE_SIGNS.get(word, word) for word in words)} '


@functools.cache
def _chinese_pattern() -> re.Pattern:
    """Matches the Chinese words of the table, negations and weakenings."""
    words = [phrase for phrase in pleasantness_table() if _CHINESE.fullmatch(phrase)]
    return re.compile('|'.join(sorted([*words, *_CHINESE_SIGNS], key=len, reverse=True)))


def _after(before: set[str], value: int) -> int:
    """The value of a phrase after the negations and weakenings before it."""
    if 'not' in before or not before.isdisjoint(_LACKING):
        value = -value if value > 0 else 0
    if not before.isdisjoint(_SLIGHTLY):
        value = (value > 0) - (value < 0)
    return value


def _longest(tokens: list[str]) -> tuple[int, int | None]:
    """The number of tokens of the longest phrase of the table that comes next, and its value."""
    table = pleasantness_table()
    for size in range(len(tokens), 0, -1):
        phrase = ' '.join(tokens[:size])
        if phrase in table:
            return size, table[phrase]
    return 1, _inflected(tokens[0])


def _inflected(token: str) -> int | None:
    """The value of a word whose other forms or opposite are in the table; None without either."""
    table = pleasantness_table()
    if token.endswith('less') and (without := token.removesuffix('less')) in table:
        return min(0, -table[without])
    value = _stems().get(_stem(token))
    if value is not None:
        return value
    opposite = next((token.removeprefix(o) for o in _OPPOSITES if token.startswith(o)), '')
    return min(0, -table[opposite]) if opposite in table else None


def _stem(word: str) -> str:
    """A word without its endings; words of one stem are forms of one word."""
    while (shorter := _SUFFIX.sub('', word)) != word and len(shorter) >= _SHORTEST:
        word = shorter
    return word


@functools.cache
def _stems() -> dict[str, int]:
    """The mildest value of the words of each stem; stems with words of both signs are left out."""
    values: dict[str, list[int]] = {}
    for phrase, value in pleasantness_table().items():
        if ' ' not in phrase:
            values.setdefault(_stem(phrase), []).append(value)
    return {
        stem: min(found, key=abs) for stem, found in values.items() if min(found) * max(found) >= 0
    }


@functools.cache
def pleasantness_table() -> dict[str, int]:
    """How pleasant each known word or phrase is, hyphens read as spaces, negations as `not`."""
    own = {
        ' '.join(_tokens(phrase)): int(value)
        for _, (value, words) in read_rows(FOLDER / 'valence.csv', ('valence', 'words'))
        for phrase in words.split()
    }
    lexicon = read_lexicon()
    table: dict[str, int] = {}
    for word, entry in lexicon.items():
        head = word
        while head.replace('-', ' ') not in own:
            head = lexicon[head].kin
        value = own[head.replace('-', ' ')]
        table |= dict.fromkeys((form.replace('-', ' ') for form in entry.forms), value)
    return table | own
