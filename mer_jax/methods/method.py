"""A method of reinforcement learning: the functions and texts that a run takes from it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mer_jax.data.clips import Clip
from mer_jax.data.texts import Text, TextReader
from mer_jax.data.wheels.wheel import Wheels

SECOND_LOOK = ('coherence', 'consistency')  # scores of answers that a second look gives
Texts = Sequence[Sequence[Text]]  # [b][g]
Clips = Sequence[Clip]  # [b]


@dataclasses.dataclass(frozen=True)
class Words:
    """The words that a run reads and writes, from which a method is made."""

    encode: Callable[[str], list[int]]  # plain text → token ids, none of them a control token
    texts: TextReader
    wheels: Wheels | None  # of config.data.wheels; None without any
    # A user's text → token ids of a chat; if it is pictured, of what follows the picture.
    ask: Callable[[str, bool], list[int]] | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A method, made for one tokenizer and one set of emotion words.

    `reading` is a pytree of the method's own, of arrays that lead with b; `rl` passes it on.
    `own` are the terms of the user's reward functions, {name: f[b, g]}.
    """

    title: str
    openings: Mapping[str, str]  # by mode: the text that a branch is forced to begin with
    terms: tuple[str, ...]  # names of the reward terms
    scored: tuple[str, ...]  # figures of an answer, of which an evaluation gives the means
    plotted: tuple[str, ...]  # figures that lead the report and the progress bar
    unusable: Callable[[Clip], str | None]  # why answers to a clip cannot be judged; None: they can
    gold: Callable[[Clip, str], str | None]  # (clip, mode) → the rest of a gold branch, or None
    watch: Callable  # logp f[b, g, v] → arrays to record at each token while growing
    read: Callable[[Texts, Clips], tuple[Any, list[list[Any]]]]  # → reading, answers[b][g]
    judge: Callable  # (policy, prompts, rollout, reading, own, sampling) → advantage, figures
    describe: Callable  # (reading, answers, mask, watched) → dictionaries [b][g] of JSON values
    right: Callable[[Sequence[str], str], bool]  # (gold words, a word) → whether it is right
    labels: tuple[str, ...] = ()  # the closed set of answers, if there is one
    look: Callable | None = None  # a second look, see run.second_look
    hear: Callable | None = None  # (reading, the second look on the host) → reading
    lessons: Callable[[Clips], Clips] | None = None  # clips to train on → clips to imitate
    fast: int = 0  # branches of a group that are trained from the fast opening: the last ones
