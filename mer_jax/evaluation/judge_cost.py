"""An estimate of the requests, tokens and cost of a judge, before it is asked.

A token is taken for four bytes of text, and a picture for PICTURE_TOKENS, which is the size of
512 x 512 pixels in cells of 28 x 28. Tokenizers and models that reason before they reply differ, so
the figures are good to a factor of two or so.
"""

import dataclasses
from collections.abc import Iterable

from mer_jax.evaluation.endpoint import Endpoint
from mer_jax.evaluation.judge import FRAMES, RULES, Question, text_about

BYTES_PER_TOKEN = 4
PICTURE_TOKENS = 512 * 512 // 28**2
CHAT_TOKENS = 10  # around the messages of a chat
STEP_TOKENS, VERDICT_TOKENS = 8, 10  # of a verdict: each step, and the tags
MILLION = 1_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The requests to a judge, and the tokens that it reads and writes."""

    requests: int
    read: int
    written: int


def estimate(questions: Iterable[Question]) -> Estimate:
    """The estimate of some questions; a film counts with FRAMES pictures, the most it can have."""
    requests = read = written = 0
    for question in questions:
        text = len((RULES + text_about(question)).encode()) // BYTES_PER_TOKEN
        pictures = FRAMES * PICTURE_TOKENS if question.video else 0
        requests += 1
        read += CHAT_TOKENS + text + pictures
        written += VERDICT_TOKENS + STEP_TOKENS * len(question.steps)
    return Estimate(requests, read, written)


def in_words(
    judge: Endpoint, asked: Estimate, kept: int, price_read: float, price_written: float
) -> str:
    """An estimate as a line; `kept` verdicts are on disk, and prices are for a million tokens."""
    said = f'judge {judge.title}: {asked.requests} requests'
    if kept:
        said += f' ({kept} verdicts are kept and not asked for again)'
    said += f', about {asked.read} tokens to read and {asked.written} to write'
    if price_read or price_written:
        cost = (asked.read * price_read + asked.written * price_written) / MILLION
        return f'{said}, about {cost:.2f} at judge.price_read and judge.price_written'
    return f'{said}; judge.price_read and judge.price_written would add the cost'
