"""Attention by cuDNN's fused kernel on a GPU, of each branch over its own [prompt | branch].

The kernel's log-sum-exp has no gradient, so that two parts cannot be merged behind it: the prompt's
keys are copied for each branch. On other platforms XLA's own attention takes the place of the
kernel, with the same arguments, for tests. The kernel itself has not been run: no GPU was at hand.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.group import Keys
from mer_jax.sharding import platform_in_use


def attend_before(query_btnh, key_btkh, value_btkh, mask_bt):
    """Causal attention f[b, t, n, h] over the valid tokens of prompts."""
    t = query_btnh.shape[1]
    allowed = np.tri(t, dtype=bool) & mask_bt[:, None]
    return _attend(query_btnh, key_btkh, value_btkh, allowed)


def attend_shared(query_bgsnh, prompt: Keys, mask_bt, key_bgskh, value_bgskh):
    """Attention f[b, g, s, n, h] of branches to [the prompt's keys | their own up to each token].

    `prompt` holds the keys of one layer, f[b, t, k, h].
    """
    b, g, s, n, h = query_bgsnh.shape

    def joined(shared_btkh, own_bgskh):
        copied = jnp.broadcast_to(shared_btkh[:, None], (b, g, *shared_btkh.shape[1:]))
        both = jnp.concatenate([copied, own_bgskh], 2)
        return both.reshape(b * g, *both.shape[2:])

    shared = jnp.broadcast_to(mask_bt[:, None, None], (b, g, s, mask_bt.shape[1]))
    own = jnp.broadcast_to(np.tri(s, dtype=bool), (b, g, s, s))
    allowed = jnp.concatenate([shared, own], -1).reshape(b * g, s, -1)
    query = query_bgsnh.reshape(b * g, s, n, h)
    keys = joined(prompt.k, key_bgskh), joined(prompt.v, value_bgskh)
    return _attend(query, *keys, allowed).reshape(query_bgsnh.shape)


def _attend(query_btnh, key_bukh, value_bukh, allowed_btu):
    """Attention f[b, t, n, h] of tokens t to the tokens u that bool[b, t, u] allows.

    The kernel takes even numbers of tokens alone, so that odd ones are padded.
    """
    t, u = allowed_btu.shape[1:]
    query, key, value = map(_even, (query_btnh, key_bukh, value_bukh))
    allowed = jnp.pad(allowed_btu, ((0, 0), (0, t % 2), (0, u % 2)))
    kernel = 'cudnn' if platform_in_use() == 'gpu' else 'xla'
    mixed = jax.nn.dot_product_attention(
        query, key, value, mask=allowed[:, None], implementation=kernel
    )
    return mixed[:, :t]


def _even(x_bt):
    """x with an even number of tokens."""
    return jnp.pad(x_bt, [(0, 0), (0, x_bt.shape[1] % 2)] + [(0, 0)] * (x_bt.ndim - 2))
