"""Scores of predictions against labels, with confidence intervals, and of two compared by item."""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mer_jax.data.wheels.wheel import Wheels
from mer_jax.evaluation import metric_sums, metrics
from mer_jax.evaluation.label_files import Column, plain_words
from mer_jax.evaluation.metric_sums import MetricSums
from mer_jax.evaluation.valence import is_known, valence

LABELS = {
    'open': ('openset',),
    'basic': ('emo',),
    'sentiment': ('val',),
    'multilabel': ('openset', 'emo'),
    'accuracy': ('emo',),
}
SENTIMENT = 'sentiment'
SHOWN_WORDS = 20
_NUMBER = re.compile(r'(\d+)(?:\.0)?')


@dataclasses.dataclass(frozen=True)
class Task:
    """The kind of labels that is scored, and how cells become words."""

    name: str  # a key of LABELS
    wheels: Wheels | None = None  # of open and basic
    level: int = 1  # of the wheels
    read: Callable[[Any], list[str]] = plain_words
    emotions: tuple[str, ...] = ()  # the names of labels that are numbers


def score(task: Task, labels: Column, predictions: Column) -> dict[str, Any]:
    """The figures of predictions and the number of items behind them, as a dictionary for JSON.

    Of `n` labels some are `kept`. The rest are `skipped`: `missing` ones have no prediction, and
    `unlabelled` ones cannot be used (no wheel knows the label, it is empty, NaN or, for sentiment,
    0). `unmapped` counts kept items whose answer has no known word and so names nothing. `ci` holds
    the 95 % bootstrap interval of every figure; the formulas are in `evaluation.metrics`. Raises
    ValueError if nothing can be scored, naming the file and the item that cannot be read.
    """
    paired = [name for name in labels.values if name in predictions.values]
    if not paired:
        raise ValueError(
            f'{predictions.path}: no name of {labels.path} among its {len(predictions.values)} '
            f'({_shown(next(iter(predictions.values)))!r} and not '
            f'{_shown(next(iter(labels.values)))!r}): both files must use the same names'
        )
    sums = _usable_sums(task, labels, predictions, paired)
    figures = _figures(task)
    values = _numbers(figures(sums.sums_m.sum(0)))
    n = len(labels.values)
    return _nested(task, values, sums) | {
        'task': task.name,
        'n': n,
        'kept': sums.kept,
        'skipped': n - sums.kept,
        'missing': n - len(paired),
        'unlabelled': len(paired) - sums.kept,
        'extra': len(predictions.values) - len(paired),
        'repeated': labels.repeated + predictions.repeated,
        'unmapped': sums.unmapped,
        'unmapped_words': {
            _shown(word): times
            for word, times in collections.Counter(sums.unknown).most_common(SHOWN_WORDS)
        },
        'ci': metrics.intervals(sums.sums_m, figures),
    }


def compare(task: Task, labels: Column, first: Column, second: Column) -> dict[str, Any]:
    """`score` of both predictions, and second − first over the items that both answer.

    `difference` holds `n` (the number of such items), the difference of each figure, and in `ci`
    its 95 % bootstrap interval. Both are resampled together, so the difficulty of an item cancels.
    """
    scores = {'first': score(task, labels, first), 'second': score(task, labels, second)}
    both = [name for name in labels.values if name in first.values and name in second.values]
    if not both:
        raise ValueError(
            f'{second.path}: answers no item of {labels.path} that {first.path} answers: there is '
            'nothing to compare'
        )
    first_m, second_m = (
        _usable_sums(task, labels, column, both).sums_m for column in (first, second)
    )
    figures = _figures(task)
    before, after = (_numbers(figures(sums_m.sum(0))) for sums_m in (first_m, second_m))
    difference = {name: after[name] - before[name] for name in before}
    ci = metrics.difference_intervals(first_m, second_m, figures)
    return scores | {'difference': {'n': len(both)} | difference | {'ci': ci}}


def _usable_sums(task: Task, labels: Column, predictions: Column, names: list[str]) -> MetricSums:
    """The sums over the named items; ValueError if none of them is kept."""
    sums = _task_sums(task, labels, predictions, names)
    if not sums.kept:
        raise ValueError(
            f'{labels.path}: none of the {len(names)} labels that are answered can be used for '
            f'{task.name}: is {labels.key!r} the right column?'
        )
    return sums


def _task_sums(task: Task, labels: Column, predictions: Column, names: list[str]) -> MetricSums:
    """The sums of the task over the named items."""
    emotion = functools.partial(_emotion, emotions=task.emotions)
    if task.name == 'sentiment':
        read = functools.partial(_sentiment, read=task.read, named=predictions.key == SENTIMENT)
        named = _Cells(predictions, names, read)
        return metric_sums.sentiment_sums(_Cells(labels, names, _value)[:], named[:])
    answers = _Cells(predictions, names, task.read)
    if task.name == 'open':
        return metric_sums.open_sums(_Cells(labels, names, task.read), answers, task.wheels)
    if task.name == 'basic':
        gold = _Cells(labels, names, emotion)[:]
        return metric_sums.basic_sums(gold, answers, task.wheels, task.level)
    if task.name == 'multilabel':
        return metric_sums.multilabel_sums(_Cells(labels, names, task.read)[:], answers[:])
    one = _Cells(labels, names, lambda cell: _one(task.read(emotion(cell))))
    return metric_sums.accuracy_sums(one[:], answers[:])


def _figures(task: Task) -> Callable[..., metrics.Figures]:
    """The function from sums to the figures of a task."""
    if task.name == 'open':
        return lambda sums: metrics.open_figures(sums, task.wheels.names, task.level)
    return {
        'basic': metrics.basic_figures,
        'sentiment': metrics.sentiment_figures,
        'multilabel': metrics.multilabel_figures,
        'accuracy': metrics.accuracy_figures,
    }[task.name]


@dataclasses.dataclass(frozen=True)
class _Cells:
    """The values of the cells of these names, read block by block.

    To keep a million lists of words would cost more than to make them.
    """

    column: Column
    names: list[str]
    read: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, block: slice) -> list:
        values, read, cells = self.column.values, self.read, []
        try:
            for name in self.names[block]:
                cells.append(read(values[name]))
        except ValueError as error:
            place = f'{self.column.path}: {self.column.key!r} of {_shown(name)!r}'
            raise ValueError(f'{place}: {error}') from error
        return cells


def _value(cell: Any) -> float:
    """A sentiment value; an empty cell is NaN."""
    if cell is None or cell == '':
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f'{_shown(cell)!r} is no number: give one, below 0 if negative, above 0 if positive'
        ) from None


def _emotion(cell: Any, emotions: Sequence[str]) -> str:
    """The one emotion of a label, a name, a number or a list of one."""
    if isinstance(cell, list | tuple | np.ndarray):
        cell = _one(list(cell))
    if cell is None or cell != cell:
        return ''
    text = str(cell).lower().strip()
    number = _NUMBER.fullmatch(text)
    if not number:
        return text
    if int(number[1]) >= len(emotions):
        raise ValueError(
            f'{_shown(text)} is a number, and {len(emotions)} emotions are named: name all in the '
            'order of the numbers (--emotions angry,happy,…)'
        )
    return emotions[int(number[1])]


def _one(words: list[str]) -> str:
    """The only word of a label."""
    if len(words) > 1:
        raise ValueError(f'{len(words)} labels where one is scored: score it as multilabel')
    return words[0] if words else ''


def _sentiment(cell: Any, read: Callable[[Any], list[str]], named: bool) -> str:
    """The sentiment that an answer names or, if it names emotions, their valence.

    An answer without a known word is returned as it is, which is none of the sentiments.
    """
    words = read(cell)
    if named or not any(map(is_known, words)):
        return ', '.join(words)
    return valence(words)


def _numbers(figures: metrics.Figures) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items()}


def _nested(task: Task, values: dict[str, float], sums: MetricSums) -> dict[str, Any]:
    """The figures; those of each wheel, for open answers, are nested in `wheels`."""
    if task.name != 'open':
        return values
    wheels: dict[str, dict] = {name: {} for name in task.wheels.names}
    kept = iter(sums.sums_m[:, 2:, 0].sum(0).astype(int).tolist())
    for level in (1, 2):
        for name, levels in wheels.items():
            letters = {letter: values[f'{name}.level{level}.{letter}'] for letter in 'FPR'}
            levels[f'level{level}'] = letters | {'kept': next(kept)}
    shown = {name: value for name, value in values.items() if '.' not in name}
    return shown | {'wheels': wheels, 'level': task.level, 'digest': task.wheels.digest}


def _shown(text: Any) -> str:
    """A word for messages: at most 60 characters, unprintable ones as question marks."""
    return ''.join(letter if letter.isprintable() else '?' for letter in f'{text!s:.60}')
