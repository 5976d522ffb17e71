"""Growing branches: forced, sampled and recorded tokens, ends, and independence of the batch."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from tiny_rl import BANNED, END, OPENING, PROMPTS, SAMPLING, B, rolled_out, scored, whole

from mer_jax.rl import step as rl

# High temperature, so that branches end at many lengths.
LONG = dataclasses.replace(
    SAMPLING, tokens=40, temperature=3.0, top_p=0.8, banned=tuple(range(20, 63))
)


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


@pytest.fixture(scope='module')
def branches(policy):
    return jax.device_get(rolled_out(policy).branches)


@pytest.fixture(scope='module')
def long(policy):
    return jax.device_get(rolled_out(policy, sampling=LONG).branches)


def logp_of(watched_bgsv, token_bgs):
    """The log-probability of each token in the distribution recorded with it."""
    return np.take_along_axis(watched_bgsv, token_bgs[..., None], -1)[..., 0]


@pytest.mark.parametrize('name', ['branches', 'long'])
def test_a_sampled_token_scores_as_it_was_sampled_with_or_without_top_p(policy, request, name):
    grown = request.getfixturevalue(name)
    sampling = {'branches': SAMPLING, 'long': LONG}[name]
    again = np.asarray(scored(policy, PROMPTS, grown.token, sampling=sampling))
    assert np.abs(grown.logp - again)[grown.mask].max() < 1e-5
    assert (grown.logp[~grown.mask] == 0).all()
    assert grown.mask.sum() > 100


def test_the_record_of_a_token_is_the_distribution_it_comes_from_sampled_or_forced(
    policy, branches
):
    again = np.asarray(scored(policy, PROMPTS, branches.token))
    found = logp_of(branches.watched, branches.token)
    np.testing.assert_allclose(found[:, :, 1:], again[:, :, 1:], atol=1e-5)
    np.testing.assert_allclose(np.exp(branches.watched[:, :, 1:]).sum(-1), 1, rtol=1e-5)
    assert (np.exp(branches.watched[:, :, 1:, BANNED]) == 0).all()


def test_openings_are_forced_not_sampled(branches):
    assert (branches.token[:, :, 0] == PROMPTS.start[:, None]).all()
    assert not branches.mask[:, :, 0].any()
    for g, opening in enumerate(OPENING):
        forced = opening[opening >= 0]
        assert (branches.token[:, g, 1 : 1 + len(forced)] == forced).all()
        assert not branches.mask[:, g, 1 : 1 + len(forced)].any()
        assert branches.mask[:, g, 1 + len(forced)].all()


def test_each_prompt_can_have_openings_of_its_own(policy, branches):
    opening_bgo = np.repeat(OPENING[None], B, 0)
    opening_bgo[1::2] = OPENING[::-1]
    numbers = np.arange(B, dtype=np.uint32)
    arguments = policy, PROMPTS, numbers, np.uint32(0), np.uint32(1)
    found = rl.compiled_roll_out(SAMPLING, whole)(*arguments, opening_bgo).branches
    turned = rl.compiled_roll_out(SAMPLING, whole)(*arguments, OPENING[::-1]).branches
    np.testing.assert_array_equal(found.token[::2], branches.token[::2])
    np.testing.assert_array_equal(found.token[1::2], turned.token[1::2])
    assert (turned.token != branches.token).any(-1).all()


def test_branches_with_the_same_opening_differ(branches):
    same, other = branches.token[:, 0], branches.token[:, 2]
    assert (same != other).any(-1).all()


def test_each_token_of_a_branch_is_drawn_with_a_number_of_its_own(branches):
    """A token is drawn where the cumulative sum passes a number: it is never one for all tokens."""
    above = np.cumsum(np.exp(branches.watched), -1)
    top = logp_of(above, branches.token)
    bottom = top - np.exp(logp_of(branches.watched, branches.token))
    lowest = np.where(branches.mask, top, 1).min(-1)
    highest = np.where(branches.mask, bottom, 0).max(-1)
    assert (lowest < highest).all()


def test_a_forced_end_token_ends_nothing(branches, long):
    for grown in (branches, long):
        assert (grown.token[:, 1, 2] == END).all() and grown.mask[:, 1, 3].all()
        assert (grown.mask[:, 1].sum(-1) > 2).any()


def test_a_branch_keeps_its_end_token_and_holds_nothing_after_it(long):
    ended = ((long.token == END) & long.mask).any(-1)
    assert 0.2 < ended.mean() < 1
    for token, mask in zip(long.token[ended], long.mask[ended], strict=True):
        sampled = np.flatnonzero(mask)
        assert (np.diff(sampled) == 1).all()
        assert token[sampled[-1]] == END and (token[sampled[:-1]] != END).all()
        assert (token[sampled[-1] :] == END).all()
    assert long.mask[~ended][:, -1].all()


def test_banned_tokens_are_never_sampled(long):
    sampled = long.token[long.mask]
    assert sampled.size > 300 and not np.isin(sampled, LONG.banned).any()
    assert len(np.unique(sampled)) == tiny.TEXT.vocab_size - len(LONG.banned)


def test_growing_stops_when_all_branches_have_ended(policy):
    everything_but_end = tuple(set(range(64)) - {END})
    sampling = dataclasses.replace(SAMPLING, tokens=30, banned=everything_but_end)
    grown = jax.device_get(rolled_out(policy, sampling=sampling).branches)
    assert (grown.mask.sum(-1) == 1).all()
    # Nothing was computed after the longest branch: its record is still 0.
    assert (grown.watched[:, :, 4:] == 0).all()
    assert (grown.watched[:, :, 1:4] != 0).any()


def test_neither_padding_nor_its_side_nor_the_rest_of_the_batch_changes_a_branch(policy, branches):
    lengths = PROMPTS.mask.sum(1)
    right = rolled_out(policy, tiny.prompts(lengths, 6, 'right')).branches
    np.testing.assert_array_equal(right.token, branches.token)
    np.testing.assert_allclose(right.logp, branches.logp, atol=1e-5)
    for pad in ('left', 'right'):
        alone = jax.tree.map(lambda x: x[1:2], tiny.prompts(lengths, 9, pad))
        single = rolled_out(policy, alone, numbers=[1]).branches
        np.testing.assert_array_equal(single.token[0], branches.token[1])
        np.testing.assert_allclose(single.logp[0], branches.logp[1], atol=1e-5)


def test_rollouts_repeat_with_the_same_seed_and_step_and_differ_with_another(policy, branches):
    again = rolled_out(policy).branches
    np.testing.assert_array_equal(again.token, branches.token)
    for change in ({'seed': 1}, {'step': 2}, {'numbers': range(1, B + 1)}):
        assert (rolled_out(policy, **change).branches.token != branches.token).any(-1).mean() > 0.9


def test_branches_that_ended_early_are_filled_with_the_end_token(policy):
    everything_but_end = tuple(set(range(64)) - {END})
    sampling = dataclasses.replace(SAMPLING, tokens=30, banned=everything_but_end)
    grown = rolled_out(policy, sampling=sampling).branches
    assert (np.asarray(grown.token)[:, :, 3:] == END).all()
