"""Branches in rows without their padding, for all that layers compute a token at a time.

A row holds the tokens of the branches of its prompts one after the other (`group.Packing`), so
products, norms and vocabulary logits skip the padding behind short branches. For attention alone
the tokens go back to their branches. Both ways gather, and so do their gradients, for each is the
transpose of the other.
"""

import jax
import jax.numpy as jnp

from mer_jax.group import Array, Packing
from mer_jax.sharding import pin_heads, pin_whole


def to_rows(x, packing: Packing | None):
    """Entries [r, c, ...] of rows, 0 where spare, of x [b, g, s, ...]; x itself without packing."""
    if packing is None:
        return x
    return _taken(_of_rows(x, packing), packing.token, _of_rows(packing.entry, packing))


def to_branches(x, packing: Packing | None):
    """Tokens [b, g, s, ...], 0 where in no row, of x [r, c, ...]; x itself without packing."""
    if packing is None:
        return x
    taken = _taken(x, _of_rows(packing.entry, packing), packing.token)
    return taken.reshape(*packing.entry.shape, *x.shape[2:])


def _of_rows(x, packing: Packing):
    """x [b, g, s, ...] with one axis for all tokens of the prompts of a row, [r, kgs, ...]."""
    return x.reshape(len(packing.token), -1, *x.shape[3:])


@jax.custom_vjp
def _taken(x, index: Array, back: Array):
    """x [r, m, ...] at index i[r, n], 0 where that is −1; index and `back` i[r, m] are inverse.

    The third of four axes counts heads, of which each device has its share.
    """
    del back
    pin = pin_heads if x.ndim == 4 else pin_whole
    found = jax.vmap(lambda row, at: jnp.take(row, at, axis=0, mode='clip'))(pin(x), index)
    held = (index >= 0).reshape(*index.shape, *[1] * (x.ndim - 2))
    return pin(jnp.where(held, found, jnp.zeros((), x.dtype)))


def _forward(x, index, back):
    return _taken(x, index, back), (index, back)


def _backward(kept, gradient):
    index, back = kept
    return _taken(gradient, back, index), None, None


_taken.defvjp(_forward, _backward)
