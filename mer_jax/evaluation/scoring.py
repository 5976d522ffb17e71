"""Scores of predictions against labels, with confidence intervals, and of two compared by item."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from mer_jax.data.wheels.wheel import Wheels
from mer_jax.evaluation import metric_sums, metrics
from mer_jax.evaluation.cells import (
    Cells,
    emotion_of,
    examples,
    labels_of,
    only,
    sentiment_of,
    shown,
    value_of,
)
from mer_jax.evaluation.label_files import (
    Column,
    plain_words,
    published_words,
    published_words_noting,
)
from mer_jax.evaluation.metric_sums import MetricSums

LABELS = {
    'open': ('openset',),
    'basic': ('emo',),
    'sentiment': ('val',),
    'multilabel': ('openset', 'emo'),
    'accuracy': ('emo',),
}
FIGURE = {  # by task, the figure that papers report
    'open': 'F',
    'basic': 'hit',
    'sentiment': 'waf',
    'accuracy': 'accuracy',
    'multilabel': 'f1',
}
SENTIMENT = 'sentiment'
SHOWN_WORDS = 20


@dataclasses.dataclass(frozen=True)
class Task:
    """The kind of labels that is scored, and how cells become words."""

    name: str  # a key of LABELS
    wheels: Wheels | None = None  # of open and basic
    level: int = 1  # of the wheels
    read: Callable[[Any], list[str]] = plain_words
    emotions: tuple[str, ...] = ()  # the names of labels that are numbers


@dataclasses.dataclass(frozen=True)
class Counted:
    """The sums of a task over items, and the cells behind them."""

    sums: MetricSums
    labels: Cells
    answers: Cells
    tagged: list[str]  # answers with tags, of which the published list reader got a part


def score(task: Task, labels: Column, predictions: Column) -> dict[str, Any]:
    """The figures of predictions and the number of items behind them, as a dictionary for JSON.

    Of `n` labels some are `kept`. The rest are `skipped`: `missing` ones have no prediction, and
    `unlabelled` ones cannot be used (no wheel knows the label, it is one of `no_label` or
    `unread_labels` or, for sentiment, 0). `unmapped` counts kept items whose answer has no known
    word and so names nothing; `_unread` lists the
    other counts. `ci` holds the 95 %
    bootstrap interval of every figure; the formulas are in `evaluation.metrics`. Raises ValueError
    if nothing can be scored, naming the file and the item that cannot be read.
    """
    paired = [name for name in labels.values if name in predictions.values]
    if not paired:
        raise ValueError(
            f'{predictions.path}: no name of {labels.path} among its {len(predictions.values)} '
            f'({shown(next(iter(predictions.values)))!r} and not '
            f'{shown(next(iter(labels.values)))!r}): both files must use the same names'
        )
    counted = _usable(task, labels, predictions, paired)
    sums, figures = counted.sums, _figures(task)
    values = _numbers(figures(sums.sums_m.sum(0)))
    n = len(labels.values)
    about = {
        'task': task.name,
        'n': n,
        'kept': sums.kept,
        'skipped': n - sums.kept,
        'missing': n - len(paired),
        'unlabelled': len(paired) - sums.kept,
        'extra': len(predictions.values) - len(paired),
        'repeated': labels.repeated + predictions.repeated,
        'unmapped': sums.unmapped,
        'unmapped_words': _most_common(sums.unknown),
        'ci': metrics.intervals(sums.sums_m, figures),
    }
    return _nested(task, values, sums) | about | _unread(counted)


def _unread(counted: Counted) -> dict[str, Any]:
    """Counts and examples of cells without a label or an answer, and of unknown gold words.

    `no_label` counts labels that are empty or say that there is none, `unread_labels` and `unread`
    labels and answers that say something in which no word was found, `read_first` answers whose
    tags were read before the published list reader.
    """
    labels, answers, gold = counted.labels, counted.answers, counted.sums.unknown_gold
    return {
        'no_label': len(labels.empty),
        'no_label_examples': examples(labels.empty),
        'unread_labels': len(labels.unread),
        'unread_labels_examples': examples(labels.unread),
        'unread': len(answers.unread),
        'unread_examples': examples(answers.unread),
        'unknown_gold': sum(gold.values()),
        'unknown_gold_words': _most_common(gold),
        'read_first': len(counted.tagged),
    }


def _most_common(words: Mapping[str, int]) -> dict[str, int]:
    """The most frequent words as messages show them, and how often they occur."""
    pairs = collections.Counter(words).most_common(SHOWN_WORDS)
    return {shown(word): times for word, times in pairs}


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
        _usable(task, labels, column, both).sums.sums_m for column in (first, second)
    )
    figures = _figures(task)
    before, after = (_numbers(figures(sums_m.sum(0))) for sums_m in (first_m, second_m))
    difference = {name: after[name] - before[name] for name in before}
    ci = metrics.difference_intervals(first_m, second_m, figures)
    return scores | {'difference': {'n': len(both)} | difference | {'ci': ci}}


def _usable(task: Task, labels: Column, predictions: Column, names: list[str]) -> Counted:
    """The sums over the named items; ValueError if none of them is kept."""
    counted = _count(task, labels, predictions, names)
    if not counted.sums.kept:
        empty = counted.labels.empty
        said = ', '.join(examples(empty).values())
        raise ValueError(
            f'{labels.path}: none of the {len(names)} labels that are answered can be used for '
            f'{task.name}{f"; {len(empty)} say that there is no label ({said})" if empty else ""}: '
            f'is {labels.key!r} the right column?'
        )
    return counted


def _count(task: Task, labels: Column, predictions: Column, names: list[str]) -> Counted:
    """The sums of the task over the named items."""
    gold = Cells(labels, names, _label_reader(task))
    tagged: list[str] = []
    noting = functools.partial(published_words_noting, tagged)
    words = noting if task.read is published_words else task.read
    answers = Cells(predictions, names, words)
    if task.name == 'open':
        sums = metric_sums.open_sums(gold, answers, task.wheels)
    elif task.name == 'basic':
        sums = metric_sums.basic_sums(gold[:], answers, task.wheels, task.level)
    elif task.name == 'multilabel':
        sums = metric_sums.multilabel_sums(gold[:], answers[:])
    elif task.name == 'accuracy':
        sums = metric_sums.accuracy_sums(gold[:], answers[:])
    else:
        named = predictions.key == SENTIMENT
        read = functools.partial(sentiment_of, read=words, named=named)
        answers = dataclasses.replace(answers, read=read)
        sums = metric_sums.sentiment_sums(gold[:], answers[:])
    return Counted(sums, gold, answers, tagged)


def _label_reader(task: Task) -> Callable[[Any], Any]:
    """How the labels of a task are read."""
    emotion = functools.partial(emotion_of, emotions=task.emotions)
    if task.name == 'basic' and task.read is published_words:
        return emotion
    return {
        'open': task.read,
        'sentiment': value_of,
        'multilabel': functools.partial(labels_of, read=task.read),
        'basic': lambda cell: only(task.read(emotion(cell))),
        'accuracy': lambda cell: only(task.read(emotion(cell))),
    }[task.name]


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
