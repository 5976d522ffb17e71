"""MER-R1's answers for people and programs: scores, and confidence in each category."""

import dataclasses

import numpy as np

from mer_jax.methods.mer_r1_reading import Reading
from mer_jax.methods.mer_r1_rewards import set_scores

SCORES = ('recall', 'precision', 'f', 'form', 'tokens')


def scores(reading: Reading, mask_bgs) -> dict[str, np.ndarray]:
    """The scores of answers by the names in SCORES, f[b, g] each."""
    terms = map(np.asarray, set_scores(reading.named, reading.gold[:, None]))
    return dict(zip(SCORES, (*terms, reading.formed, mask_bgs.sum(-1)), strict=True))


def describe(wheels, reading: Reading, answers, mask_bgs, confidence_bgswc) -> list:
    """Each answer as a dictionary, [b][g]: text, reasoning, words, scores, confidence."""
    score_bgx = np.stack(list(scores(reading, mask_bgs).values()), -1)
    sure_bgwc = answer_confidence(confidence_bgswc, reading.anchor)
    return [
        [
            dataclasses.asdict(answer)
            | dict(zip(SCORES, score_x.tolist(), strict=True))
            | {'confidence': by_category(wheels, sure_wc)}
            for answer, score_x, sure_wc in zip(row, score_gx, sure_gwc, strict=True)
        ]
        for row, score_gx, sure_gwc in zip(answers, score_bgx, sure_bgwc, strict=True)
    ]


def answer_confidence(confidence_bgswc, anchor_bga):
    """e^S of each category in each branch, f[b, g, w, c]; NaN for a branch without anchors.

    S is the mean over a branch's anchors of the log-probability that a word of the category starts
    there, as in the calibration.
    """
    at = np.maximum(anchor_bga, 0)[..., None, None]
    s_bgawc = np.take_along_axis(confidence_bgswc, at, axis=2)
    valid = (anchor_bga >= 0)[..., None, None]
    count = valid.sum(2)
    mean = np.where(valid, s_bgawc, 0).sum(2) / np.maximum(count, 1)
    return np.where(count > 0, np.exp(mean), np.nan)


def by_category(wheels, confidence_wc) -> dict[str, dict[str, float]]:
    """Confidences by wheel and category, the highest first; {} for a branch without anchors."""
    if np.isnan(confidence_wc).any():
        return {}
    named = {}
    for wheel, names, found_c in zip(wheels.names, wheels.categories(), confidence_wc, strict=True):
        pairs = zip(names, found_c.tolist(), strict=False)
        named[wheel] = dict(sorted(pairs, key=lambda pair: -pair[1]))
    return named
