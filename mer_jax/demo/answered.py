"""The answers to one clip, with all that the page tells about them."""

import dataclasses

from mer_jax.data.media.look import Look
from mer_jax.demo.category_bars import Bar
from mer_jax.evaluation.prediction import Answer


@dataclasses.dataclass(frozen=True)
class Answered:
    """The answers to a clip, and all that the page tells about them."""

    look: Look
    subtitle: str
    answers: dict[str, Answer]  # by mode
    bars: dict[str, dict[str, list[Bar]]]  # by mode, then by wheel
    samples: int
    grown: int  # samples of each mode that were grown
    reading: float  # seconds
    answering: float  # seconds
    compiled: bool  # whether a program was compiled first
    tokens: int  # of the prompt
    trained: int  # tokens of the longest prompt of training
    hears: bool  # whether the prompt holds sound
