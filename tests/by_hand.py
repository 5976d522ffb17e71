"""The loss of an update and its slope, in numpy and float64, for tests."""

import numpy as np


def loss_by_hand(logp, e, learn):
    """The figures of an update on an experience, and d loss / d log π f[b, g, s]."""
    logp, advantage = np.asarray(logp, np.float64), np.float64(e.advantage)[..., None]
    mask, weight = e.mask, weights_by_hand(e, learn.aggregate)
    before = e.scored if learn.ratio_cap else e.sampled
    gap = np.where(mask, logp - before, 0)
    length = np.maximum(mask.sum(-1, keepdims=True), 1)
    if learn.ratio == 'sequence':
        gap = np.broadcast_to(gap.sum(-1, keepdims=True) / length, gap.shape)
    ratio = np.exp(gap)
    bounded = np.clip(ratio, 1 - learn.clip_low, 1 + learn.clip_high)
    if learn.clip == 'cispo':
        surrogate, slope, clipped = (
            bounded * advantage * logp,
            bounded * advantage,
            bounded != ratio,
        )
    else:
        surrogate = np.minimum(ratio * advantage, bounded * advantage)
        if learn.clip_dual:
            lowest = np.maximum(surrogate, learn.clip_dual * advantage)
            surrogate = np.where(advantage < 0, lowest, surrogate)
        clipped = surrogate != ratio * advantage
        slope = np.where(clipped, 0, ratio * advantage)
    mismatch = np.exp(np.float64(before) - e.sampled)  # 1 without a cap
    cap_weight = np.minimum(mismatch, learn.ratio_cap or np.inf)
    surrogate, slope = cap_weight * surrogate, cap_weight * slope
    slope = slope * weight
    if learn.ratio == 'sequence' and learn.clip == 'ppo':  # one ratio, moved by all its tokens
        slope = np.where(mask, slope.sum(-1, keepdims=True) / length, 0)
    figures = {'loss': -(weight * surrogate).sum(), 'surrogate': (weight * surrogate).sum()}
    slope = -slope
    if learn.kl:
        apart = e.reference - logp
        kl = np.exp(apart) - apart - 1
        figures['kl'] = kl[mask].mean()
        figures['loss'] += learn.kl * (weight * kl).sum()
        slope += learn.kl * weight * (1 - np.exp(apart))
    figures['drift'] = np.abs(logp - e.sampled)[mask].mean()
    figures['drift_largest'] = np.abs(logp - e.sampled)[mask].max()
    figures['clipped'] = clipped[mask].mean()
    figures['ratio_spread'] = ratio[mask].std()
    if learn.ratio_cap:
        figures['cap_weight'] = cap_weight[mask].mean()
        figures['capped'] = (mismatch > learn.ratio_cap)[mask].mean()
    return figures, slope.astype(np.float32)


def weights_by_hand(e, how: str):
    """The weight of each token in the loss, divisor included."""
    counts = e.mask & e.kept[..., None]
    if how == 'token':
        return counts / counts.sum()
    if how == 'sequence':
        return counts / np.maximum(counts.sum(-1, keepdims=True), 1) / e.kept.sum()
    return counts / (e.kept.sum() * e.mask.shape[-1])
