"""Answers of a policy to clips, block by block, and their scores."""

import concurrent.futures
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import tqdm

from mer_jax.data.clips import Clip
from mer_jax.data.loader import Damaged, Example, prepare_or_name
from mer_jax.data.media.container import MediaError
from mer_jax.evaluation.answers import MODES, answerer
from mer_jax.evaluation.metrics import accuracy_figures, resample
from mer_jax.models.omni import Omni
from mer_jax.run.feature_cache import open_cache
from mer_jax.run.gain import label_counts, scores_of
from mer_jax.run.setting import Setting
from mer_jax.run.shares import gather_rows, rows_here


def evaluate(setting: Setting, policy: Omni, title: str) -> tuple[dict, list[dict]]:
    """Scores of fast and slow answers on the held-out clips, and what was answered to each.

    The scores are those of `summary`. Raises MediaError when fewer than two clips can be used.
    """
    clips, told = setting.test_clips, f'evaluate, {title}'
    rows = answer_all(setting, policy, clips, told)
    if len(rows) < 2:
        raise MediaError(
            f'{len(rows)} of the {len(clips)} held-out clips can be used, and a standard error '
            f'needs two; the others are named in {setting.damages.path}. Mend them, or hold out '
            'more (data.held_out)'
        )
    return summary(rows, setting.method.scored, setting.method.labels), rows


def answer_all(
    setting: Setting, policy: Omni, clips: Sequence[Clip], title: str, cached: bool = True
) -> list[dict]:
    """The answers to all clips that can be used and whose answers the method can score."""
    blocks = answer_blocks(setting, policy, clips, title, setting.writer.example, cached=cached)
    return [row for rows, _ in blocks for row in rows]


def answer_blocks(
    setting: Setting,
    policy: Omni,
    clips: Sequence[Clip],
    title: str,
    prepare: Callable,
    start: int = 0,
    cached: bool = True,
) -> Iterator[tuple[list[dict], list[dict]]]:
    """The answers to each block of config.evaluate.batch clips, from block `start` on.

    With them come the clips of the block that cannot be used, {'id', 'reason'}. An answer depends
    on the clip, the seed and the policy only. Threads prepare the media of the next block while the
    devices answer a block. `cached`: features of media are kept in data.cache.
    """
    size = setting.config.evaluate.batch
    rows, cache = rows_here(setting.mesh, size), open_cache(setting, policy) if cached else None
    answer_clips = answerer(setting, policy, cache)
    prepare = functools.partial(prepare, cache=cache)
    firsts = range(start * size, len(clips), size)
    # Every process takes part in every block, though its own clips may be damaged or none.
    numbers = [[first + int(row) for row in rows if first + row < len(clips)] for first in firsts]

    def prepared(number: int) -> Example | Damaged:
        return prepare_or_name(prepare, clips[number])

    with (
        tqdm.tqdm(
            total=len(clips), initial=start * size, desc=title, unit='clip', dynamic_ncols=True
        ) as bar,
        contextlib.closing(
            prepared_ahead(prepared, numbers, setting.config.data.threads)
        ) as blocks,
    ):
        for own, examples in zip(numbers, blocks, strict=True):
            pairs = list(zip(own, examples, strict=True))
            usable = {n: example for n, example in pairs if setting.damages.accept(example)}
            damaged = {n: dataclasses.asdict(one) for n, one in pairs if isinstance(one, Damaged)}
            answers = answer_clips(list(usable.values()), len(rows))
            answers = in_order(dict(zip(usable, answers, strict=True)))
            damaged = in_order(damaged)
            yield answers, damaged
            bar.update(len(answers) + len(damaged))


def in_order(values: dict[int, dict]) -> list[dict]:
    """The values of all processes in the order of their numbers, each number once."""
    gathered = dict(gather_rows(list(values.items())))
    return [gathered[number] for number in sorted(gathered)]


def prepared_ahead(
    prepare: Callable, blocks: Iterable[Iterable], threads: int = 2
) -> Iterator[list]:
    """[prepare(item), …] of each block in order, while threads prepare the block after it.

    An error of `prepare` is raised in the place of its block. When the iterator is closed, items
    that are not begun are dropped.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads, 'prepare')
    try:
        current = None
        for block in blocks:
            following = [pool.submit(prepare, item) for item in block]
            if current is not None:
                yield [waiting.result() for waiting in current]
            current = following
        if current is not None:
            yield [waiting.result() for waiting in current]
    finally:
        pool.shutdown(cancel_futures=True)


def summary(rows: list[dict], scored: Sequence[str], labels: Sequence[str] = ()) -> dict:
    """Means over clips of the scores of their answers, for each mode.

    {'clips', 'fast': {'recall', 'recall_se', …}, 'slow': {…}} with the standard errors of the
    means; 'form' is the share of well-formed branches, 'tokens' their mean length, and neither has
    a standard error. A score that the answers of a mode lack is left out. Where answers are out of
    a closed set of labels, 'macro_f1' is the mean F1 of the labels that occur as gold.
    """
    figures = {'clips': len(rows)}
    for mode in MODES:
        names = [name for name in scored if name in rows[0][mode]]
        score_nx = scores_of(rows, mode, names)
        error = score_nx.std(0, ddof=1) / len(rows) ** 0.5
        figures[mode] = {}
        for name, value, spread in zip(names, score_nx.mean(0), error, strict=True):
            if labels and name == 'form':
                count_ncx = label_counts(rows, mode, labels)
                figures[mode]['macro_f1'] = float(accuracy_figures(count_ncx.sum(0))['macro_f1'])
                drawn = accuracy_figures(resample(count_ncx))['macro_f1']
                figures[mode]['macro_f1_se'] = float(drawn.std())
            figures[mode][name] = float(value)
            if name not in ('form', 'tokens'):
                figures[mode][f'{name}_se'] = float(spread)
    return figures
