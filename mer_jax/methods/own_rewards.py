"""Reward functions of the user's own: called on the host, checked, joined to a method's terms."""

import functools
import inspect
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from mer_jax.data.clips import Clip

LARGEST = 1e12  # of a reward; the squares of larger ones would overflow in float32
RewardFunction = Callable[[list[list[str]], Sequence[Clip]], dict]


class RewardError(ValueError):
    """A reward function raised, or returned something that is no reward; the message names it."""


def title(function: RewardFunction) -> str:
    """The name of a function with its file, for messages and for the config that is kept.

    A kept config that is read again holds names already.
    """
    if not callable(function):
        return function if isinstance(function, str) else repr(function)
    if isinstance(function, functools.partial):
        return f'partial of {title(function.func)}'
    if not inspect.isfunction(function):
        return f'an object of type {type(function).__name__}'
    return f'{pathlib.Path(function.__code__.co_filename).name}:{function.__qualname__}'


def own_terms(
    functions: Sequence[RewardFunction],
    names: Sequence[str],
    texts: list[list[str]],
    clips: Sequence[Clip],
) -> dict[str, np.ndarray]:
    """The terms of all functions by name, each f[b, g], in the order of `names`.

    A function gets the texts [b][g] of all branches and the clips [b], and returns {name: numbers
    [b, g]}. `names` are those with a weight. Raises RewardError naming function, clip and rule.
    """
    terms = returned_terms(functions, texts, clips)
    check_names(functions, names, terms)
    return {name: terms[name] for name in names}


def returned_terms(functions: Sequence[RewardFunction], texts, clips) -> dict[str, np.ndarray]:
    """All terms that the functions return, by name; RewardError if one is none, or comes twice."""
    terms, owner = {}, {}
    for function in functions:
        for name, value_bg in call(function, texts, clips).items():
            if name in terms:
                raise RewardError(
                    f'{title(function)}: its reward {name!r} is also returned by {owner[name]}; '
                    'each name may come from one function'
                )
            terms[name] = checked(function, name, value_bg, texts, clips)
            owner[name] = title(function)
    return terms


def call(function: RewardFunction, texts, clips) -> dict:
    """The rewards of one function; what it raises becomes a RewardError naming the clip."""
    try:
        rewards = function([list(row) for row in texts], list(clips))
    except Exception as error:
        clip = failing_clip(function, texts, clips)
        raise RewardError(
            f'{title(function)}: raised {type(error).__name__}: {error} (clip {clip}); a reward '
            'function must return a number for every text, an empty one too'
        ) from error
    if not isinstance(rewards, dict):
        raise RewardError(
            f'{title(function)}: returned {type(rewards).__name__}; it must return a dictionary '
            '{name: numbers[b, g]}'
        )
    for name in rewards:
        if not isinstance(name, str):
            raise RewardError(
                f'{title(function)}: returned a dictionary with the key {name!r}; its keys must be '
                "strings, the names of rewards, e.g. 'brief'"
            )
    return rewards


def failing_clip(function: RewardFunction, texts, clips) -> str:
    """The id of the first clip on which the function raises alone."""
    for row, clip in zip(texts, clips, strict=True):
        try:
            function([list(row)], [clip])
        except Exception:
            return clip.id
    return 'not any one alone, but all together'


def checked(function: RewardFunction, name: str, value_bg, texts, clips) -> np.ndarray:
    """The rewards as f[b, g]; RewardError for another shape, or numbers that are not usable."""
    shape = len(texts), len(texts[0])
    try:
        array = np.asarray(value_bg, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RewardError(
            f'{title(function)}: its reward {name!r} is not numeric ({error}); it must be numbers '
            f'of shape [b, g] = {list(shape)}'
        ) from error
    if array.shape != shape:
        raise RewardError(
            f'{title(function)}: its reward {name!r} has shape {list(array.shape)}; it must be '
            f'[b, g] = {list(shape)}, a row a clip and a number a branch'
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        i, j = bad[0]
        raise RewardError(
            f'{title(function)}: its reward {name!r} is {array[i, j]} for clip {clips[i].id}, '
            f'branch {j}; it must be finite. The text: {texts[i][j][:80]!r}'
        )
    if np.abs(array).max() > LARGEST:
        raise RewardError(
            f'{title(function)}: its reward {name!r} reaches {np.abs(array).max():g}; it must be '
            f'between -{LARGEST:g} and {LARGEST:g}: scale it down'
        )
    return array.astype(np.float32)


def check_names(functions, names: Sequence[str], terms: dict) -> None:
    """Rewards and weights must have the same names."""
    told = ', '.join(map(title, functions)) or 'none'
    for name in terms:
        if name not in names:
            raise RewardError(
                f'learn.weights.{name}: is missing, and the reward functions ({told}) return '
                f'{name!r}; give it a weight in the config, e.g. c.learn.weights.{name} = 1.0'
            )
    for name in names:
        if name not in terms:
            raise RewardError(
                f'learn.weights.{name}: no reward of this name; the reward functions ({told}) '
                f'return {", ".join(terms) or "nothing"}. Remove the weight, or return the reward'
            )


def check_functions(
    functions,
    names: Sequence[str],
    method_terms: Sequence[str],
    figures: Sequence[str],
    clip: Clip,
):
    """Try the functions on one clip with two empty answers, before anything is trained.

    Raises RewardError if a function is none, a name is one of the method's terms or of the other
    figures of a step, or a function fails.
    """
    for function in functions:
        if not callable(function):
            raise RewardError(
                f'learn.rewards: {function!r} is no function; name functions of (texts, clips)'
            )
    terms = returned_terms(functions, [['', '']], [clip])
    for name in terms:
        if name in method_terms:
            raise RewardError(
                f'learn.rewards: the reward {name!r} has the name of a term of the method '
                f'({", ".join(method_terms)}); give it another'
            )
        if name in figures:
            raise RewardError(
                f'learn.rewards: the reward {name!r} has the name of a figure in records.jsonl '
                f'({", ".join(figures)}); give it another'
            )
    check_names(functions, names, terms)
