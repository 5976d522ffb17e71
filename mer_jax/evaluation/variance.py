"""The variance of fast and slow answers, from clips answered many times in both modes.

    setting, policy = open_checkpoint('runs/first')
    clips = choose_clips(setting.config).test
    samples = sample(setting, policy, [clips[i] for i in range(64)], size=16)
    decompose(samples.score_nmgx)

`notebooks/fast_slow_variance.ipynb` is an example. Axes: n clips, m modes (fast, slow), g
samples of a mode, x the scores of SCORES.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tqdm

from mer_jax.data.clips import Clip
from mer_jax.evaluation.answers import MODES, Grown, grow_answers
from mer_jax.methods import mer_r1_answers
from mer_jax.models.omni import Omni
from mer_jax.run.setting import Setting

SCORES = mer_r1_answers.SCORES[:3]  # recall, precision, F


@dataclasses.dataclass(frozen=True)
class Samples:
    """Many answers to each clip: the categories they name, with confidence, and their scores."""

    gold_nwc: np.ndarray  # bool
    named_nmgwc: np.ndarray  # bool
    confidence_nmgwc: np.ndarray  # e^S of the calibration; NaN for categories that have none
    score_nmgx: np.ndarray
    tokens_nmg: np.ndarray  # sampled tokens of each answer
    text_nmg: np.ndarray  # str, whole answers


@dataclasses.dataclass(frozen=True)
class Variance:
    """The variance of a score within and between clips: f[...] each.

    `within` is the variance of the answers to one clip, averaged over clips: the part that changes
    with sampling, and the only one that a group-relative advantage uses. `between` is the variance
    of the means of clips, minus the part that comes from `within`; so it may be below 0.
    """

    mean: np.ndarray
    within: np.ndarray
    between: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """The variance over all answers to all clips."""
        return self.between + self.within


def sample(
    setting: Setting, policy: Omni, clips: Sequence[Clip], size: int, seed: int = 0, batch: int = 16
) -> Samples:
    """`size` answers of each mode to each clip, sampled as config.evaluate says.

    Setting and policy are those of `setting.open_checkpoint`. The answers to a clip depend on its
    id, the seed, the size and the policy only. MediaError for a clip that cannot be used.
    """
    if size < 2 or not len(clips):
        raise ValueError(
            f'size={size}, {len(clips)} clips: a variance needs two answers and a clip'
        )
    if setting.config.method != 'mer_r1':
        raise ValueError(
            f'method={setting.config.method!r}: the variance of recall and precision is that of '
            "MER-R1's answers; name a checkpoint of method mer_r1"
        )
    repeated = [mode for mode in MODES for _ in range(size)]
    parts = []
    with tqdm.tqdm(total=len(clips), unit='clip') as bar:
        for first in range(0, len(clips), batch):
            block = range(first, min(first + batch, len(clips)))
            examples = [setting.writer.example(clips[i]) for i in block]
            with setting.in_use():
                grown = grow_answers(setting, policy, examples, batch, repeated, seed)
            parts.append([values[: len(examples)] for values in _by_mode(setting, grown, size)])
            bar.update(len(examples))
    return Samples(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _by_mode(setting: Setting, grown: Grown, size: int) -> list[np.ndarray]:
    """The fields of Samples for a batch, its branches laid out by mode."""
    reading, mask = grown.reading, grown.branches.mask
    gold, named = reading.gold, reading.named
    score = np.stack(list(mer_r1_answers.scores(reading, mask).values()), -1)
    text = np.array([[answer.text for answer in row] for row in grown.answers], object)
    confidence = mer_r1_answers.answer_confidence(grown.branches.watched, reading.anchor)
    starts_wcn = setting.wheels.first_tokens(setting.encode)
    exists_wc = (starts_wcn >= 0).any(-1)  # neither padding nor a category without a token
    confidence = np.where(exists_wc, confidence, np.nan)
    values = named, confidence, score[..., : len(SCORES)], mask.sum(-1), text
    shape = len(gold), len(MODES), size
    return [gold, *(value.reshape(*shape, *value.shape[2:]) for value in values)]


def decompose(score_nmgx: np.ndarray) -> Variance:
    """The law of total variance over clips and samples, of each mode and score: f[m, x]."""
    n, _, g, _ = score_nmgx.shape
    if n < 2 or g < 2:
        raise ValueError(f'{n} clips of {g} samples: variances need two of both')
    mean_nmx = score_nmgx.mean(2)
    within = score_nmgx.var(2, ddof=1).mean(0)
    return Variance(mean_nmx.mean(0), within, mean_nmx.var(0, ddof=1) - within / g)


def agreement(named_nmgwc: np.ndarray) -> np.ndarray:
    """The likeness of the answers of a mode to a clip: f[n, m], a mean over pairs and wheels.

    The likeness of two answers is |one ∩ other| / |one ∪ other| of the categories that they name,
    and 1 if neither names any.
    """
    one, other = np.triu_indices(named_nmgwc.shape[2], 1)
    first, second = named_nmgwc[:, :, one], named_nmgwc[:, :, other]
    common, either = (first & second).sum(-1), (first | second).sum(-1)
    return np.where(either > 0, common / np.maximum(either, 1), 1.0).mean((2, 3))


def best_of(score_nmgx: np.ndarray, k: int) -> np.ndarray:
    """The expected score of the best of k answers, averaged over clips: f[m, x].

    Unbiased from g ≥ k samples: with scores in rising order, the i-th is the best of k in
    C(i, k − 1) of C(g, k) draws without replacement (as pass@k, Chen et al., arXiv 2107.03374).
    """
    g = score_nmgx.shape[2]
    if not 1 <= k <= g:
        raise ValueError(f'k={k}: must be from 1 to the {g} samples of a clip')
    weight_g = np.array([math.comb(i, k - 1) / math.comb(g, k) for i in range(g)])
    return np.einsum('nmgx,g->mx', np.sort(score_nmgx, 2), weight_g) / len(score_nmgx)


def reliability(samples: Samples, bins: int = 10) -> dict[str, np.ndarray]:
    """How often a category is gold, by the confidence of a mode in it: f[m, bins] by name.

    Bins are of equal width in e^S. `count` is the number of categories in a bin, `sure` their mean
    e^S and `right` the share of gold among them, NaN in an empty bin. Wheels without gold for a
    clip are left out.
    """
    known_nwc = np.broadcast_to(samples.gold_nwc.any(-1, keepdims=True), samples.gold_nwc.shape)
    rows = []
    for m in range(len(MODES)):
        sure = samples.confidence_nmgwc[:, m]
        counts = ~np.isnan(sure) & known_nwc[:, None]
        gold = np.broadcast_to(samples.gold_nwc[:, None], sure.shape)[counts]
        sure = sure[counts]
        bin_i = np.minimum((sure * bins).astype(int), bins - 1)
        count = np.bincount(bin_i, minlength=bins)
        with np.errstate(invalid='ignore'):
            sums = (np.bincount(bin_i, values, bins) / count for values in (sure, gold))
            rows.append((count, *sums))
    return {
        name: np.stack(values)
        for name, values in zip(('count', 'sure', 'right'), zip(*rows, strict=True), strict=True)
    }
