"""Drawing tokens: one from each distribution, by the inverse of its cumulative sum, with top-p."""

import jax
import jax.numpy as jnp


def nucleus(chance_v, top_p: float):
    """The fewest most probable tokens whose probabilities f[..., v] reach top_p: bool[..., v].

    The threshold is found by bisection, which needs no sort of the vocabulary; tokens tied at the
    threshold are all kept.
    """

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        enough = jnp.where(chance_v >= middle, chance_v, 0.0).sum(-1, keepdims=True) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    highest = chance_v.max(-1, keepdims=True)
    low, _ = jax.lax.fori_loop(0, 30, halve, (jnp.zeros_like(highest), highest))
    return chance_v >= low


def draw(logp_bgv, key_b, top_p: float):
    """One token a branch and its log-probability before top-p: i[b, g], f[b, g].

    Inverse-CDF sampling: one uniform number a token, from a key of its own for each branch.
    """
    g = logp_bgv.shape[1]
    chance = jnp.exp(logp_bgv)
    if top_p < 1:
        chance = jnp.where(nucleus(chance, top_p), chance, 0.0)
    branch_key = jax.vmap(lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(g)))
    uniform = jax.vmap(jax.vmap(jax.random.uniform))(branch_key(key_b))
    token = invert(chance, uniform)
    return token, jnp.take_along_axis(logp_bgv, token[..., None], -1)[..., 0]


def invert(chance_v, uniform):
    """The token i[...] at which the cumulative sum of f[..., v] exceeds uniform f[...] · the total.

    First the block of about √v tokens, then the token inside it: two short cumulative sums cost a
    tenth of one over the vocabulary.
    """
    v, lead = chance_v.shape[-1], [(0, 0)] * (chance_v.ndim - 1)
    size = 2 ** ((v.bit_length() + 1) // 2)
    block = jnp.pad(chance_v, [*lead, (0, -v % size)]).reshape(*chance_v.shape[:-1], -1, size)
    total = block.sum(-1)
    chosen, rest = exceeded(total, uniform[..., None] * total.sum(-1, keepdims=True))
    inside = jnp.take_along_axis(block, chosen[..., None], -2)[..., 0, :]
    return (chosen * size + exceeded(inside, rest)[0])[..., 0]


def exceeded(chance, target):
    """The index i[..., 1] at which the cumulative sum of f[..., v] exceeds target f[..., 1].

    With it comes the remainder: the target less the sum before that index. Rounding in float32 can
    make the sum rise at an entry of probability 0, or end a little below the target; such an entry
    is never chosen.
    """
    reached = jnp.cumsum(chance, -1)
    highest = jnp.where(chance > 0, reached, 0.0).max(-1, keepdims=True)
    target = jnp.minimum(target, highest * (1 - 1e-6))
    index = jnp.argmax((reached > target) & (chance > 0), -1, keepdims=True)
    return index, target - jnp.take_along_axis(reached - chance, index, -1)
