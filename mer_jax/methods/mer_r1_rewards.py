"""The reward terms of MER-R1 and its slow-fast confidence calibration."""

import jax.numpy as jnp
from flax import struct

from mer_jax.group import Array


def set_scores(named, gold):
    """Recall, precision and F of sets bool[..., w, c], means over wheels that hold gold: f[...].

    A wheel in which nothing is named has precision 0; where no wheel holds gold all three are 0.
    """
    hit = (named & gold).sum(-1).astype(jnp.float32)
    recall = hit / jnp.maximum(gold.sum(-1), 1)
    precision = hit / jnp.maximum(named.sum(-1), 1)
    f = 2 * hit / jnp.maximum(gold.sum(-1) + named.sum(-1), 1)
    counts = gold.any(-1).astype(jnp.float32)
    wheels = jnp.maximum(counts.sum(-1), 1)
    return tuple((x * counts).sum(-1) / wheels for x in (recall, precision, f))


def reward_terms(named_bgwc, gold_bwc, formed_bg) -> dict[str, Array]:
    """The reward terms of branches by name, each f[b, g] in [0, 1]."""
    recall, precision, f = set_scores(named_bgwc, gold_bwc[:, None])
    form = formed_bg.astype(jnp.float32)
    return {'recall': recall, 'precision': precision, 'f': f, 'form': form}


def category_confidence(logp_v, starts_wcn):
    """S(c) = log Σ π(token) over the tokens that start a word of category c: f[..., w, c].

    starts_wcn holds token ids padded with −1; a category without any token gets log 1e-10, the
    floor that every sum has (vhzy/HumanOmniV2, affect_r1).
    """
    chance = jnp.exp(logp_v)[..., jnp.maximum(starts_wcn, 0)]
    return jnp.log(jnp.where(starts_wcn >= 0, chance, 0.0).sum(-1) + 1e-10)


@struct.dataclass
class Calibration:
    """How far slow thinking moved the confidence, in nats; positive is good."""

    recall: Array  # f[b, g], slow − fast on the gold side
    precision: Array  # f[b, g], fast − slow on the other side


def masked_mean(x, mask, axis):
    """The mean over `axis` where mask holds, 0 where it holds nowhere."""
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.where(mask, x, 0.0).sum(axis) / jnp.maximum(mask.sum(axis), 1)


def calibrate_categories(slow_bgawc, fast_bgawc, anchor_bga, gold_bwc, exists_wc) -> Calibration:
    """Category level: mean over anchors, then over categories of a side, then over wheels.

    S is the category confidence after the branch's own reasoning (slow) and after an emptied think
    block (fast). Recall side: gold categories, S_slow − S_fast;
    precision side: the others, S_fast − S_slow. exists_wc marks categories that any token starts.
    """
    gain_bgwc = masked_mean(slow_bgawc - fast_bgawc, (anchor_bga >= 0)[..., None, None], 2)
    has_gold = gold_bwc.any(-1, keepdims=True)  # a wheel without gold counts for neither side
    sides = gold_bwc & exists_wc, ~gold_bwc & has_gold & exists_wc
    recall, precision = (
        masked_mean(masked_mean(sign * gain_bgwc, side[:, None], -1), side.any(-1)[:, None], -1)
        for sign, side in zip((1, -1), sides, strict=True)
    )
    return Calibration(recall=recall, precision=precision)


def calibrate_words(slow_bga, fast_bga, anchor_bga, right_bga) -> Calibration:
    """Word level: the log-probabilities of the named words themselves, right ones and wrong.

    Recall side: mean over right words of slow − fast; precision side: over wrong ones, fast − slow.
    """
    gain, there = slow_bga - fast_bga, anchor_bga >= 0
    return Calibration(
        recall=masked_mean(gain, there & right_bga, -1),
        precision=masked_mean(-gain, there & ~right_bga, -1),
    )
