"""Tests that need a GPU; skipped where tests run on the CPU.

    MER_JAX_TEST_PLATFORM=cuda python -m pytest tests/test_on_a_gpu.py tests/models/test_parity.py

The attention of cuDNN and of blocks against whole scores at the widths of the 7B, decoding against
scoring, and float32 products.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.drift import drift, random_policy
from mer_jax.group import Keys
from mer_jax.models.attention import attend_branches, attend_prompts
from mer_jax.sharding import exact_products, make_mesh

pytestmark = pytest.mark.skipif(
    jax.default_backend() != 'gpu', reason='needs a GPU: MER_JAX_TEST_PLATFORM=cuda pytest'
)
B, T, G, S, N, K, H = 2, 300, 3, 70, 14, 2, 128


def random(seed: int, *shape):
    """Normal numbers in bfloat16."""
    return jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)


def mask_bt():
    """A prompt padded left, and one padded right."""
    slot = np.arange(T)
    return np.stack([slot >= T // 4, slot < T - T // 3])


def of_branches(kind: str, query, key, value, own_key, own_value):
    return attend_branches(kind, query, Keys(k=key, v=value), mask_bt(), own_key, own_value)


def of_prompts(kind: str, query, key, value):
    mixed = attend_prompts(kind, query, key, value, mask_bt())
    return jnp.where(mask_bt()[..., None, None], mixed, 0)


SHAPES = {
    of_prompts: [(B, T, N, H), (B, T, K, H), (B, T, K, H)],
    of_branches: [(B, G, S, N, H), *[(B, T, K, H)] * 2, *[(B, G, S, K, H)] * 2],
}


def value_and_gradients(attend, kind: str, dtype):
    """Attention in a dtype, and the gradients of a weighed sum of it, in float32."""
    arguments = [random(i, *shape).astype(dtype) for i, shape in enumerate(SHAPES[attend])]

    def weighed(*arguments):
        mixed = attend(kind, *arguments)
        return (mixed * random(9, *mixed.shape).astype(dtype)).astype(jnp.float32).sum(), mixed

    grad = jax.value_and_grad(weighed, range(len(arguments)), has_aux=True)
    (_, mixed), gradients = jax.jit(grad)(*arguments)
    return [np.asarray(x, np.float32) for x in (mixed, *gradients)]


@functools.cache
def exact(attend):
    """Whole scores in float32."""
    return value_and_gradients(attend, 'plain', jnp.float32)


@pytest.mark.parametrize('kind', ['plain', 'blocks', 'fused'])
@pytest.mark.parametrize('attend', [of_prompts, of_branches])
def test_attention_in_bfloat16_is_that_of_whole_scores_in_float32(attend, kind):
    found = value_and_gradients(attend, kind, jnp.bfloat16)
    for mine, wanted in zip(found, exact(attend), strict=True):
        difference = np.linalg.norm(mine - wanted) / np.linalg.norm(wanted)
        assert difference < 0.01  # bfloat16 has 8 bits: 0.004 at each rounding


@pytest.mark.parametrize('attend', [of_prompts, of_branches])
def test_blocks_in_float32_are_whole_scores(attend):
    for mine, wanted in zip(
        value_and_gradients(attend, 'blocks', jnp.float32), exact(attend), strict=True
    ):
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize('kind', ['plain', 'blocks', 'fused'])
def test_scoring_is_decoding_to_a_hundredth_of_a_nat(kind):
    found = drift(random_policy(kind, layers=4), 'one')
    assert found.mean() < 0.01


def test_a_float32_model_multiplies_in_float32():
    mesh = make_mesh(1, 1, 1, jax.devices()[:1])
    x, y = (jax.random.normal(jax.random.key(i), (256, 256)) for i in range(2))
    wanted = np.asarray(x, np.float64) @ np.asarray(y, np.float64)
    with jax.default_matmul_precision(None):
        rounded = np.abs(jax.jit(jnp.matmul)(x, y) - wanted).max()
        with exact_products('float32', mesh):
            assert np.abs(jax.jit(jnp.matmul)(x, y) - wanted).max() < 1e-4 < rounded
