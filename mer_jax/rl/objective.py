"""The loss of an update: clipped surrogate, KL to the reference, and how tokens are averaged."""

import jax.numpy as jnp

AGGREGATES = ('token', 'sequence', 'constant')


def clipped_surrogate(logp_bgs, sampled_bgs, advantage_bg, clip_low: float, clip_high: float):
    """min(ratio · A, clip(ratio, 1 − low, 1 + high) · A) at each token, f[b, g, s] (PPO)."""
    ratio = jnp.exp(logp_bgs - sampled_bgs)
    advantage = advantage_bg[..., None]
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)


def kl_to_reference(logp_bgs, reference_bgs):
    """The k3 estimate of KL(policy ‖ reference) at each token, in nats: f[b, g, s].

    exp(d) − d − 1 with d = reference − policy (Schulman, "Approximating KL divergence").
    """
    gap = reference_bgs - logp_bgs
    return jnp.expm1(gap) - gap


def aggregate(x_bgs, mask_bgs, how: str):
    """One number from per-token values f[b, g, s] where mask holds.

    'token': mean over all tokens of the batch; 'sequence': mean over each branch's tokens, then
    over branches; 'constant': sum over tokens / (b · g · s), so long branches are not discounted
    (Dr. GRPO, arXiv 2503.20783).
    """
    kept = jnp.where(mask_bgs, x_bgs, 0.0)
    if how == 'token':
        return kept.sum() / jnp.maximum(mask_bgs.sum(), 1)
    if how == 'sequence':
        return (kept.sum(-1) / jnp.maximum(mask_bgs.sum(-1), 1)).mean()
    return kept.sum() / mask_bgs.size
