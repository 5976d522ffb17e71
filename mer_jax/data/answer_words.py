"""The words of an answer or a label, in whatever notation the list is written.

Separators are commas, semicolons, bars, line ends, bullets, brackets, sentence ends, spaced dashes
and slashes, "and", "or", commands of LaTeX, a few tags of HTML, and the blank between two quoted
words. A key such as `Emotion:` or `"emotions":` is no word. The value of another key, such as
`Reason:` or `"confidence":`, is left out. Of `{"happy": true, "sad": false}` the true keys count.
"""

import re
import unicodedata
from collections.abc import Iterator

# Texts that say that there is no label. They are no words, so they never become a class.
NONE = frozenset(
    'nan none null nil n/a na xxx unknown undefined undetermined unspecified unlabelled '
    'unlabeled'.split()
) | {'no label', 'no answer', 'not applicable', 'not available'}
NO_VALUE = -10.0  # the sentiment value of MERTools for "no label"

_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
_HYPHENS = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], '-')
_SEPARATOR = re.compile(
    r"""
      </?(?:br|b|i|em|strong|p|li|ul|ol|div|span|emotions?|labels?|sentiment|output|result)\s?/?>
    | [,;|\t\r\n、，；。｡·•●▪◦‣…→$<>＜＞{}()\[\]（）［］｛｝【】「」『』《》〈〉]
    | ```\w{0,12}
    | \\(?:text|math|emph|underline|operatorname|quad|qquad|fbox|mbox|bf|it|rm|displaystyle)
        (?:bf|it|rm|sf|tt|md|up|normal)?(?![A-Za-z])
    | (?<=\t)ext(?:bf|it|rm|sf|tt)?(?=\s?\{)  # \text{ in JSON whose backslash was not doubled
    | \\(?:[nrt]|(?!['"]))
    | [.!?]\s
    | \s[-‐‑–—−/+&*]\s
    | \s\d{1,3}\s?[:：]
    | ["'”’`]\s+["'“‘`]
    | (?<![^\W\d_])(?:and|(?<!more\s)or)(?=\s)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# From the first letter to the last with its accents: around it are blanks, quotes, list numbers.
_WORD = re.compile(r'[^\W\d_](?:.*[^\W\d_])?[\u0300-\u036f]*', re.DOTALL)
_OWN = (
    r'(?:emotion(?:al)?\s?)?(?:answers?|ans|emotions?|emo|feelings?|moods?|labels?|states?'
    r'|predictions?|sentiments?|words?|open_?set|tags?|outputs?|results?|response|class'
    r'|categor(?:y|ies))|答案|情绪|情感|心情|标签'
)
_OTHER = (
    r'reason(?:s|ing)?|explanations?|rationale|confidence|scores?|probability|intensity|valence'
    r'|arousal|evidence|analysis|description|clues?|cues?|notes?|thoughts?|dtype|原因|理由|解释|分析'
)
_BEFORE = (
    "the|my|a|his|her|their|person's|speaker's|final|main|primary|secondary|overall|correct|"
    'predicted|detected|dominant|most|likely|best|basic|open[- ]vocabulary'
)
_KEY = re.compile(
    rf"""
    [\W\d_]*?
    (?:
      ["'](?P<quoted>[^\W\d_][\w\ -]{{0,40}})\\?["']\s?:
    | (?:(?:{_BEFORE})\s){{0,5}}(?:(?P<own>{_OWN})|(?:{_OTHER}))
      [*_`'"]{{0,3}}(?:\s?[:：=]|\s(?:is|are)(?=[\s:：]):?)
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OWN_KEY = re.compile(_OWN, re.IGNORECASE)
_CALL = re.compile(r'\W*(?:(?:np|numpy|pd)\.)?(?:array|list|tuple|set|frozenset|index|series)\s*')
_FLAG = re.compile(r'\s*(?:(true|yes|1(?:\.0)?)|false|no|0(?:\.0)?)\s*', re.IGNORECASE)


def split_answer(text: str) -> list[str]:
    """The words of an answer such as `["Sad", "lonely"]` or `sad; lonely`, lower-case, each once.

    Full-width letters become plain ones, and all hyphens `-`. A part without a letter is dropped,
    and so is one of NONE.
    """
    text = _plain(text)
    words = (_one_word(text[start:end]) for start, end in word_spans(text))
    return [word for word in dict.fromkeys(words) if word and word not in NONE]


def plain_word(text: str) -> str:
    """The text of one of `word_spans` as `split_answer` writes it; '' for one of NONE."""
    word = _one_word(_plain(text))
    return '' if word in NONE else word


def says_none(text: str) -> bool:
    """Whether a label says that there is none: one of NONE, or neither letter nor digit."""
    if found := _WORD.search(text):
        return len(found.group()) < 32 and _one_word(_plain(found.group())) in NONE
    return not any(map(str.isdigit, text))


def is_answer_key(key: str) -> bool:
    """Whether the value of a key, such as `emotions`, is an answer."""
    return _OWN_KEY.fullmatch(key) is not None


def word_spans(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Where each word of `text[start:end]` begins and ends, in order; a word may repeat."""
    spans, flags = [], []
    owned, left_out = False, ''  # '"': until the next key, ':': until the end of the line
    for first, last, before in _pieces(text, start, len(text) if end is None else end):
        if left_out == ':' and before in ('\n', '\r', ';', ')', ']', '}'):
            left_out = ''
        while key := _KEY.match(text, first, last):
            first = key.end()
            own = key['own'] or key['quoted'] and is_answer_key(key['quoted'])
            owned, left_out = owned or bool(own), '' if own else '"' if key['quoted'] else ':'
            if left_out == '"':
                flags.append((key.span('quoted'), _FLAG.fullmatch(text, first, last)))
        if not left_out and (found := _WORD.search(text, first, last)):
            spans.append(found.span())
    if flags and not owned and all(flag for _, flag in flags):
        return [span for span, flag in flags if flag[1]]
    return spans


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Where the text between two separators begins and ends, and the separator before it."""
    before = ''
    for found in _SEPARATOR.finditer(text, start, end):
        if found.group() != '(' or not _CALL.fullmatch(text, start, found.start()):
            yield start, found.start(), before
        start, before = found.end(), found.group()
    yield start, end, before


def _plain(text: str) -> str:
    """A text in small letters, with one kind of hyphen, full-width letters and invisible ones."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize('NFKC', text.translate(_INVISIBLE)).lower()
    return text.translate(_HYPHENS).replace('i\u0307', 'i')  # the small form of İ is two letters


def _one_word(text: str) -> str:
    """A word without line breaks, repeated blanks and backslashes before quotes."""
    return ' '.join(text.replace('\\', '').split())
