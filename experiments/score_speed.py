"""Seconds to score predictions against labels on one core, and what an item costs at two sizes.

    python experiments/score_speed.py

Both sides of an item are one to five words, of which one in ten is unknown to the wheels. `words`
starts from lists of words, `strings` from answers such as "[happy, excited]", `files` from two
JSONL files on disk. All figures of the task `open` are computed, with their intervals: M1, M2, five
wheels at both levels. One JSON line on stdout; `growth` is the cost of an item at the larger size
over that at the smaller one. The table of the wheels is built before. Seconds are CPU time of the
only thread, so that other work on the machine counts less.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

for library in ('OMP', 'OPENBLAS', 'MKL'):
    os.environ[f'{library}_NUM_THREADS'] = '1'

import numpy as np  # noqa: E402  threads are counted when NumPy is loaded

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mer_jax.data.wheels.wheel import load_wheels  # noqa: E402
from mer_jax.evaluation.label_files import Column, published_words, read_column  # noqa: E402
from mer_jax.evaluation.scoring import Task, score  # noqa: E402


def answers(count: int, words: list[str], seed: int) -> list[list[str]]:
    """Random answers of one to five words."""
    random = np.random.default_rng(seed)
    size_n = random.integers(1, 6, count)
    drawn = [words[number] for number in random.integers(len(words), size=size_n.sum())]
    ends = np.cumsum(size_n)
    return [drawn[end - size : end] for end, size in zip(ends, size_n, strict=True)]


def column(cells: list) -> Column:
    values = {f'clip{number:07}': cell for number, cell in enumerate(cells)}
    return Column('memory', 'answer', values, 0)


def seconds(task: Task, read_labels, read_predictions) -> float:
    """CPU seconds of reading both sides and scoring them."""
    start = time.process_time()
    scored = score(task, read_labels(), read_predictions())
    spent = time.process_time() - start
    assert scored['skipped'] < scored['n'] / 10, 'most labels should be scored'
    return spent


def measure(count: int, wheels, words: list[str], folder: pathlib.Path) -> dict[str, float]:
    """Seconds from words, from strings and from files."""
    gold, named = (answers(count, words, seed) for seed in (0, 1))
    strings = [[f'[{", ".join(cell)}]' for cell in side] for side in (gold, named)]
    paths = []
    for key, side in zip(('openset', 'answer'), strings, strict=True):
        paths.append(folder / f'{key}.jsonl')
        with paths[-1].open('w') as file:
            for number, cell in enumerate(side):
                file.write(json.dumps({'name': f'clip{number:07}', key: cell}) + '\n')
    listed = Task('open', wheels, read=list)
    parsed = Task('open', wheels, read=published_words)
    columns = [column(side) for side in (gold, named, *strings)]
    return {
        'words': seconds(listed, lambda: columns[0], lambda: columns[1]),
        'strings': seconds(parsed, lambda: columns[2], lambda: columns[3]),
        'files': seconds(
            parsed,
            lambda: read_column(paths[0], ('openset',)),
            lambda: read_column(paths[1], ('answer',)),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--small', type=int, default=10_000)
    parser.add_argument('--large', type=int, default=1_000_000)
    parser.add_argument('--wheels', default='builtin')
    asked = parser.parse_args()
    wheels = load_wheels((asked.wheels,))
    known = list(wheels.words())
    words = known + [f'unknown{number}' for number in range(len(known) // 9)]
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            count: measure(count, wheels, words, pathlib.Path(folder))
            for count in (asked.small, asked.small, asked.large)  # the first one warms up
        }
    micro = {
        count: {name: 1e6 * spent / count for name, spent in spent_by.items()}
        for count, spent_by in measured.items()
    }
    growth = {
        name: round(micro[asked.large][name] / micro[asked.small][name], 2)
        for name in micro[asked.large]
    }
    print(
        json.dumps(
            {
                'wheels': wheels.names,
                'seconds': {
                    str(count): {name: round(spent, 3) for name, spent in spent_by.items()}
                    for count, spent_by in measured.items()
                },
                'microseconds_per_item': {
                    str(count): {name: round(spent, 2) for name, spent in spent_by.items()}
                    for count, spent_by in micro.items()
                },
                'growth': growth,
            }
        )
    )


if __name__ == '__main__':
    main()
