"""Drawing by the inverse of the cumulative sum: top-p, proportions, keys, rounding at its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mer_jax.rl.draw import draw, exceeded, invert, nucleus
from mer_jax.sharding import make_mesh, named

LARGEST = np.float32(1 - 2**-24)  # the float32 before 1
DRAW = jax.jit(draw, static_argnames='top_p')
NUCLEUS, EXCEEDED = jax.jit(nucleus), jax.jit(exceeded)
INVERT = jax.jit(invert)
INVERT_ALL = jax.jit(jax.vmap(invert, (None, 0)))


def random_keys(count):
    return jax.vmap(lambda n: jax.random.fold_in(jax.random.key(7), n))(np.arange(count))


@pytest.mark.parametrize(
    ('chance', 'top_p', 'kept'),
    [
        ([0.5, 0.3, 0.15, 0.05], 0.7, [1, 1, 0, 0]),
        ([0.5, 0.3, 0.15, 0.05], 0.5, [1, 0, 0, 0]),
        ([0.5, 0.3, 0.15, 0.05], 0.51, [1, 1, 0, 0]),
        ([0.5, 0.3, 0.15, 0.05], 0.8, [1, 1, 0, 0]),
        ([0.05, 0.15, 0.5, 0.3], 0.81, [0, 1, 1, 1]),
        ([0.5, 0.3, 0.15, 0.05], 0.01, [1, 0, 0, 0]),
        ([0.25, 0.25, 0.25, 0.25], 0.3, [1, 1, 1, 1]),  # ties are all kept
        ([0.4, 0.3, 0.3, 0.0], 0.5, [1, 1, 1, 0]),
    ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(chance, top_p, kept):
    # A little below the sums, which float32 rounds.
    assert NUCLEUS(np.float32([chance]), top_p - 1e-6).tolist() == [[bool(k) for k in kept]]


def test_each_distribution_has_its_own_nucleus():
    chance = np.float32([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.6, 0.4]]])
    kept = NUCLEUS(chance, 0.7).tolist()
    assert kept == [[[True, False], [True, True]], [[False, True], [True, True]]]


def test_tokens_are_drawn_in_proportion_to_their_probability():
    chance = np.float32([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide='ignore'):
        logp = np.broadcast_to(np.log(chance, dtype=np.float32), (500, 20, 4))
    token, drawn = DRAW(logp, random_keys(500), 1.0)
    share = np.bincount(np.asarray(token).ravel(), minlength=4) / 10_000
    np.testing.assert_allclose(share, chance, atol=0.02)
    np.testing.assert_allclose(np.exp(drawn), chance[np.asarray(token)], rtol=1e-5)


def test_top_p_limits_the_draw_and_leaves_log_probabilities_as_they_were():
    chance = np.float32([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide='ignore'):
        logp = np.broadcast_to(np.log(chance, dtype=np.float32), (500, 20, 4))
    token, drawn = DRAW(logp, random_keys(500), 0.75)
    share = np.bincount(np.asarray(token).ravel(), minlength=4) / 10_000
    np.testing.assert_allclose(share, [0.625, 0, 0.375, 0], atol=0.02)
    np.testing.assert_allclose(np.exp(drawn), chance[np.asarray(token)], rtol=1e-5)


def test_each_branch_of_each_prompt_draws_with_a_key_of_its_own():
    logp = np.full((5, 6, 1000), -np.log(1000.0), np.float32)
    token = np.asarray(DRAW(logp, random_keys(5), 1.0)[0])
    assert len(np.unique(token)) > 25  # of 30
    alone = DRAW(logp[3:4, :4], random_keys(5)[3:4], 1.0)[0]
    np.testing.assert_array_equal(alone[0], token[3, :4])


def test_a_number_picks_the_token_whose_share_holds_it():
    # 200 tokens are more than one block; every second one has no probability.
    chance = np.tile([0.0, 1 / 100], 100).astype(np.float32)
    middle = (np.arange(100, dtype=np.float32) + 0.5) / 100
    token = INVERT_ALL(chance, middle)
    np.testing.assert_array_equal(token, np.arange(1, 200, 2))


def test_a_token_without_any_chance_is_never_drawn_though_sums_round():
    rng = np.random.default_rng(0)
    v = 150_000
    chance = np.where(rng.random(v) < 0.5, 0.0, rng.random(v) / v * 4).astype(np.float32)
    sums = np.asarray(jnp.cumsum(jnp.asarray(chance)))
    rises = np.flatnonzero((chance[1:] == 0) & (np.diff(sums) > 0)) + 1
    assert rises.size  # where rounding alone moves the sum, or this shows nothing
    uniform = sums[rises - 1][:50] / sums[chance > 0].max()
    token = INVERT_ALL(chance, uniform)
    assert (chance[token] > 0).all()


@pytest.mark.parametrize('beyond', [0.0, 1e-7, 1e-3, 1.0])
def test_a_target_at_or_above_the_whole_sum_gives_the_last_possible_entry(beyond):
    chance = np.float32([[0.0, 0.25, 0.0, 0.5, 0.0], [0.5, 0.125, 0.125, 0.0, 0.0]])
    total = chance.sum(-1, keepdims=True)
    index, rest = EXCEEDED(chance, total * np.float32(1 + beyond))
    assert index.tolist() == [[3], [2]]
    # The rest lies inside the entry, where a block searches on.
    assert (0 <= rest).all() and (rest < np.array([[0.5], [0.125]])).all()


def test_the_largest_number_draws_the_last_possible_token_though_sums_end_below_it():
    """The sum of many blocks may be rounded to more than the last of their cumulative sums."""
    v, size, last = 20_000, 256, 15_000
    chance = np.random.default_rng(0).exponential(size=(60, v)).astype(np.float32) / v
    chance[:, 0] = 0.0
    chance[:, last] = 0.01  # enough to hold the end of the sum however it is rounded
    chance[:, last + 1 :] = 0.0  # the rest of a block, and whole blocks
    block = jnp.asarray(np.pad(chance, ((0, 0), (0, -v % size))).reshape(60, -1, size)).sum(-1)
    assert (LARGEST * block.sum(-1) >= jnp.cumsum(block, -1)[:, -1]).any()
    token = INVERT(chance, np.full(60, LARGEST))
    np.testing.assert_array_equal(token, np.full(60, last))


def test_where_rounding_alone_lifts_a_sum_the_next_possible_entry_is_chosen():
    chance = np.random.default_rng(0).dirichlet(np.full(512, 0.3), 200).astype(np.float32)
    chance[np.random.default_rng(1).random(chance.shape) < 0.4] = 0
    sums = np.asarray(jnp.cumsum(jnp.asarray(chance), -1))
    row, rise = np.nonzero((np.diff(sums) > 0) & (chance[:, 1:] == 0))
    assert row.size > 10  # entries without any chance at which the sum rises
    index, rest = EXCEEDED(chance[row], sums[row, rise, None])
    assert (chance[row, index[:, 0]] > 0).all() and (index[:, 0] > rise).all()
    np.testing.assert_allclose(rest, 0, atol=1e-6)


@pytest.mark.parametrize('top_p', [1.0, 0.8])
@pytest.mark.parametrize(
    'axes', [*(pytest.param(n, marks=pytest.mark.slow) for n in ((2, 2, 2), (1, 8, 1))), (1, 2, 4)]
)
def test_devices_that_share_the_vocabulary_draw_the_tokens_of_one(axes, top_p):
    rng, keys = np.random.default_rng(0), random_keys(64)
    logp = jax.nn.log_softmax(rng.normal(0, 3, (64, 4, 320)).astype(np.float32))
    logp = np.where(np.arange(320) < 250, logp, -np.inf)  # the last devices hold no token
    token, drawn = DRAW(logp, keys, top_p)
    mesh = make_mesh(*axes)
    with jax.set_mesh(mesh):
        placed = jax.device_put(logp, named(mesh, None, None, 'vocab'))
        program = jax.jit(draw, static_argnames='top_p')
        found, drawn_8 = program(placed, keys, top_p)
    np.testing.assert_array_equal(found, token)
    np.testing.assert_array_equal(drawn_8, drawn)
