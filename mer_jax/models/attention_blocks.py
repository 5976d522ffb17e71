"""Attention in blocks of queries and keys with an online softmax, in plain XLA.

Memory is linear in tokens: scores exist for one pair of blocks at a time, and the backward pass
computes them again from the output and the log-sum-exp of each query. Pairs of blocks in which
causality allows no key are left out. A query without any key gives zeros.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.group import Keys
from mer_jax.models.attention_plain import MASKED, by_head, by_head_of_branches, raised
from mer_jax.models.layers import narrowed
from mer_jax.sharding import pin, share_of_batch, share_of_heads

LARGEST_BLOCK = 64 * 2**20  # bytes of float32 scores that a device holds at a time
KEY_BLOCKS = 512, 384, 256, 128  # tokens
QUERY_BLOCKS = 512, 256, 128, 64, 32  # tokens


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The sizes of blocks; `heads` query heads share a key head."""

    heads: int
    queries: int  # tokens of a block of queries
    keys: tuple[int, ...]  # tokens of a block of keys, for each part of the keys
    causal: tuple[bool, ...]  # for each part: whether a query sees no later key


def attend_before(query_btnh, key_btkh, value_btkh, mask_bt):
    """Causal attention f[b, t, n, h] over the valid tokens of prompts."""
    return _attend_rows(query_btnh, key_btkh, value_btkh, mask_bt, causal=True)


def attend_shared(query_bgsnh, prompt: Keys, mask_bt, key_bgskh, value_bgskh):
    """Attention f[b, g, s, n, h] of branches to [the prompt's keys | their own up to each token].

    `prompt` holds the keys of one layer, f[b, t, k, h]. A block of them is read once for all
    branches.
    """
    b, g, s, _, _ = query_bgsnh.shape
    query = _by_key_head(query_bgsnh, key_bgskh.shape[3])
    prompt, own = by_head(prompt), by_head_of_branches(key_bgskh, value_bgskh)
    shared = prompt.k[:, :, None], prompt.v[:, :, None], mask_bt
    return _by_token(
        _attend(query, [shared, (own.k, own.v, jnp.ones((b, s), bool))], [False, True])
    )


def attend_within(query_btnh, key_btnh, value_btnh, mask_bt):
    """Attention f[b, t, n, h] of tokens to the valid tokens of their row."""
    return _attend_rows(query_btnh, key_btnh, value_btnh, mask_bt, causal=False)


def _attend_rows(query_btnh, key_btkh, value_btkh, mask_bt, causal: bool):
    """Attention f[b, t, n, h] of tokens to the valid tokens of their row, or to those before."""
    query = _by_key_head(query_btnh[:, None], key_btkh.shape[2])
    keys = [x.swapaxes(1, 2)[:, :, None] for x in (key_btkh, value_btkh)]
    return _by_token(_attend(query, [(*keys, mask_bt)], [causal]))[:, 0]


def _by_key_head(query_bgsnh, k: int):
    """Scaled queries f[b, k, g, s, r, h]; r query heads share a key head."""
    b, g, s, n, h = query_bgsnh.shape
    query = (query_bgsnh * h**-0.5).reshape(b, g, s, k, n // k, h)
    return query.transpose(0, 3, 1, 2, 4, 5)


def _by_token(mixed_bkgsrh):
    """f[b, g, s, n, h] of f[b, k, g, s, r, h]."""
    b, k, g, s, r, h = mixed_bkgsrh.shape
    return mixed_bkgsrh.transpose(0, 2, 3, 1, 4, 5).reshape(b, g, s, k * r, h)


def _attend(query_bkgsrh, parts, causal):
    """Attention f[b, k, g, s, r, h] to parts of keys (key, value, mask), padded to whole blocks.

    A part's keys are f[b, k, g, u, h], or f[b, k, 1, u, h] where all branches share them.
    """
    b, k, g, s, r, h = query_bkgsrh.shape
    sizes = tuple(best_block(mask.shape[1], KEY_BLOCKS) for _, _, mask in parts)
    rows = share_of_batch(b) * share_of_heads(k) * g * r  # of a device, for each token
    fitting = [n for n in QUERY_BLOCKS if 4 * n * rows * max(sizes) <= LARGEST_BLOCK]
    queries = best_block(s, tuple(fitting) or QUERY_BLOCKS[-1:])
    blocks = Blocks(r, queries, sizes, tuple(causal))
    query = _padded(query_bkgsrh, 3, queries).reshape(b, k, g, -1, h)
    parts = [
        (_padded(key, 3, size), _padded(value, 3, size), _padded(mask, 1, size))
        for (key, value, mask), size in zip(parts, sizes, strict=True)
    ]
    mixed = attend_in_blocks(blocks, query, tuple(parts))
    return mixed.reshape(b, k, g, -1, r, h)[:, :, :, :s]


def best_block(tokens: int, sizes: tuple[int, ...]) -> int:
    """The size that pads tokens least, of these the largest; all tokens if they are few."""
    if tokens <= min(sizes):
        return tokens
    return min(sizes, key=lambda size: (-(-tokens // size) * size, -size))


def _padded(x, axis: int, size: int):
    """x padded with zeros to a multiple of `size` along an axis."""
    spare = -x.shape[axis] % size
    return jnp.pad(x, [(0, spare if i == axis else 0) for i in range(x.ndim)]) if spare else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_in_blocks(blocks: Blocks, query_bkgmh, parts):
    """Attention f[b, k, g, m, h] of queries to all parts of keys in one softmax.

    Row m of the queries is the query head m % heads of token m // heads.
    """
    return _forward(blocks, query_bkgmh, parts)[0]


def _forward(blocks: Blocks, query_bkgmh, parts):
    """The attention, and what the backward pass needs."""
    highest = jnp.full(query_bkgmh.shape[:-1], MASKED)
    state = highest, jnp.zeros_like(highest), jnp.zeros(query_bkgmh.shape, jnp.float32)
    state = tuple(map(pin, state))
    for number, part in enumerate(parts):
        state = _add_part(blocks, number, query_bkgmh, part, state)
    highest, total, mixed = state
    seen = highest > MASKED / 2
    mixed = jnp.where(seen, 1 / total, 0.0)[..., None] * mixed
    mixed = pin(narrowed(mixed, query_bkgmh.dtype))
    log_sum = jnp.where(seen, highest + jnp.log(total), -MASKED)  # e^(score − log_sum) is 0
    return mixed, (query_bkgmh, parts, mixed, log_sum)


def _add_part(blocks: Blocks, number: int, query_bkgmh, part, state):
    """The state of the softmax (highest score, sum of e^score, mix) after one more part of keys."""
    rows = blocks.queries * blocks.heads

    def step(state, pair):
        i, j = pair
        key, value, allowed = _key_block(blocks, number, part, pair)
        score = _masked_scores(_beside(_block(query_bkgmh, i, rows), key), key, allowed)
        old = [_block(x, i, rows) for x in state]
        highest, total, mixed = [_beside(x, key) for x in old]
        new = jnp.maximum(highest, raised(score.max(-1), key.dtype))
        chance, shrink = jnp.exp(score - new[..., None]), jnp.exp(highest - new)
        total = total * shrink + chance.sum(-1)
        mixed = mixed * shrink[..., None] + _product('...mt,...th->...mh', chance, value)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(all_, x.reshape(before.shape), i * rows, 3)
            for all_, x, before in zip(state, (new, total, mixed), old, strict=True)
        ), None

    return jax.lax.scan(step, state, _pairs(blocks, number, query_bkgmh, part))[0]


def _backward(blocks: Blocks, kept, dy):
    """The gradients by queries, keys and values; sums over blocks are kept in float32."""
    query, parts, mixed, log_sum = kept
    common = (mixed.astype(jnp.float32) * dy.astype(jnp.float32)).sum(-1)
    d_query, d_parts = pin(jnp.zeros(query.shape, jnp.float32)), []
    for number, part in enumerate(parts):
        given = query, dy, log_sum, common
        d_query, d_key, d_value = _part_backward(blocks, number, given, part, d_query)
        d_parts.append((d_key.astype(part[0].dtype), d_value.astype(part[1].dtype), None))
    return d_query.astype(query.dtype), tuple(d_parts)


def _part_backward(blocks: Blocks, number: int, given, part, d_query):
    """The gradient by queries with that of one part added, and the gradients by its keys."""
    rows = blocks.queries * blocks.heads

    def add(total, block, at):
        before = _block(total, at, block.shape[3])
        return jax.lax.dynamic_update_slice_in_dim(total, before + block, at * block.shape[3], 3)

    def step(totals, pair):
        i, j = pair
        d_query, d_key, d_value = totals
        key, value, allowed = _key_block(blocks, number, part, pair)
        here = [_block(x, i, rows) for x in given]
        query, dy, log_sum, common = [_beside(x, key) for x in here]
        chance = jnp.exp(_masked_scores(query, key, allowed) - log_sum[..., None])
        slope = _product('...mh,...th->...mt', dy, value)
        d_score = chance * (slope - common[..., None])
        by_query = _product('...mt,...th->...mh', d_score, key).reshape(here[0].shape)
        by_key = _product('...mt,...mh->...th', d_score, query)
        by_value = _product('...mt,...mh->...th', chance, dy)
        return (add(d_query, by_query, i), add(d_key, by_key, j), add(d_value, by_value, j)), None

    zeros = pin(jnp.zeros(part[0].shape, jnp.float32))
    return jax.lax.scan(step, (d_query, zeros, zeros), _pairs(blocks, number, given[0], part))[0]


attend_in_blocks.defvjp(_forward, _backward)


def _pairs(blocks: Blocks, number: int, query_bkgmh, part):
    """The numbers (block of queries, block of keys) of all pairs in which a query may see a key."""
    queries = query_bkgmh.shape[3] // (blocks.queries * blocks.heads)
    keys = part[0].shape[3] // blocks.keys[number]
    last = (np.arange(queries) + 1) * blocks.queries - 1  # token of each block of queries
    first = np.arange(keys) * blocks.keys[number]
    seen = last[:, None] >= first if blocks.causal[number] else np.ones((queries, keys), bool)
    return tuple(x.astype(np.int32) for x in np.nonzero(seen))


def _block(x, number, size: int):
    """Block `number` of `size` rows along axis 3."""
    return jax.lax.dynamic_slice_in_dim(x, number * size, size, 3)


def _key_block(blocks: Blocks, number: int, part, pair):
    """Keys and values of a block, and the keys that each row of a block of queries may see."""
    (i, j), size = pair, blocks.keys[number]
    key, value, mask_bu = part
    allowed = jax.lax.dynamic_slice_in_dim(mask_bu, j * size, size, 1)[:, None, None, None]
    if blocks.causal[number]:
        row = i * blocks.queries + np.arange(blocks.queries * blocks.heads) // blocks.heads
        allowed &= row[:, None] >= j * size + np.arange(size)
    return _block(key, j, size), _block(value, j, size), allowed


def _beside(x, key):
    """Rows of queries f[b, k, g, m, ...] in the shape of keys: g · m rows where branches share."""
    b, k, g, m, *rest = x.shape
    return x.reshape(b, k, key.shape[2], -1, *rest)


def _masked_scores(query, key, allowed):
    """Scores f[..., m, t] in float32, MASKED where no attention is allowed."""
    return jnp.where(allowed, _product('...mh,...th->...mt', query, key), MASKED)


def _product(equation: str, one, other):
    """A product in the dtype of the narrow operand `other`, summed in float32."""
    return jnp.einsum(
        equation, narrowed(one, other.dtype), other, preferred_element_type=jnp.float32
    )
