"""Sums that round, branches that ended early, and features of frozen or trained towers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny_rl import END, PROMPTS, SAMPLING, random_branches, rolled_out, scored

from mer_jax.group import Branches, Rollout
from mer_jax.rl.draw import exceeded
from mer_jax.rl.optimizer import trained_part
from mer_jax.rl.step import Learn, score_reference, summed_gradient


def test_where_rounding_alone_lifts_a_sum_the_next_possible_entry_is_chosen():
    chance = np.random.default_rng(0).dirichlet(np.full(512, 0.3), 200).astype(np.float32)
    chance[np.random.default_rng(1).random(chance.shape) < 0.4] = 0
    sums = np.asarray(jnp.cumsum(jnp.asarray(chance), -1))
    row, rise = np.nonzero((np.diff(sums) > 0) & (chance[:, 1:] == 0))
    assert row.size > 10  # entries without any chance at which the sum rises
    index, rest = exceeded(jnp.asarray(chance[row]), jnp.asarray(sums[row, rise, None]))
    assert (chance[row, index[:, 0]] > 0).all() and (index[:, 0] > rise).all()
    np.testing.assert_allclose(rest, 0, atol=1e-6)


def test_branches_that_ended_early_are_filled_with_the_end_token():
    everything_but_end = tuple(set(range(64)) - {END})
    sampling = dataclasses.replace(SAMPLING, tokens=30, banned=everything_but_end)
    grown = rolled_out(tiny.policy(), sampling=sampling).branches
    assert (np.asarray(grown.token)[:, :, 3:] == END).all()


def test_the_gradients_of_pieces_are_summed_in_float32():
    pieces = jnp.array([1.0] + [2.0**-9] * 15)  # 1 + 2^-9 is 1 in bfloat16

    def loss_of(weight, piece):
        return weight.astype(jnp.float32) * piece, {'loss': piece}

    gradient, sums = summed_gradient(loss_of, jnp.bfloat16(1), pieces, 16)
    assert gradient == sums['loss'] == 1 + 15 * 2**-9


@pytest.mark.parametrize('part', ['decoder', 'all'])
def test_the_reference_sees_the_features_of_the_rollout_where_towers_are_frozen(part):
    policy, token = tiny.policy(), random_branches()
    of_rollout, of_media = np.random.default_rng(0).normal(size=(2, 8, 3, 32)).astype(np.float32)
    place = np.where(PROMPTS.mask, np.arange(6) % 3, -1)

    def prompts(feature):
        return PROMPTS.replace(media=PROMPTS.media.replace(place=place, feature=feature))

    mask = np.ones(token.shape, bool)
    rollout = Rollout(Branches(token, mask, mask, None), features=of_rollout, keys=None)
    score = functools.partial(score_reference, learn=Learn(train=part), sampling=SAMPLING)
    found = jax.jit(score)(trained_part(policy, part), policy, prompts(of_media), rollout)
    seen, unseen = (of_rollout, of_media) if part == 'decoder' else (of_media, of_rollout)
    np.testing.assert_allclose(found, scored(policy, prompts(seen), token), atol=1e-5)
    assert np.abs(found - scored(policy, prompts(unseen), token)).max() > 1e-3
