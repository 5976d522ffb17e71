"""Scores of the answers to a set: fast, slow, their difference, published rows beside."""

import pathlib
from collections.abc import Sequence

from mer_jax.data.benchmarks import published
from mer_jax.data.wheels.wheel import Wheels, load_wheels
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.benchmark_sets import TestSet
from mer_jax.evaluation.closed_scores import add_exact, add_means
from mer_jax.evaluation.confusion import Read, confusion_of
from mer_jax.evaluation.label_files import Column, plain_words, published_words
from mer_jax.evaluation.scoring import Task, compare
from mer_jax.run.held_out import summary
from mer_jax.run.setting import Setting


def score_or_say(c, setting: Setting, test: TestSet, lines: list[dict]) -> dict:
    """`score_set`, or why a set cannot be scored; the other sets are scored all the same."""
    left_out = sum(line['mode'] == 'none' for line in lines)
    said = {'note': test.note, 'left_out': left_out, 'task': test.task, 'title': test.title}
    if not test.gold:
        return said | {'note': f'{test.note}; its labels are not public'}
    if left_out == len(lines):
        return said | {'note': f'{test.note}; none of its clips can be used'}
    try:
        return said | score_set(c, setting, test, lines)
    except ValueError as error:
        return said | {'note': f'{test.note}; cannot be scored: {error}'}


def score_set(c, setting: Setting, test: TestSet, lines: list[dict]) -> dict:
    """Scores of fast, slow, and slow − fast of a set; ValueError if nothing can be scored."""
    wheels = load_wheels(tuple(c.wheels)) if test.task in ('open', 'basic') else None
    published_folder = pathlib.Path(c.wheels[0]).is_dir()
    read = published_words if published_folder else plain_words
    task = Task(test.task, wheels, c.level, read)
    labels = Column(f'{test.key} labels', 'gold', test.gold, 0)
    answers = [
        Column(
            f'{test.key} {mode} answers',
            'answer',
            {line['id']: line['words'] for line in lines if line['mode'] == mode},
            0,
        )
        for mode in MODES
    ]
    compared = compare(task, labels, *answers)
    result = {'fast': compared['first'], 'slow': compared['second']}
    result['difference'] = compared['difference']
    if test.task == 'accuracy':
        add_words(result, setting, test, lines, (labels, *answers), read)
    result['published'] = [row._asdict() for row in published(test.key)]
    of_words = test.task == 'open' and setting.wheels is not None
    rows = rows_of(lines, setting.wheels, test.gold) if of_words else []
    if len(rows) > 1:
        wheels = {'wheels': list(setting.wheels.names)}
        result['mean_over_clips'] = wheels | summary(rows, setting.method.scored)
    return result


def add_words(
    result: dict,
    setting: Setting,
    test: TestSet,
    lines: list[dict],
    columns: Sequence[Column],
    read: Read,
) -> None:
    """Adds the confusion of words and, for a method with labels, accuracy_exact and its scores."""
    known = setting.method.labels
    if known:
        labels, *answers = columns
        add_exact(result, labels, answers)
        add_means(result, setting.method.scored, lines, test.gold)
    result['confusion'] = confusion_of(known or test.labels, test.gold, lines, read)


def rows_of(lines: list[dict], wheels: Wheels, gold: dict[str, list[str]]) -> list[dict]:
    """The scores of clips of which a wheel knows a gold word, as `summary` takes them."""
    rows = {}
    for line in lines:
        if line['mode'] != 'none':
            rows.setdefault(line['id'], {})[line['mode']] = line['scores']
    return [row for name, row in rows.items() if wheels.cells([gold.get(name, [])]).any()]
