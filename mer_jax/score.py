"""Scores a file of predictions against a file of labels, with confidence intervals.

    python -m mer_jax.score --task open --wheels builtin --labels gold.csv --predictions a.jsonl
    python -m mer_jax.score --task basic --labels gold.csv --predictions a.jsonl b.jsonl

Needs no model. Labels are columns or keys `name` and `openset`, `emo` or `val`; predictions `name`
and `answer` (a list, or a string such as "[happy, excited]") or `sentiment`. Two files of
predictions are compared item by item.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.errors import quiet_pipes
from mer_jax.evaluation.label_files import ANSWERS, plain_words, published_words, read_column
from mer_jax.evaluation.scoring import LABELS, SENTIMENT, Task, compare, score
from mer_jax.storage.paths import StorageError, is_remote


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.score',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--task', required=True, choices=tuple(LABELS))
    parser.add_argument(
        '--labels', required=True, metavar='FILE', help='.csv, .jsonl, .parquet, .npz'
    )
    parser.add_argument(
        '--predictions', required=True, nargs='+', metavar='FILE', help='one, or two to compare'
    )
    parser.add_argument(
        '--wheels', default='builtin', help="builtin, or AffectGPT's folder emotion_wheel"
    )
    parser.add_argument('--level', type=int, choices=(1, 2), default=1, help='of the wheels')
    parser.add_argument('--corpus', default='', help='which corpus of a labels .npz')
    parser.add_argument('--mode', default='', help='rows of this mode only, such as slow')
    parser.add_argument('--emotions', default='', help='names of numbered labels: angry,happy,…')
    parser.add_argument('--json', action='store_true', help='one JSON object')
    asked = parser.parse_args(arguments)
    if len(asked.predictions) > 2:
        parser.error(f'--predictions: {len(asked.predictions)} files; at most two are compared')
    return asked


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """The score of one file of predictions, or the comparison of two."""
    for flag, paths in (('labels', [asked.labels]), ('predictions', asked.predictions)):
        for path in paths:
            if not is_remote(path) and not pathlib.Path(path).is_file():
                raise ValueError(
                    f'--{flag}={path}: no such file; name a .csv, .jsonl, .parquet or .npz'
                )
    task = Task(
        name=asked.task,
        wheels=load_wheels((asked.wheels,)) if asked.task in ('open', 'basic') else None,
        level=asked.level,
        read=published_words if pathlib.Path(asked.wheels).is_dir() else plain_words,
        emotions=tuple(name.strip().lower() for name in asked.emotions.split(',') if name.strip()),
    )
    labels = read_column(asked.labels, LABELS[asked.task], corpus=asked.corpus)
    keys = (SENTIMENT, *ANSWERS) if asked.task == 'sentiment' else ANSWERS
    columns = [read_column(path, keys, mode=asked.mode) for path in asked.predictions]
    return score(task, labels, *columns) if len(columns) == 1 else compare(task, labels, *columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    asked = read_flags(arguments)
    try:
        scored = run(asked)
    except (ValueError, OSError, StorageError) as error:
        raise SystemExit(f'mer_jax: {error}') from None
    if asked.json:
        print(json.dumps(scored))
    elif 'difference' in scored:
        for path, which in zip(asked.predictions, ('first', 'second'), strict=True):
            print(path, as_text(scored[which]), sep='\n', end='\n\n')
        print(difference_as_text(scored['difference']))
    else:
        print(as_text(scored))


def as_text(scored: dict[str, Any]) -> str:
    """A score as text: figures in per cent with their intervals, and counts of skipped items."""
    lines = [
        f'{scored["task"]}: {scored["kept"]} of {scored["n"]} labels kept, {scored["skipped"]} '
        f'skipped ({scored["missing"]} without a prediction, {scored["unlabelled"]} whose label '
        'cannot be used)'
    ]
    if scored['unmapped']:
        words = ', '.join(f'{word} {times}' for word, times in scored['unmapped_words'].items())
        lines.append(f'{scored["unmapped"]} answers name nothing known; unknown words: {words}')
    for what, reason in (('extra', 'no label'), ('repeated', 'been read before')):
        if scored[what]:
            lines.append(f'{scored[what]} rows have {reason}')
    lines += _unread_as_text(scored)
    names = [name for name in scored['ci'] if '.' not in name]
    lines += _table({name: scored[name] for name in names}, scored['ci'])
    for wheel, levels in scored.get('wheels', {}).items():
        for level, values in levels.items():
            letters = '   '.join(f'{letter} {100 * values[letter]:5.2f}' for letter in 'FPR')
            lines.append(f'  {wheel:10} {level}   {letters}   of {values["kept"]}')
    return '\n'.join(lines)


def _unread_as_text(scored: dict[str, Any]) -> list[str]:
    """Lines on labels and answers that could not be read as they are written, with examples."""
    lines = []
    for key, said in (
        ('no_label', 'labels are empty or say that there is none'),
        ('unread_labels', 'labels hold no word'),
        ('unread', 'answers hold no word and name nothing'),
    ):
        count = scored[key]
        if count:
            cells = scored[f'{key}_examples'].items()
            lines.append(f'{count} {said}: {", ".join(f"{name}: {text}" for name, text in cells)}')
    if scored['unknown_gold']:
        words = ', '.join(f'{word} {n}' for word, n in scored['unknown_gold_words'].items())
        lines.append(f'{scored["unknown_gold"]} gold words are in no wheel: {words}')
    if scored['read_first']:
        lines.append(
            f'{scored["read_first"]} answers hold tags, tokens or a box, which the published list '
            'reader does not know: only the answer in them was given to it'
        )
    return lines


def difference_as_text(difference: dict[str, Any]) -> str:
    """A comparison as text, in percentage points."""
    names = [name for name in difference['ci'] if '.' not in name]
    head = f'second - first, over the {difference["n"]} items that both answer'
    values = {name: difference[name] for name in names}
    return '\n'.join([head, *_table(values, difference['ci'])])


def _table(values: dict[str, float], ci: dict[str, list[float]]) -> list[str]:
    rows = [f'  {"":10} {"%":>7}   95 % interval']
    for name, value in values.items():
        low, high = (100 * end for end in ci[name])
        rows.append(f'  {name:10} {100 * value:7.2f}   {low:6.2f} to {high:6.2f}')
    return rows


if __name__ == '__main__':
    with quiet_pipes():
        main()
