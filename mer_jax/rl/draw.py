"""Drawing tokens: one from each distribution, by the inverse of its cumulative sum, with top-p."""

import jax
import jax.numpy as jnp

from mer_jax.sharding import pin_decoding, vocabulary_shards


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

    Inverse-CDF sampling: one uniform number a token, from a key of its own for each branch. Where
    devices share the vocabulary, each draws from its part, and only sums and tokens travel.
    """
    g, v = logp_bgv.shape[1:]
    chance = jnp.exp(logp_bgv)
    if top_p < 1:
        chance = jnp.where(nucleus(chance, top_p), chance, 0.0)
    branch_key = jax.vmap(lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(g)))
    uniform = jax.vmap(jax.vmap(jax.random.uniform))(branch_key(key_b))
    uniform = pin_decoding(uniform, 'batch')
    parts = vocabulary_shards(v)
    if parts == 1:
        token = invert(chance, uniform)
        return token, jnp.take_along_axis(logp_bgv, token[..., None], -1)[..., 0]
    token = invert_parts(chance, uniform, parts)
    logp = jnp.where(jnp.arange(v) == token[..., None], logp_bgv, 0.0).sum(-1)
    return token, logp


def invert_parts(chance_bgv, uniform_bg, parts: int):
    """`invert`, i[b, g], where devices share the vocabulary: first the part, then the token in it.

    Every device inverts the part that it holds, and the token of the chosen one is taken.
    """
    b, g, v = chance_bgv.shape
    part = chance_bgv.reshape(b, g, parts, v // parts)
    part = pin_decoding(part, 'batch', None, 'vocab')
    total = pin_decoding(part.sum(-1), 'batch')
    chosen, rest = exceeded(total, uniform_bg[..., None] * total.sum(-1, keepdims=True))
    token = token_at(*blocks(part), jnp.broadcast_to(rest[..., None], (b, g, parts, 1)))
    here = jnp.arange(parts) == chosen
    return jnp.where(here, token + jnp.arange(parts) * (v // parts), 0).sum(-1)


def invert(chance_v, uniform):
    """The token i[...] at which the cumulative sum of f[..., v] exceeds uniform f[...] · the total.

    First the block of about √v tokens, then the token inside it: two short cumulative sums cost a
    tenth of one over the vocabulary.
    """
    block, total = blocks(chance_v)
    return token_at(block, total, uniform[..., None] * total.sum(-1, keepdims=True))


def blocks(chance_v):
    """Probabilities in blocks f[..., blocks, size], and the sum of each block f[..., blocks]."""
    v, lead = chance_v.shape[-1], [(0, 0)] * (chance_v.ndim - 1)
    size = 2 ** ((v.bit_length() + 1) // 2)
    block = jnp.pad(chance_v, [*lead, (0, -v % size)]).reshape(*chance_v.shape[:-1], -1, size)
    return block, block.sum(-1)


def token_at(block, total, target):
    """The token i[...] in blocks at which the cumulative sum exceeds target f[..., 1]."""
    chosen, rest = exceeded(total, target)
    inside = jnp.take_along_axis(block, chosen[..., None], -2)[..., 0, :]
    return (chosen * block.shape[-1] + exceeded(inside, rest)[0])[..., 0]


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
