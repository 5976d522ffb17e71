"""The door to attention: each call takes the kind that `model.attention` names.

`plain` holds all scores of a layer. `blocks` holds those of a pair of blocks, in plain XLA.
`splash` is a kernel for TPUs, `fused` one for GPUs. `auto` takes `plain` while the scores are
small, and otherwise `splash` on TPUs and `blocks` elsewhere: on GPUs too, where `fused` has the
slower gradient (docs/PODS.md). All kinds give the same values and gradients. Decoding has one query
a branch, so its scores are small and it is always plain.
"""

import importlib
import math

import jax.numpy as jnp
import numpy as np

from mer_jax.group import Keys
from mer_jax.models import attention_blocks, attention_plain
from mer_jax.models.attention_plain import by_head, by_head_of_branches
from mer_jax.sharding import platform_in_use, share_of_batch, share_of_heads

LINEAR = 'blocks', 'splash', 'fused'  # in memory, by tokens
PLATFORMS = {'splash': 'tpu', 'fused': 'gpu'}  # that a kind needs
KINDS = ('auto', 'plain', *LINEAR)
LARGEST_SCORES = 256 * 2**20  # bytes of a layer's float32 scores on a device, under `auto`,
LARGEST_SCORES_ON_GPU = 2 * 2**30  # where plain is the faster one: 6.7 ms, blocks 9.0 (PODS.md)


def attend_prompts(attention: str, query_btnh, key_btkh, value_btkh, mask_bt):
    """Causal attention f[b, t, n, h] over the valid tokens of prompts."""
    b, t, n, _ = query_btnh.shape
    kind = chosen_kind(attention, b, n, t * t)
    if kind == 'plain':
        mask_btu = (jnp.arange(t)[:, None] >= jnp.arange(t)) & mask_bt[:, None]
        return attention_plain.attend_before(query_btnh, key_btkh, value_btkh, mask_btu)
    return linear(kind).attend_before(query_btnh, key_btkh, value_btkh, mask_bt)


def attend_branches(attention: str, query_bgsnh, prompt: Keys, mask_bt, key_bgskh, value_bgskh):
    """Attention f[b, g, s, n, h] of branches to [the prompt's keys | their own up to each token].

    `prompt` holds the keys of one layer, f[b, t, k, h].
    """
    b, g, s, n, _ = query_bgsnh.shape
    kind = chosen_kind(attention, b, n, g * s * (mask_bt.shape[1] + s))
    if kind == 'plain':
        own, causal = by_head_of_branches(key_bgskh, value_bgskh), np.tri(s, dtype=bool)
        return attention_plain.attend_shared(query_bgsnh, by_head(prompt), mask_bt, own, causal)
    return linear(kind).attend_shared(query_bgsnh, prompt, mask_bt, key_bgskh, value_bgskh)


def linear(kind: str):
    """The module of a kind whose memory is linear, imported where it is needed: Pallas is large."""
    return importlib.import_module(f'mer_jax.models.attention_{kind}')


def attend_within(attention: str, query, key, value, mask, block: int):
    """Attention f[..., t, n, h] of tokens to the valid tokens of their own block of `block` tokens.

    query, key and value are f[..., t, n, h], mask bool[..., t]; the first axis is the batch. There
    are no kernels for it: it is plain or in blocks.
    """
    b, *rows, t, n, h = query.shape
    asked = 'auto' if attention in PLATFORMS else attention
    kind = chosen_kind(asked, b, n, math.prod(rows) * t * block)
    if kind == 'plain' or block <= min(attention_blocks.KEY_BLOCKS):  # nothing to cut
        return attention_plain.attend_within(query, key, value, mask, block)
    whole = [x.reshape(-1, block, n, h) for x in (query, key, value)]
    return attention_blocks.attend_within(*whole, mask.reshape(-1, block)).reshape(query.shape)


def decodes_exactly(attention: str, mask_bt, g: int, s: int, n: int) -> bool:
    """Whether decoding keeps float32 weights of values, as the scoring of its branches does.

    Splash does not round them to the dtype of the values; all other kinds do. Log-probabilities of
    decoding and scoring would else differ by 0.04 nats in place of 0.0004 (experiments/drift.py).
    """
    b, t = mask_bt.shape
    return chosen_kind(attention, b, n, g * s * (t + s)) == 'splash'


def chosen_kind(attention: str, b: int, n: int, pairs: int) -> str:
    """The kind of attention of b rows and n heads, with so many pairs (query, key) in each.

    The mesh in use says which share of rows and heads a device has.
    """
    if attention != 'auto':
        return attention
    scores = 4 * share_of_batch(b) * share_of_heads(n) * pairs
    platform = platform_in_use()
    most = LARGEST_SCORES_ON_GPU if platform == 'gpu' else LARGEST_SCORES
    if scores <= most:
        return 'plain'
    return 'splash' if platform == 'tpu' else 'blocks'
