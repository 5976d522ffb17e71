"""Evaluation: the fast and the slow answer of every held-out clip, grown from one prefill."""

import dataclasses
import functools
import zlib

import jax
import numpy as np
import tqdm

from mer_jax.data.cache import FeatureCache
from mer_jax.data.loader import Example, prepare_or_name
from mer_jax.data.media import MediaError
from mer_jax.models.omni import Omni
from mer_jax.models.spec import Spec
from mer_jax.rl.branches import Sampling
from mer_jax.rl.rewards import set_scores
from mer_jax.rl.step import roll_out
from mer_jax.setting import Setting
from mer_jax.sharding import gather_rows, to_devices, to_host

MODES = ('fast', 'slow')
SCORES = ('recall', 'precision', 'f', 'form', 'tokens')


def evaluate(setting: Setting, policy: Omni, title: str) -> tuple[dict, list[dict]]:
    """Scores of fast and slow answers on the held-out clips, and what was answered to each.

    The scores are means over clips of what each clip scores (set_scores: means over wheels), with
    the standard error of that mean: {'clips', 'fast': {'recall', 'recall_se', …}, 'slow': {…}};
    'form' is the share of well-formed branches, 'tokens' their mean length. The answer to a clip
    depends on the clip, the seed and the policy only. Raises MediaError when fewer than two clips
    can be used.
    """
    c, processes = setting.config, jax.process_count()
    cache = setting.open_cache(policy)
    answer_clips = make_answer(setting, policy, cache)
    prepare = functools.partial(setting.example, cache=cache)
    clips, share = setting.test_clips, c.evaluate.batch // processes
    rows = []
    bar = tqdm.tqdm(total=len(clips), desc=f'evaluate, {title}', unit='clip', dynamic_ncols=True)
    for first in range(0, len(clips), c.evaluate.batch):
        # Every process takes part in every batch, though its own clips may be damaged or none.
        start = first + jax.process_index() * share
        mine = range(min(start, len(clips)), min(start + share, len(clips)))
        examples = [prepare_or_name(prepare, clips[number]) for number in mine]
        usable = [example for example in examples if setting.damages.whole(example)]
        rows += gather_rows(answer_clips(usable, share))
        bar.update(min(c.evaluate.batch, len(clips) - first))
    bar.close()
    if len(rows) < 2:
        raise MediaError(
            f'{len(rows)} of the {len(clips)} held-out clips can be used, and a standard error '
            f'needs two; the others are named in {setting.damages.path}. Mend them, or hold out '
            'more (data.held_out)'
        )
    scores = np.array([[[row[mode][name] for name in SCORES] for mode in MODES] for row in rows])
    return summary(scores), rows


@functools.cache
def growing(spec: Spec, sampling: Sampling):
    """The rollout, compiled once for each size of batch."""
    return jax.jit(functools.partial(roll_out, spec=spec, sampling=sampling))


def make_answer(setting: Setting, policy: Omni, cache: FeatureCache | None):
    """A function of (examples, size) that gives what is answered to each of at most `size`."""
    opening = setting.openings(setting.fast_opening, setting.slow_opening)
    asked = setting.config.evaluate
    grow = growing(setting.spec, setting.sampling(asked.temperature, asked.top_p))
    seed = np.uint32(setting.config.seed)

    def answer_clips(examples: list[Example], size: int) -> list[dict]:
        filled = examples + [setting.filler()] * (size - len(examples))
        prompts = setting.collate(filled)
        number_b = np.array([stable_number(example.clip.id) for example in filled], np.uint32)
        arrays = to_devices(setting.mesh, (prompts, number_b))
        rollout = grow(policy, *arrays, seed, np.uint32(0), opening, setting.starts_wcn)
        branches = to_host(rollout.branches)
        setting.keep_features(cache, examples, prompts, rollout.features)
        reading, parsed = setting.reader.read(branches, prompts.gold)
        terms = set_scores(reading.named, prompts.gold[:, None])
        length = branches.mask.sum(-1)
        score_bgx = np.stack([*map(np.asarray, terms), reading.formed, length], -1)
        return [answer(*each) for each in zip(examples, parsed, score_bgx, strict=False)]

    return answer_clips


def stable_number(name: str) -> int:
    """A number that stands for a clip wherever and with whomever it is evaluated."""
    return zlib.crc32(name.encode())


def summary(score_bgx) -> dict:
    """Means over clips with their standard errors, for each mode."""
    figures = {'clips': len(score_bgx)}
    for g, mode in enumerate(MODES):
        mean = score_bgx[:, g].mean(0)
        error = score_bgx[:, g].std(0, ddof=1) / len(score_bgx) ** 0.5
        figures[mode] = {}
        for name, value, spread in zip(SCORES, mean, error, strict=True):
            figures[mode][name] = float(value)
            if name in ('recall', 'precision', 'f'):
                figures[mode][f'{name}_se'] = float(spread)
    return figures


def answer(example: Example, parsed, score_gx) -> dict:
    """What was answered to a clip and what that scores, for people and programs."""
    said = {
        mode: dataclasses.asdict(one) | dict(zip(SCORES, score_x.tolist(), strict=True))
        for mode, one, score_x in zip(MODES, parsed, score_gx, strict=True)
    }
    return {'id': example.clip.id, 'gold': list(example.clip.words), **said}
