"""Rounding inside a block of probabilities, and the rest of branches that ended early."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import tiny
from tiny_rl import END, SAMPLING, rolled_out

from mer_jax.rl.draw import exceeded


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
