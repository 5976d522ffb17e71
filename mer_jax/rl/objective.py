"""The loss of an update, token by token: ratio, clipping, KL to the reference, token weights."""

import jax
import jax.numpy as jnp

RATIOS = ('token', 'sequence')
CLIPS = ('ppo', 'cispo')
AGGREGATES = ('token', 'sequence', 'constant')


def log_ratio(logp_bgs, sampled_bgs, mask_bgs, level: str):
    """log(π / π_sampled) that each token is weighted by, f[b, g, s].

    'token': its own; 'sequence': the mean over the branch's tokens for all of them, which is the
    length-normalised sequence ratio of GSPO (arXiv 2507.18071, equation 7).
    """
    gap = logp_bgs - sampled_bgs
    if level == 'token':
        return gap
    total = jnp.where(mask_bgs, gap, 0.0).sum(-1, keepdims=True)
    return jnp.broadcast_to(total / jnp.maximum(mask_bgs.sum(-1, keepdims=True), 1), gap.shape)


def clipped_surrogate(ratio_bgs, advantage_bg, low: float, high: float, dual: float = 0.0):
    """min(ratio · A, clip(ratio, 1 − low, 1 + high) · A) at each token, f[b, g, s] (PPO).

    With dual > 1 it is not below dual · A where A < 0 (dual clip, arXiv 1912.09729, equation 8), so
    that a token that the policy has come to favour cannot dominate the gradient; 0 leaves it out.
    """
    advantage = advantage_bg[..., None]
    value = jnp.minimum(ratio_bgs * advantage, jnp.clip(ratio_bgs, 1 - low, 1 + high) * advantage)
    return jnp.where(advantage < 0, jnp.maximum(value, dual * advantage), value) if dual else value


def cispo_surrogate(logp_bgs, ratio_bgs, advantage_bg, low: float, high: float):
    """sg(clip(ratio, 1 − low, 1 + high)) · A · log π at each token, f[b, g, s].

    CISPO (arXiv 2506.13585, equations 4 and 5): the weight is clipped and takes no gradient, so
    every token keeps its own.
    """
    weight = jax.lax.stop_gradient(jnp.clip(ratio_bgs, 1 - low, 1 + high))
    return weight * advantage_bg[..., None] * logp_bgs


def is_outside(ratio_bgs, low: float, high: float):
    """Whether a ratio is below 1 − low or above 1 + high, bool[b, g, s]."""
    return (ratio_bgs < 1 - low) | (ratio_bgs > 1 + high)


def is_clipped(ratio_bgs, advantage_bg, low: float, high: float, dual: float = 0.0):
    """Whether the clip acts on a token, bool[b, g, s]: PPO's surrogate has no gradient there."""
    advantage = advantage_bg[..., None]
    falls = (ratio_bgs < 1 - low) | (ratio_bgs > dual if dual else False)
    return jnp.where(advantage > 0, ratio_bgs > 1 + high, (advantage < 0) & falls)


def sampler_ratio(scored_bgs, sampled_bgs):
    """π / π_sampled of one policy, scored and while it was decoded: f[b, g, s], no gradient.

    Bounded above it is the importance weight of a token for a sampler that rounds otherwise
    (truncated importance sampling, Yao et al. 2025, "Your efficient RL framework secretly brings
    you off-policy RL training").
    """
    return jax.lax.stop_gradient(jnp.exp(scored_bgs - sampled_bgs))


def kl_to_reference(logp_bgs, reference_bgs):
    """The k3 estimate of KL(policy ‖ reference) at each token, in nats: f[b, g, s].

    exp(d) − d − 1 with d = reference − policy (Schulman, "Approximating KL divergence").
    """
    gap = reference_bgs - logp_bgs
    return jnp.expm1(gap) - gap


def token_weights(mask_bgs, kept_bg, how: str, room: int):
    """The weight of each token, f[b, g, s], and the number that the weighted sum is divided by.

    'token': the mean over all tokens; 'sequence': the mean over each branch's tokens, then over
    branches; 'constant': the sum over tokens / (branches · room), so that long branches are not
    discounted (Dr. GRPO, arXiv 2503.20783), where `room` is the most tokens of a branch. Branches
    that are not kept count nowhere, neither in the sum nor in its divisor.
    """
    weight = (mask_bgs & kept_bg[..., None]).astype(jnp.float32)
    branches = jnp.maximum(kept_bg.sum(), 1).astype(jnp.float32)
    if how == 'token':
        return weight, jnp.maximum(weight.sum(), 1)
    if how == 'sequence':
        return weight / jnp.maximum(weight.sum(-1, keepdims=True), 1), branches
    return weight, branches * room


def weighted_sum(x_bgs, weight_bgs):
    """The sum of weight · value over all tokens; a value of weight 0 may be anything, NaN too."""
    return (jnp.where(weight_bgs > 0, x_bgs, 0.0) * weight_bgs).sum()
