"""Attention in pieces against attention in one."""

import jax
import numpy as np
import pytest

from mer_jax.models.attention_plain import attend_before, attend_masked, pieces


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
