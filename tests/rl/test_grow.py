import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mer_jax.models.omni import read_prompts
from mer_jax.rl.grow import (
    Sampling,
    category_confidence,
    distribution,
    draw,
    grow,
    invert,
    nucleus,
    score,
)

END, BANNED = 63, (60, 61, 62)
SAMPLING = Sampling(tokens=9, end=END, banned=BANNED)
STARTS = np.array([[[2, 3], [4, -1], [-1, -1]], [[5, 6], [7, 8], [9, -1]]])
OPENING = np.array([[11, 12], [13, -1], [11, 12], [-1, -1]])


@jax.jit
def keys_of(policy, prompts):
    features = jnp.zeros((prompts.token.shape[0], 0, 32))
    return read_prompts(policy.decoder, prompts, features)


@functools.partial(jax.jit, static_argnames='sampling')
def grown(policy, prompts, key_b, opening=OPENING, sampling=SAMPLING):
    keys = keys_of(policy, prompts)
    return grow(policy.decoder, tiny.SPEC, prompts, keys, key_b, opening, STARTS, sampling)


@jax.jit
def scored(policy, prompts, token_bgs):
    return score(policy.decoder, tiny.SPEC, prompts, keys_of(policy, prompts), token_bgs)


def random_keys(numbers):
    return jax.vmap(lambda n: jax.random.fold_in(jax.random.key(7), n))(np.asarray(numbers))


def random_branches(b, g, s, prompts, seed=3):
    token = np.random.default_rng(seed).integers(2, 60, (b, g, s))
    token[:, :, 0] = prompts.start[:, None]
    return token


def copies(prompts, g):
    """The prompts with each of them g times, one after the other."""
    return jax.tree.map(lambda x: np.repeat(x, g, 0), prompts)


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


def test_the_shared_prompt_gives_the_log_probabilities_of_g_copies(policy):
    prompts = tiny.prompts([7, 4, 6], 8)
    token = random_branches(3, 4, 6, prompts)
    shared = scored(policy, prompts, token)
    copied = scored(policy, copies(prompts, 4), token.reshape(12, 1, 6))
    np.testing.assert_allclose(shared, copied.reshape(3, 4, 6), atol=1e-5, rtol=0)
    assert np.abs(shared).max() > 1


def test_the_shared_prompt_gives_the_gradients_of_g_copies(policy):
    prompts = tiny.prompts([7, 4, 6], 8)
    token = random_branches(3, 4, 6, prompts)
    weight = np.random.default_rng(0).normal(size=(3, 4, 6))

    def loss(policy, prompts, token, weight):
        return (scored(policy, prompts, token) * weight).sum()

    gradient = jax.jit(jax.grad(loss))
    shared = gradient(policy, prompts, token, weight)
    copied = gradient(policy, copies(prompts, 4), token.reshape(12, 1, 6), weight.reshape(12, 1, 6))
    for a, b in zip(jax.tree.leaves(shared), jax.tree.leaves(copied), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * max(1, np.abs(b).max())


@pytest.mark.parametrize('temperature, top_p', [(1.0, 1.0), (0.7, 1.0), (1.3, 0.6)])
def test_a_sampled_token_scores_as_it_was_sampled(policy, temperature, top_p):
    prompts = tiny.prompts([7, 4, 6], 8)
    sampling = dataclasses.replace(SAMPLING, temperature=temperature, top_p=top_p)
    branches = grown(policy, prompts, random_keys([0, 1, 2]), sampling=sampling)
    again = jax.jit(score, static_argnums=1, static_argnames=('temperature', 'banned', 'chunk'))(
        policy.decoder,
        tiny.SPEC,
        prompts,
        keys_of(policy, prompts),
        branches.token,
        temperature=temperature,
        banned=BANNED,
        chunk=3,
    )
    mask = np.asarray(branches.mask)
    gap = np.asarray(branches.logp + branches.nucleus - again)[mask]
    assert np.abs(gap).max() < 1e-5
    assert (np.asarray(branches.nucleus)[mask] < 0).any() == (top_p < 1)
    assert (np.asarray(branches.logp)[~mask] == 0).all()


def test_log_probabilities_do_not_depend_on_the_size_of_chunks(policy):
    prompts = tiny.prompts([7, 4], 8)
    token, keys = random_branches(2, 3, 8, prompts), keys_of(policy, prompts)
    by_chunk = [
        score(policy.decoder, tiny.SPEC, prompts, keys, token, chunk=chunk) for chunk in (1, 3, 100)
    ]
    np.testing.assert_allclose(by_chunk[0], by_chunk[2], atol=1e-6)
    np.testing.assert_allclose(by_chunk[1], by_chunk[2], atol=1e-6)
    assert (np.asarray(by_chunk[0])[:, :, 0] == 0).all()


def test_a_branch_sees_its_prompt_and_its_own_past_and_nothing_else(policy):
    prompts = tiny.prompts([5], 6)
    token = random_branches(1, 3, 6, prompts)
    branch_x = policy.decoder.embed(token, 'float32')

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def by_branch_and_keys(branch_x, keys, at):
        # The embedding of branch tokens is swapped for branch_x, so that it can be differentiated.
        from mer_jax.models import decoder as model

        class Swapped:
            spec = policy.decoder.spec
            model = policy.decoder.model
            embed = staticmethod(lambda token, dtype: branch_x)

        hidden = model.extend(Swapped, token, prompts.next_position, keys, prompts.mask)
        return hidden[0, 1, at].sum()

    keys = keys_of(policy, prompts)
    for at in range(6):
        by_branch, by_keys = by_branch_and_keys(branch_x, keys, at)
        seen = np.abs(by_branch[0]).sum(-1) > 0
        assert not seen[0].any() and not seen[2].any()
        assert seen[1].tolist() == [slot <= at for slot in range(6)]
        read = np.abs(by_keys.v[-1, 0]).sum((1, 2)) > 0
        assert read.tolist() == prompts.mask[0].tolist()


def test_a_prompt_never_sees_the_branches(policy):
    prompts = tiny.prompts([5, 6], 6)
    keys = keys_of(policy, prompts)
    token = random_branches(2, 3, 6, prompts)
    # By gradient: nothing of a branch's score flows into another prompt's keys.
    by_keys = jax.jit(
        jax.grad(lambda keys: score(policy.decoder, tiny.SPEC, prompts, keys, token)[0].sum())
    )(keys)
    assert np.abs(by_keys.k[:, 0]).max() > 0
    assert np.abs(by_keys.k[:, 1]).max() == 0 and np.abs(by_keys.v[:, 1]).max() == 0


def test_left_padding_right_padding_and_more_padding_change_nothing(policy):
    token = random_branches(3, 4, 6, tiny.prompts([7, 4, 6], 7))
    results = [
        (
            scored(policy, prompts, token),
            grown(policy, prompts, random_keys([0, 1, 2])),
        )
        for prompts in (
            tiny.prompts([7, 4, 6], 7, 'left'),
            tiny.prompts([7, 4, 6], 7, 'right'),
            tiny.prompts([7, 4, 6], 12, 'left'),
            tiny.prompts([7, 4, 6], 12, 'right'),
        )
    ]
    for logp, branches in results[1:]:
        np.testing.assert_allclose(logp, results[0][0], atol=1e-5)
        np.testing.assert_array_equal(branches.token, results[0][1].token)
        np.testing.assert_allclose(branches.logp, results[0][1].logp, atol=1e-5)


def test_other_members_of_the_batch_change_nothing(policy):
    whole = tiny.prompts([7, 4, 6], 8)
    alone = jax.tree.map(lambda x: x[1:2], whole)
    token = random_branches(3, 4, 6, whole)
    np.testing.assert_allclose(
        scored(policy, whole, token)[1], scored(policy, alone, token[1:2])[0], atol=1e-5
    )
    crowd = grown(policy, whole, random_keys([0, 1, 2]))
    single = grown(policy, alone, random_keys([1]))
    np.testing.assert_array_equal(crowd.token[1], single.token[0])
    np.testing.assert_allclose(crowd.logp[1], single.logp[0], atol=1e-5)


def test_openings_are_forced_not_sampled_and_branches_differ(policy):
    prompts = tiny.prompts([7, 4, 6], 8)
    branches = grown(policy, prompts, random_keys([0, 1, 2]))
    assert (branches.token[:, :, 0] == prompts.start[:, None]).all()
    assert not branches.mask[:, :, 0].any()
    for g, opening in enumerate(OPENING):
        forced = opening[opening >= 0]
        assert (branches.token[:, g, 1 : 1 + len(forced)] == forced).all()
        assert not branches.mask[:, g, 1 : 1 + len(forced)].any()
        assert branches.mask[:, g, 1 + len(forced)].all()
    assert (branches.token[:, 0] != branches.token[:, 2]).any()


def test_a_branch_keeps_its_end_token_and_holds_nothing_after_it(policy):
    prompts = tiny.prompts([7, 4, 6, 5, 6, 7], 8)
    sampling = dataclasses.replace(SAMPLING, tokens=40, temperature=3.0)
    branches = grown(policy, prompts, random_keys(range(6)), sampling=sampling)
    token, mask = np.asarray(branches.token), np.asarray(branches.mask)
    ended = ((token == END) & mask).any(-1)
    assert ended.any()
    for row_token, row_mask in zip(token[ended], mask[ended], strict=True):
        last = np.flatnonzero(row_mask)[-1]
        assert row_token[last] == END and (row_token[:last][row_mask[:last]] != END).all()


def test_growing_stops_when_all_branches_have_ended(policy):
    prompts = tiny.prompts([7, 4], 8)
    everything_but_end = tuple(set(range(64)) - {END})
    sampling = dataclasses.replace(SAMPLING, tokens=30, banned=everything_but_end)
    branches = grown(policy, prompts, random_keys([0, 1]), sampling=sampling)
    assert (branches.mask.sum(-1) == 1).all()
    # Nothing was computed behind the longest branch: its confidences are those of the start, 0.
    assert (np.asarray(branches.confidence)[:, :, 4:] == 0).all()
    assert (np.asarray(branches.confidence)[:, :, 1:4] != 0).any()


def test_banned_tokens_are_never_sampled(policy):
    prompts = tiny.prompts([7, 4], 8)
    banned = tuple(range(20, 62))
    sampling = dataclasses.replace(SAMPLING, tokens=60, banned=banned, temperature=5.0)
    branches = grown(policy, prompts, random_keys([0, 1]), sampling=sampling)
    sampled = np.asarray(branches.token)[np.asarray(branches.mask)]
    assert sampled.size > 100 and not np.isin(sampled, banned).any()


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    logp = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]]))
    kept, mass = nucleus(logp, 0.7)
    assert kept.tolist() == [[True, True, False, False], [True] * 4]
    np.testing.assert_allclose(np.exp(mass), [0.8, 1.0], rtol=1e-6)
    assert nucleus(logp, 0.5)[0][0].tolist() == [True, False, False, False]


def test_a_token_without_any_chance_is_never_drawn_though_sums_round():
    rng = np.random.default_rng(0)
    v = 150_000
    chance = np.where(rng.random(v) < 0.5, 0.0, rng.random(v) / v * 4).astype(np.float32)
    sums = np.asarray(jnp.cumsum(jnp.asarray(chance)))
    rises = np.flatnonzero((chance[1:] == 0) & (np.diff(sums) > 0)) + 1
    assert rises.size  # where rounding alone moves the sum, or this shows nothing
    uniform = jnp.asarray(sums[rises - 1][:50] / sums[chance > 0].max())
    token = jax.vmap(invert, (None, 0))(jnp.asarray(chance), uniform)
    assert (chance[token] > 0).all()


def test_tokens_are_drawn_in_proportion_to_their_probability():
    chance = np.array([0.5, 0.0, 0.3, 0.2])
    logp = jnp.log(jnp.broadcast_to(jnp.asarray(chance), (500, 20, 4)))
    token, drawn, _ = draw(logp, random_keys(range(500)), 1.0)
    share = np.bincount(np.asarray(token).ravel(), minlength=4) / 10_000
    np.testing.assert_allclose(share, chance, atol=0.02)
    np.testing.assert_allclose(np.exp(drawn), chance[np.asarray(token)], rtol=1e-5)
    token, drawn, mass = draw(logp, random_keys(range(500)), 0.75)
    share = np.bincount(np.asarray(token).ravel(), minlength=4) / 10_000
    np.testing.assert_allclose(share, [0.625, 0, 0.375, 0], atol=0.02)
    np.testing.assert_allclose(np.exp(mass), 0.8, rtol=1e-5)


def test_the_confidence_of_a_category_sums_the_tokens_that_start_its_words():
    chance = jnp.array([0.4, 0.3, 0.2, 0.1])
    starts = np.array([[[0, 1], [2, -1], [-1, -1]]])
    confidence = category_confidence(jnp.log(chance), starts)
    np.testing.assert_allclose(confidence, np.log([[0.7, 0.2, 1e-10]]), rtol=1e-5)


def test_confidences_are_those_of_the_distribution_behind_each_token(policy):
    prompts = tiny.prompts([7, 4, 6], 8)
    branches = grown(policy, prompts, random_keys([0, 1, 2]))
    keys = keys_of(policy, prompts)
    from mer_jax.rl.grow import branch_hidden

    hidden = branch_hidden(policy.decoder, tiny.SPEC, prompts, keys, branches.token)
    logp = distribution(policy.decoder, tiny.SPEC, hidden[:, :, :-1], 1.0, BANNED)
    wanted = category_confidence(logp, STARTS)
    mask = np.asarray(branches.mask)[:, :, 1:]
    np.testing.assert_allclose(
        np.asarray(branches.confidence)[:, :, 1:][mask], np.asarray(wanted)[mask], atol=1e-4
    )
