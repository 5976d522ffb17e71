"""Attention of the decoder and of the towers, in plain XLA; softmax in float32."""

import jax
import jax.numpy as jnp
from flax import struct

from mer_jax.group import Array, Keys
from mer_jax.models.layers import narrowed

MASKED = -1e30  # finite: a row without any key gives a mean, not NaN
LOG_2 = 0.6931472
SHORTEST_PIECE = 128  # prompt tokens whose attention is computed at a time


@struct.dataclass
class KeysByHead:
    """Keys with the head before the tokens: the order in which attention multiplies them."""

    k: Array  # f[l, b, k, t, h] of a prompt, f[l, b, k, g, s, h] of branches; of one layer no l
    v: Array


def by_head(keys: Keys) -> KeysByHead:
    """The keys of prompts with the head first; transpose once, then attend many times."""
    return KeysByHead(k=keys.k.swapaxes(-3, -2), v=keys.v.swapaxes(-3, -2))


def by_head_of_branches(key_bgskh, value_bgskh) -> KeysByHead:
    """The keys of branches in one layer with the head first."""
    return KeysByHead(k=key_bgskh.transpose(0, 3, 1, 2, 4), v=value_bgskh.transpose(0, 3, 1, 2, 4))


def empty_branches(keys: KeysByHead, g: int, s: int) -> KeysByHead:
    """Zeros in place of the keys of g branches of s tokens behind each prompt, in all layers."""
    layers, b, k, _, h = keys.k.shape
    own = jnp.zeros((layers, b, k, g, s, h), keys.k.dtype)
    return KeysByHead(k=own, v=own)


@jax.custom_vjp
def scores(query, key):
    """Scores f[..., m, t] in float32 of queries f[..., m, h] with keys f[..., t, h].

    Its gradients, like those of `mix`, are written by hand for the reason given in
    `layers.product`: the scores are wide, queries and keys narrow.
    """
    return jnp.einsum('...mh,...th->...mt', query, key, preferred_element_type=jnp.float32)


def _scores_forward(query, key):
    return scores(query, key), (query, key)


def _scores_backward(kept, ds):
    query, key = kept
    ds = ds.astype(query.dtype)
    by_key = jnp.einsum('...mh,...mt->...ht', query, ds)
    return jnp.einsum('...mt,...th->...mh', ds, key), by_key.swapaxes(-1, -2)


scores.defvjp(_scores_forward, _scores_backward)


@jax.custom_vjp
def mix(chance, value):
    """Sums f[..., m, h] in float32 of values f[..., t, h], weighted by f[..., m, t]."""
    return jnp.einsum('...mt,...th->...mh', chance, value, preferred_element_type=jnp.float32)


def _mix_forward(chance, value):
    return mix(chance, value), (chance, value)


def _mix_backward(kept, dy):
    chance, value = kept
    dy = dy.astype(value.dtype)
    by_value = jnp.einsum('...mh,...mt->...ht', dy, chance)
    return jnp.einsum('...mh,...th->...mt', dy, value), by_value.swapaxes(-1, -2)


mix.defvjp(_mix_forward, _mix_backward)


def raised(highest, dtype):
    """The largest scores of queries, raised to a multiple of log 2 unless `dtype` is float32.

    Weights e^(score − multiple) round to bfloat16 alike for every multiple, since they differ by a
    power of two. So they round alike relative to the largest score of some blocks of keys and to
    that of all keys.
    """
    if dtype == jnp.float32:
        return highest
    return jnp.where(highest > MASKED / 2, jnp.ceil(highest / LOG_2) * LOG_2, highest)


def attend_shared(
    query_bgsnh, prompt: KeysByHead, mask_bt, own: KeysByHead, mask_su, exact: bool = False
):
    """Attention f[b, g, s, n, h] of branches to [the prompt's keys | their own], in one softmax.

    `prompt` and `own` are the keys of one layer, own with u slots a branch. All branches read the
    prompt's keys in one matrix product for each key head; the keys are not copied. The weights of
    the values are rounded to the dtype of the queries, unless they are to be `exact`.
    """
    b, g, s, n, h = query_bgsnh.shape
    k = prompt.k.shape[1]
    # Transpose the queries, which are narrow, so that the scores stay in place.
    query = (query_bgsnh * h**-0.5).reshape(b, g, s, k, n // k, h).transpose(0, 3, 1, 2, 4, 5)
    sizes = b, k, g, s, n // k, -1
    by_prompt, by_branch = query.reshape(b, k, -1, h), query.reshape(b, k, g, -1, h)
    shared = scores(by_prompt, prompt.k)
    shared = jnp.where(mask_bt[:, None, None], shared, MASKED).reshape(sizes)
    alone = scores(by_branch, own.k).reshape(sizes)
    alone = jnp.where(mask_su[:, None], alone, MASKED)
    highest = jnp.maximum(shared.max(-1, keepdims=True), alone.max(-1, keepdims=True))
    highest = jax.lax.stop_gradient(raised(highest, query.dtype))
    shared, alone = jnp.exp(shared - highest), jnp.exp(alone - highest)
    total = shared.sum(-1, keepdims=True) + alone.sum(-1, keepdims=True)
    if not exact:
        shared, alone = narrowed(shared, query.dtype), narrowed(alone, query.dtype)
    mixed = mix(shared.reshape(*by_prompt.shape[:3], -1), prompt.v).reshape(sizes)
    mixed += mix(alone.reshape(*by_branch.shape[:4], -1), own.v).reshape(sizes)
    mixed = narrowed(mixed / total, query.dtype)
    return mixed.transpose(0, 2, 3, 1, 4, 5).reshape(b, g, s, n, h)


def attend_before(query_btnh, key_btkh, value_btkh, mask_btu):
    """Causal masked attention f[b, t, n, h] over the prompt; mask_btu allows no later token.

    A long prompt is computed in up to four pieces, each over the keys up to its own end. This
    skips three quarters of the scores that the mask would remove.
    """
    mixed = [
        attend_masked(
            query_btnh[:, first:end],
            key_btkh[:, :end],
            value_btkh[:, :end],
            mask_btu[:, first:end, :end],
        )
        for first, end in pieces(query_btnh.shape[1])
    ]
    return mixed[0] if len(mixed) == 1 else jnp.concatenate(mixed, 1)


def pieces(t: int) -> list[tuple[int, int]]:
    """(first, end) of the pieces of t tokens: quarters, or SHORTEST_PIECE if that is longer."""
    size = max(SHORTEST_PIECE, -(-t // 4))
    return [(first, min(first + size, t)) for first in range(0, t, size)]


def attend_masked(query_btnh, key_bukh, value_bukh, mask_btu):
    """Attention f[b, t, n, h] of tokens t to the tokens u that bool[b, t, u] allows."""
    b, t, n, h = query_btnh.shape
    k = key_bukh.shape[2]
    query = (query_btnh * h**-0.5).reshape(b, t, k, n // k, h).transpose(0, 2, 1, 3, 4)
    query = query.reshape(b, k, -1, h)
    score = scores(query, key_bukh.swapaxes(1, 2)).reshape(b, k, t, n // k, -1)
    score = jnp.where(mask_btu[:, None, :, None], score, MASKED)
    highest = raised(score.max(-1, keepdims=True), query.dtype)
    chance = jnp.exp(score - jax.lax.stop_gradient(highest))
    total = chance.sum(-1, keepdims=True)
    chance = narrowed(chance, query.dtype).reshape(b, k, t * (n // k), -1)
    mixed = mix(chance, value_bukh.swapaxes(1, 2)).reshape(b, k, t, n // k, h)
    mixed = narrowed(mixed / total, query.dtype)
    return mixed.transpose(0, 2, 1, 3, 4).reshape(b, t, n, h)


def attend_within(query, key, value, mask, block: int):
    """Attention f[..., t, n, h] of tokens to the valid tokens of their own block of `block` tokens.

    query, key and value are f[..., t, n, h], mask bool[..., t]. A block without any valid token
    gives a mean, not NaN.
    """
    blocks = (-1, block, *query.shape[-2:])
    mixed = jax.nn.dot_product_attention(
        query.reshape(blocks),
        key.reshape(blocks),
        value.reshape(blocks),
        mask=mask.reshape(-1, 1, 1, block),
    )
    return mixed.reshape(query.shape)
