"""Plain attention against a softmax written out, and in pieces against in one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mer_jax.group import Keys
from mer_jax.models.attention_plain import (
    attend_before,
    attend_masked,
    attend_shared,
    by_head,
    by_head_of_branches,
    pieces,
    scores,
)


@pytest.mark.parametrize(
    ('t', 'ends'),
    [
        (5, [(0, 5)]),
        (128, [(0, 128)]),
        (300, [(0, 128), (128, 256), (256, 300)]),
        (600, [(0, 150), (150, 300), (300, 450), (450, 600)]),
    ],
)
def test_attention_in_pieces_equals_attention_in_one(t, ends):
    assert pieces(t) == ends
    keys = jax.random.split(jax.random.key(t), 4)
    query, against = (jax.random.normal(key, (2, t, 4, 8)) for key in keys[:2])
    key, value = (jax.random.normal(key, (2, t, 2, 8)) for key in keys[2:])
    real_bt = np.arange(t) >= np.array([[0], [t // 3]])  # the second is padded on the left
    mask = np.tri(t, dtype=bool) & real_bt[:, None]

    def value_and_gradients(attend):
        def weighed(query, key, value):
            return (attend(query, key, value, mask) * against * real_bt[:, :, None, None]).sum()

        return jax.jit(jax.value_and_grad(weighed, argnums=(0, 1, 2)))(query, key, value)

    for one, other in zip(
        *map(jax.tree.leaves, map(value_and_gradients, (attend_before, attend_masked))),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def written_out(query_bgsnh, prompt: Keys, mask_bt, own: Keys, mask_su):
    """Attention of branches by one softmax over [prompt | own] keys, copied for every head."""
    n, g = query_bgsnh.shape[3], query_bgsnh.shape[1]
    copied = [jnp.repeat(x, n // x.shape[-2], -2) for x in (prompt.k, prompt.v, own.k, own.v)]
    shared_k, shared_v, own_k, own_v = copied
    by_prompt = jnp.einsum('bgsnh,btnh->bgnst', query_bgsnh, shared_k)
    alone = jnp.einsum('bgsnh,bgunh->bgnsu', query_bgsnh, own_k)
    allowed = jnp.broadcast_to(mask_bt[:, None, None, None], by_prompt.shape)
    allowed = jnp.concatenate([allowed, jnp.broadcast_to(mask_su, alone.shape)], -1)
    score = jnp.concatenate([by_prompt, alone], -1) / np.sqrt(query_bgsnh.shape[-1])
    chance = jax.nn.softmax(jnp.where(allowed, score, -jnp.inf))
    shared_v = jnp.repeat(shared_v[:, None], g, 1)
    return jnp.einsum('bgnst,bgtnh->bgsnh', chance, jnp.concatenate([shared_v, own_v], 2))


def test_branches_attend_to_what_the_masks_allow_with_the_gradients_of_a_softmax():
    b, g, s, t, n, k, h = 2, 3, 4, 5, 6, 2, 8
    rng = np.random.default_rng(0)
    sizes = (g, s, n), (t, k), (t, k), (g, s, k), (g, s, k)
    draw = [rng.normal(size=(b, *size, h)).astype(np.float32) for size in sizes]
    against = rng.normal(size=(b, g, s, n, h)).astype(np.float32)
    mask_bt, mask_su = np.arange(t) >= np.array([[0], [2]]), np.tri(s, dtype=bool)

    def plain(query, key, value, own_key, own_value):
        prompt = by_head(Keys(k=key, v=value))
        own = by_head_of_branches(own_key, own_value)
        return attend_shared(query, prompt, mask_bt, own, mask_su)

    def by_hand(query, key, value, own_key, own_value):
        prompt, own = Keys(k=key, v=value), Keys(k=own_key, v=own_value)
        return written_out(query, prompt, mask_bt, own, mask_su)

    def value_and_gradients(attend):
        def weighed(*arrays):
            return (attend(*arrays) * against).sum()

        return attend(*draw), *jax.grad(weighed, range(5))(*draw)

    for ours, wanted in zip(*map(value_and_gradients, (plain, by_hand)), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


def test_scores_of_bfloat16_are_summed_and_kept_in_float32():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(3, 5, 64)), jnp.bfloat16) for _ in range(2))
    found = scores(query, key)
    wanted = np.asarray(query, np.float64) @ np.asarray(key, np.float64).swapaxes(1, 2)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
