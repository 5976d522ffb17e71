"""Decoding in a plan: the bytes of a token by hand, and the loop over tokens alone."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_decoding import decoding_of, token_bytes
from mer_jax.run.topology import Chip

TOKENS = 7


def test_a_token_reads_weights_and_keys_once_for_all_branches():
    decoder = tiny.policy().decoder
    spec = decoder.spec
    size = sum(leaf.size for leaf in jax.tree.leaves(decoder))
    weights = size - spec.vocab_size * spec.hidden_size  # without the embeddings
    width = 2 * spec.num_hidden_layers * spec.num_key_value_heads * spec.head_dim
    keys = 4 * (20 + 3 * 10 // 2) * width
    sizes = dict(b=4, g=3, t=20, s=10, chips=8, dtype='bfloat16')
    assert token_bytes(decoder, **sizes) == pytest.approx(2 * (weights + keys) / 8)
    in_pieces = token_bytes(decoder, **sizes, pieces=2)
    assert in_pieces == pytest.approx(2 * (2 * weights + keys) / 8)


@pytest.mark.parametrize('pieces', [1, 3])
def test_the_work_of_decoding_is_that_of_the_loop_over_tokens(pieces):
    def rolled(x, w):
        x = x @ w  # before the loop
        unfinished = lambda state: (state[0] < TOKENS) & (state[1][0, 0] < 1e9)  # noqa: E731
        step = lambda state: (state[0] + 1, state[1] @ w)  # noqa: E731
        return jax.lax.while_loop(unfinished, step, (0, x))[1]

    def rolled_in_pieces(x, w):
        return jax.lax.map(lambda x: rolled(x, w), x)

    program, x = (
        (rolled, jnp.ones((2, 8))) if pieces == 1 else (rolled_in_pieces, jnp.ones((pieces, 2, 8)))
    )
    text = jax.jit(program).lower(x, jnp.ones((8, 8))).compile().as_text()
    module = read_module(text)
    runs = module.runs(TOKENS)
    found = decoding_of(module, runs, TOKENS, token_bytes=50.0, chips=1)
    chip = Chip(hbm=1, flops=2.0, memory=10.0, links=1.0)
    assert found.cost.flops == pieces * TOKENS * 2 * 2 * 8 * 8
    assert found.limit(chip) == TOKENS * 5.0
    assert found.seconds(chip) == max(found.cost.seconds(chip).values()) > 0
