"""Confusion of a set's words: counts of answers by gold word, and their picture."""

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mer_jax.evaluation.answers import MODES
from mer_jax.storage.objects import write_whole

OTHER = 'other'  # the column of words outside the vocabulary, several words and no word
Read = Callable[[Any], list[str]]


def confusion_of(
    labels: Sequence[str], gold: Mapping[str, str], lines: Sequence[dict], read: Read
) -> dict:
    """{'words': the vocabulary, 'fast': counts, 'slow': counts} of the answers to a set.

    A row of counts holds the answers to the clips of a gold word: how often each word of the
    vocabulary is answered, then how often anything else. The vocabulary is `labels` and, after
    them, gold words that are not among them. `read` reads words as the accuracy of the set does.
    """
    gold = {name: one_word(word, read) for name, word in gold.items()}
    gold = {name: word for name, word in gold.items() if word}
    known = [one_word(label, read) for label in labels]
    words = list(dict.fromkeys([*known, *sorted(set(gold.values()))]))
    place = {word: number for number, word in enumerate(words)}
    counts = {mode: np.zeros((len(words), len(words) + 1), int) for mode in MODES}
    for line in lines:
        if line['mode'] in counts and line['id'] in gold:
            said = read(line['words'])
            column = place.get(said[0], len(words)) if len(said) == 1 else len(words)
            counts[line['mode']][place[gold[line['id']]], column] += 1
    return {'words': words} | {mode: count_xy.tolist() for mode, count_xy in counts.items()}


def one_word(word: str, read: Read) -> str:
    """A gold word or label as it is compared with answers."""
    return ', '.join(read(word))


def picture_name(key: str, mode: str) -> str:
    """The file name of the picture of a set and a mode."""
    return f'confusion_{key}_{mode}.png'


def draw_confusions(workdir: pathlib.Path, key: str, scored: dict) -> None:
    """Draws the confusion of a scored set into a folder, a picture for each mode."""
    for mode in MODES:
        count_xy = np.array(scored['confusion'][mode])
        shown = f'accuracy {100 * scored[mode]["accuracy"]:.2f} %'
        if 'accuracy_exact' in scored[mode]:
            shown += f', exact {100 * scored[mode]["accuracy_exact"]:.2f} %'
        title = f'{scored["title"]}, {mode}: {shown}, {count_xy.sum()} clips'
        path = workdir / picture_name(key, mode)
        picture = io.BytesIO()
        figure = confusion_figure(scored['confusion']['words'], count_xy, title)
        figure.savefig(picture, format='png')
        write_whole(path, picture.getvalue())


def confusion_figure(words: Sequence[str], count_xy: np.ndarray, title: str) -> Figure:
    """Gold words in rows, answers in columns: colours are shares of a row, texts are counts."""
    side = 2.4 + 0.45 * len(words)
    figure = Figure(figsize=(side + 0.45, side), dpi=100, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    share_xy = count_xy / np.maximum(count_xy.sum(1, keepdims=True), 1)
    axes.imshow(share_xy, cmap='Blues', vmin=0, vmax=1, aspect='equal')
    axes.set_xticks(range(len(words) + 1), [*words, OTHER], rotation=90)
    axes.set_yticks(range(len(words)), words)
    axes.set(xlabel='answer', ylabel='gold')
    axes.set_title(title, fontsize=9, wrap=True)
    axes.axvline(len(words) - 0.5, color='black', linewidth=0.8)
    for (row, column), count in np.ndenumerate(count_xy):
        share = share_xy[row, column]
        color = 'white' if share > 0.6 else 'black' if count else '#b0b0b0'
        axes.text(column, row, str(count), color=color, fontsize=7, ha='center', va='center')
    return figure
