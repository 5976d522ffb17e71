"""Evaluation of a run on its held-out clips."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import tqdm

from mer_jax.data.clips import Clip
from mer_jax.data.loader import Damaged, prepare_or_name
from mer_jax.data.media.container import MediaError
from mer_jax.evaluation.answers import MODES, answerer
from mer_jax.evaluation.metrics import accuracy_figures, resample
from mer_jax.models.omni import Omni
from mer_jax.run.feature_cache import open_cache
from mer_jax.run.gain import label_counts, scores_of
from mer_jax.run.setting import Setting
from mer_jax.sharding import gather_rows


def evaluate(setting: Setting, policy: Omni, title: str) -> tuple[dict, list[dict]]:
    """Scores of fast and slow answers on the held-out clips, and what was answered to each.

    The scores are those of `summary`. Raises MediaError when fewer than two clips can be used.
    """
    clips, rows = setting.test_clips, []
    prepare, told = setting.writer.example, f'evaluate, {title}'
    for block, _ in answer_blocks(setting, policy, clips, told, prepare):
        rows += block
    if len(rows) < 2:
        raise MediaError(
            f'{len(rows)} of the {len(clips)} held-out clips can be used, and a standard error '
            f'needs two; the others are named in {setting.damages.path}. Mend them, or hold out '
            'more (data.held_out)'
        )
    return summary(rows, setting.method.scored, setting.method.labels), rows


def answer_blocks(
    setting: Setting, policy: Omni, clips: Sequence[Clip], title: str, prepare, start: int = 0
) -> Iterator[tuple[list[dict], list[dict]]]:
    """The answers to each block of config.evaluate.batch clips, from block `start` on.

    With them come the clips of the block that cannot be used, {'id', 'reason'}. An answer depends
    on the clip, the seed and the policy only.
    """
    size, processes = setting.config.evaluate.batch, jax.process_count()
    share, cache = size // processes, open_cache(setting, policy)
    answer_clips = answerer(setting, policy, cache)
    prepare = functools.partial(prepare, cache=cache)
    firsts = range(start * size, len(clips), size)
    with tqdm.tqdm(
        total=len(clips), initial=start * size, desc=title, unit='clip', dynamic_ncols=True
    ) as bar:
        for first in firsts:
            # Every process takes part in every block, though its own clips may be damaged or none.
            own = first + jax.process_index() * share
            mine = range(min(own, len(clips)), min(own + share, len(clips)))
            examples = [prepare_or_name(prepare, clips[number]) for number in mine]
            usable = [example for example in examples if setting.damages.accept(example)]
            damaged = [
                dataclasses.asdict(example) for example in examples if isinstance(example, Damaged)
            ]
            yield gather_rows(answer_clips(usable, share)), gather_rows(damaged)
            bar.update(min(size, len(clips) - first))


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
