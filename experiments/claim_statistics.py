"""Intervals and verdicts of a claim: paired differences over seeds and clips.

A difference d of arm and baseline, from the same cold start of a seed and the same clips, is taken
as mean + effect of the seed + effect of the clip + rest. The seeds of an experiment are few, so a
plain bootstrap over them gives intervals that are too short. Here draws are made from effects that
have the variances of the analysis of variance (the residual bootstrap of Carpenter, Goldstein and
Rasbash 2003; effects of seeds are drawn from a normal), and widened by the quantile of Student's t
for the degrees of freedom that these variances leave (Satterthwaite 1946).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

COVERAGE = 0.95
DRAWS = 2000
MOST_SEEDS = 1000  # that `seeds_needed` looks at


@dataclasses.dataclass(frozen=True)
class Components:
    """The variances of paired differences; `crossed`: all seeds were asked about the same clips."""

    mean: float
    seed: float  # variance of the effects of seeds
    clip: float  # of clips that all seeds share; 0 where each seed has its own
    rest: float  # of one clip of one seed
    seeds: int
    clips: int  # a seed
    crossed: bool

    def error(self, seeds: int | None = None) -> float:
        """The standard error of the mean over so many seeds, by default those of the data."""
        s = self.seeds if seeds is None else seeds
        return math.sqrt(sum(self.parts(s)))

    def parts(self, seeds: int) -> tuple[float, float]:
        """The variance of the mean that seeds bring, with the rest in it, and that of clips."""
        return (self.seed + self.rest / self.clips) / seeds, self.clip / self.clips

    def freedom(self, seeds: int | None = None) -> float:
        """Satterthwaite's degrees of freedom of the squared error of the mean."""
        s = self.seeds if seeds is None else seeds
        if s < 2:
            return math.inf
        by_seed, by_clip = self.parts(s)
        # Without an effect of seeds the spread within them, of many clips, tells the error.
        of_seed = s - 1 if self.seed else s * (self.clips - 1)
        parts = [(by_seed, of_seed), (by_clip, self.clips - 1)]
        total = sum(part for part, _ in parts)
        spent = sum(part**2 / freedom for part, freedom in parts)
        return total**2 / spent if spent else math.inf


def components(difference: Sequence[np.ndarray], crossed: bool) -> Components:
    """The variances of differences f[n] of each seed, by the method of moments.

    `crossed`: position n is the same clip for all seeds. ValueError for fewer than two clips, or
    seeds with different numbers of clips where they are crossed.
    """
    sizes = [len(one) for one in difference]
    if min(sizes) < 2:
        raise ValueError(f'{min(sizes)} clips of a seed: an interval needs at least two')
    if crossed and len(set(sizes)) > 1:
        raise ValueError(f'seeds answered {sizes} clips: crossed seeds have the same ones')
    s, mean_s = len(difference), np.array([one.mean() for one in difference])
    n = s / sum(1 / size for size in sizes)  # their harmonic mean
    if crossed and s > 1:
        d_sn = np.stack(difference)
        clip_n = d_sn.mean(0)
        rest_sn = d_sn - clip_n - mean_s[:, None] + d_sn.mean()
        rest = (rest_sn**2).sum() / ((s - 1) * (n - 1))
        clip = max(0.0, clip_n.var(ddof=1) - rest / s)
    else:
        within = sum(((one - one.mean()) ** 2).sum() for one in difference)
        rest, clip = within / (sum(sizes) - s), 0.0
    between = mean_s.var(ddof=1) if s > 1 else 0.0
    return Components(
        mean=float(mean_s.mean()),
        seed=float(max(0.0, between - rest / n)),
        clip=float(clip),
        rest=float(rest),
        seeds=s,
        clips=round(n),
        crossed=crossed,
    )


def interval(difference: Sequence[np.ndarray], crossed: bool, draws: int = DRAWS) -> dict:
    """The mean difference with its 95 % interval over seeds and clips.

    {'mean', 'ci': [low, high], 'error', 'freedom', 'seeds', 'clips'}. With one seed the interval is
    one over clips, and says nothing about other seeds.
    """
    parts = components(difference, crossed)
    tail, freedom = (1 - COVERAGE) / 2, parts.freedom()
    wider = stats.t.ppf(1 - tail, min(freedom, 1e6)) / stats.norm.ppf(1 - tail)
    ends = np.quantile(_drawn(difference, parts, draws), [tail, 1 - tail]) * wider
    return {
        'mean': parts.mean,
        'ci': [parts.mean + float(end) for end in ends],
        'error': parts.error(),
        'freedom': freedom,
        'seeds': parts.seeds,
        'clips': parts.clips,
    }


def _drawn(difference: Sequence[np.ndarray], parts: Components, draws: int) -> np.ndarray:
    """Draws of the mean's deviation: effects of seeds, clips and rest, each drawn apart.

    Those of clips are resampled; a handful of seeds has no shape of its own, so theirs are normal.
    """
    rng = np.random.default_rng(0)
    mean_s = np.array([one.mean() for one in difference])
    total = rng.normal(0, math.sqrt(parts.seed / parts.seeds), draws)
    if parts.crossed and parts.seeds > 1:
        clip_n = np.stack(difference).mean(0)
        total += resampled(scaled(clip_n, parts.clip), draws, rng)
        rest = [
            one - mean - clip_n + clip_n.mean()
            for one, mean in zip(difference, mean_s, strict=True)
        ]
    else:
        rest = [one - mean for one, mean in zip(difference, mean_s, strict=True)]
    for one in rest:
        total += resampled(scaled(one, parts.rest), draws, rng) / parts.seeds
    return total


def scaled(effect_n: np.ndarray, variance: float) -> np.ndarray:
    """Centred effects with this variance; zeros where they are all alike."""
    centred = effect_n - effect_n.mean()
    spread = math.sqrt((centred**2).mean())
    return centred * (math.sqrt(variance) / spread) if spread else centred


def resampled(effect_n: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of as many effects, drawn with replacement: f[draws]."""
    n = len(effect_n)
    rows = max(1, 10**6 // n)  # at a time
    return np.concatenate(
        [
            effect_n[rng.integers(n, size=(min(rows, draws - at), n))].mean(1)
            for at in range(0, draws, rows)
        ]
    )


def verdict(ci: Sequence[float]) -> str:
    """The rule: confirmed if the whole interval is above 0, contradicted if it is below."""
    low, high = ci
    return 'confirmed' if low > 0 else 'contradicted' if high < 0 else 'undecided'


def power(parts: Components, effect: float, seeds: int) -> float:
    """The probability that so many seeds give an interval without 0 if this is the difference."""
    freedom = parts.freedom(seeds)
    error = parts.error(seeds)
    if not error:
        return 1.0 if effect else 0.0
    of_t = stats.t(min(freedom, 1e6))
    bound, shift = of_t.ppf((1 + COVERAGE) / 2), abs(effect) / error
    return float(of_t.sf(bound - shift) + of_t.cdf(-bound - shift))


def seeds_needed(parts: Components, effect: float, wanted: float = 0.8) -> int | None:
    """The fewest seeds that decide with this power; None if MOST_SEEDS do not."""
    if effect == 0:
        return None
    counts = range(2, MOST_SEEDS + 1)
    low, high = 0, len(counts)
    while low < high:  # power grows with the seeds
        middle = (low + high) // 2
        if power(parts, effect, counts[middle]) >= wanted:
            high = middle
        else:
            low = middle + 1
    return counts[low] if low < len(counts) else None


def smallest_effect(parts: Components, seeds: int, wanted: float = 0.8) -> float:
    """The smallest difference that so many seeds decide with this power."""
    low, high = 0.0, 100 * parts.error(seeds)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(parts, middle, seeds) >= wanted else (middle, high)
    return high
