r"""Fuses several files of predictions, and compares the fusion with the best single file.

    python -m mer_jax.evaluation.fusion a.jsonl b.jsonl c.jsonl --by wheel --out fused.jsonl \
        --labels gold.csv --task open

A word is kept if its support reaches --share of the files; if none does, those with the most
support are kept. The support of a word is the share of files that name it (vote), the same weighted
by their confidence in it (confidence), or the share of files that name a word of its category, as a
mean over the wheels that know it (wheel). A file that names nothing for an item has no vote on it.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mer_jax.data.wheels.wheel import Wheels, load_wheels
from mer_jax.errors import printable, quiet_pipes
from mer_jax.evaluation.label_files import ANSWERS, Column, plain_words, read_column
from mer_jax.evaluation.prediction_files import answered_rows, check_ending, write_rows
from mer_jax.evaluation.scoring import FIGURE, LABELS, Task, compare, score

WAYS = ('vote', 'confidence', 'wheel')
CONFIDENCES = ('confidences', 'confidence')  # columns, {wheel or score: {category or word: chance}}
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Said:
    """The answer of one file to one item."""

    words: list[str]
    confidence: Mapping[str, Mapping[str, float]]  # {} if the file has none


Categories = Callable[[str], tuple[str | None, ...]]


def read_answers(path: pathlib.Path, mode: str = '') -> dict[str, Said]:
    """The answers of a predictions file by name."""
    found: dict[str, Said] = {}
    for row in answered_rows(path, mode):
        key = next((key for key in ANSWERS if key in row), None)
        if key is None:
            raise ValueError(f'{path}: no column {" or ".join(ANSWERS)} among {", ".join(row)}')
        said = Said(plain_words(row[key]), _confidence(row, path))
        if row['name'] in found and said != found[row['name']]:
            raise ValueError(
                f'{path}: {row["name"]!r:.99} comes twice with different answers: choose one mode '
                '(--mode slow)'
            )
        found[row['name']] = said
    return found


def _confidence(row: Mapping[str, Any], path: pathlib.Path) -> Mapping[str, Mapping[str, float]]:
    value = next((row[key] for key in CONFIDENCES if row.get(key)), {})
    try:
        value = json.loads(value) if isinstance(value, str) else value
        return {
            wheel: {name: float(chance) for name, chance in chances.items()}
            for wheel, chances in value.items()
        }
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f'{path}: {row["name"]!r:.99}: confidences={value!r:.99} must be '
            '{wheel: {category: chance}}'
        ) from None


def fuse(files: Sequence[Mapping[str, Said]], way: str, share: float, most: int, wheels: Wheels):
    """The fused words of every item that a file answers: {name: {word: support}}, the best first.

    At most `most` words are kept, 0 for no bound.
    """
    known: dict[str, tuple[str | None, ...]] = {}

    def categories(word: str) -> tuple[str | None, ...]:
        if word not in known:
            known[word] = wheels.category(word)
        return known[word]

    names = dict.fromkeys(name for file in files for name in file)
    fused = {}
    for name in names:
        said = [file[name] for file in files if name in file and file[name].words]
        support = supports(said, way, categories, wheels.names)
        best = max(support.values(), default=0.0)
        level = min(share, best) - ROUNDING
        kept = {word: value for word, value in support.items() if value >= level}
        fused[name] = dict(list(kept.items())[: most or None])
    return fused


def supports(
    said: Sequence[Said], way: str, categories: Categories, wheels: Sequence[str]
) -> dict[str, float]:
    """The support in [0, 1] of each word that is named, the highest first."""
    words = list(dict.fromkeys(word for one in said for word in one.words))
    if way == 'vote':
        found = {word: sum(word in one.words for one in said) / len(said) for word in words}
    elif way == 'confidence':
        found = _by_confidence(said, words, categories, wheels)
    else:
        found = {word: _by_wheel(said, word, categories) for word in words}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _by_confidence(
    said: Sequence[Said], words: Sequence[str], categories: Categories, wheels: Sequence[str]
) -> dict[str, float]:
    """Votes weighted by confidence; a file's greatest weight counts as its whole vote."""
    weights = [_weights(one, categories, wheels) for one in said]
    whole = sum(max(weight.values()) for weight in weights) or 1.0
    return {word: sum(weight.get(word, 0.0) for weight in weights) / whole for word in words}


def _weights(one: Said, categories: Categories, wheels: Sequence[str]) -> dict[str, float]:
    """The confidence in each word of an answer: the mean over what the file says of it.

    A word of which it says nothing has the mean of the others, or 1 without any.
    """
    found: dict[str, float | None] = {}
    for word in one.words:
        names = dict(zip(wheels, categories(word), strict=True))
        chances = [
            table[key]
            for wheel, table in one.confidence.items()
            if (key := names.get(wheel) if wheel in names else word) in table
        ]
        found[word] = sum(chances) / len(chances) if chances else None
    known = [value for value in found.values() if value is not None]
    rest = sum(known) / len(known) if known else 1.0
    return {word: rest if value is None else value for word, value in found.items()}


def _by_wheel(said: Sequence[Said], word: str, categories: Categories) -> float:
    """The share of files that name the category of a word, a mean over wheels that know it."""
    own = [(wheel, category) for wheel, category in enumerate(categories(word)) if category]
    if not own:
        return sum(word in one.words for one in said) / len(said)
    shares = [
        sum(any(categories(other)[wheel] == category for other in one.words) for one in said)
        for wheel, category in own
    ]
    return sum(shares) / len(own) / len(said)


def against_best(
    task: Task, labels: Column, singles: Sequence[Column], fused: Column
) -> dict[str, Any]:
    """The scores of all files and of the fusion, and fused − best single with its interval.

    The best file is the one with the highest figure of FIGURE on these labels.
    """
    scores = {column.path: score(task, labels, column) for column in singles}
    figure = FIGURE[task.name]
    best = max(singles, key=lambda column: scores[column.path][figure])
    compared = compare(task, labels, best, fused)
    return {
        'figure': figure,
        'files': scores,
        'fused': compared['second'],
        'best': best.path,
        'difference': compared['difference'],
    }


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.evaluation.fusion',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('predictions', nargs='+', metavar='FILE', help='two or more files')
    parser.add_argument('--by', choices=WAYS, default=WAYS[0], help='how words are supported')
    parser.add_argument('--share', type=float, default=0.5, help='support that a word needs')
    parser.add_argument('--most', type=int, default=0, help='words an item; 0: no bound')
    parser.add_argument('--out', type=pathlib.Path, help='.jsonl, .csv or .parquet')
    parser.add_argument('--labels', default='', help='to compare with the best file, as in score')
    parser.add_argument('--task', choices=tuple(LABELS), default='open')
    parser.add_argument('--corpus', default='', help='which corpus of a labels .npz')
    parser.add_argument('--wheels', default='builtin', help='builtin, or a folder, as in score')
    parser.add_argument('--mode', default='', help='rows of this mode only, such as slow')
    parser.add_argument('--json', action='store_true', help='one JSON object')
    asked = parser.parse_args(arguments)
    if len(set(asked.predictions)) < 2:
        parser.error(f'{len(set(asked.predictions))} file: a fusion needs at least two')
    if not 0 < asked.share <= 1:
        parser.error(f'--share={asked.share}: must be above 0 and at most 1, e.g. 0.5')
    if asked.most < 0:
        parser.error(f'--most={asked.most}: must be at least 0')
    if not (asked.out or asked.labels):
        parser.error('name --out FILE to write the fusion, --labels FILE to score it, or both')
    if asked.task in ('accuracy', 'sentiment'):
        asked.most = 1
    return asked


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Writes the fusion and gives its comparison, {} without labels."""
    if asked.out:
        check_ending(asked.out, 'out')
    wheels = load_wheels((asked.wheels,))
    paths = [pathlib.Path(path) for path in asked.predictions]
    for path in paths:
        if not path.is_file():
            raise ValueError(f'{path}: no such file; name files of predictions')
    files = [read_answers(path, asked.mode) for path in paths]
    fused = fuse(files, asked.by, asked.share, asked.most, wheels)
    if asked.out:
        rows = [
            {'name': name, 'answer': list(support), 'support': support}
            for name, support in fused.items()
        ]
        write_rows(asked.out, rows)
    if not asked.labels:
        return {}
    labels = read_column(asked.labels, LABELS[asked.task], corpus=asked.corpus)
    task = Task(name=asked.task, wheels=wheels if asked.task in ('open', 'basic') else None)
    singles = [
        Column(str(path), 'answer', {name: one.words for name, one in file.items()}, 0)
        for path, file in zip(paths, files, strict=True)
    ]
    answers = {name: list(support) for name, support in fused.items()}
    return against_best(task, labels, singles, Column('the fusion', 'answer', answers, 0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    asked = read_flags(arguments)
    try:
        compared = run(asked)
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    if asked.json:
        print(json.dumps(compared))
        return
    if asked.out:
        print(f'{asked.out} holds the fusion of {len(asked.predictions)} files by {asked.by}')
    if compared:
        print(as_text(compared))


def as_text(compared: dict[str, Any]) -> str:
    """A comparison for the terminal, in per cent."""
    figure, lines = compared['figure'], []
    for path, scored in (*compared['files'].items(), ('fused', compared['fused'])):
        low, high = (100 * end for end in scored['ci'][figure])
        mark = '  (best single)' if path == compared['best'] else ''
        value = 100 * scored[figure]
        lines.append(f'{figure} {value:6.2f}   {low:6.2f} to {high:6.2f}   {path}{mark}')
    difference = compared['difference']
    low, high = (100 * end for end in difference['ci'][figure])
    lines.append(
        f'fused - best single: {100 * difference[figure]:+.2f} points, 95 % interval '
        f'[{low:+.2f}, {high:+.2f}], paired over {difference["n"]} items; the best file was chosen '
        'on these labels'
    )
    return '\n'.join(lines)


if __name__ == '__main__':
    with quiet_pipes():
        main()
