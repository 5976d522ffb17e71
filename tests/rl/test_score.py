"""Scores of given branches: over a shared prompt they are those of copies, in value and slope."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny
from tiny_rl import (
    BANNED,
    PROMPTS,
    SAMPLING,
    SEEING,
    B,
    G,
    S,
    pulled_back,
    random_branches,
    scored,
    seen_prompts,
)

from mer_jax.models import attention
from mer_jax.models import decoder as model
from mer_jax.models.omni import read_prompts
from mer_jax.rl.score import branch_hidden, distribution, distribution_before, score
from mer_jax.rl.step import branch_logp

TOKEN = random_branches()
WEIGHT = np.random.default_rng(0).normal(size=(B, G, S)).astype(np.float32)


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


@pytest.fixture(scope='module')
def shared(policy):
    """log π of all branches, and the gradient of its sum weighted by WEIGHT."""
    return pulled_back(policy, PROMPTS, TOKEN, WEIGHT)


@pytest.fixture(scope='module')
def copied(policy):
    """The same of G copies of each prompt, with one branch each."""
    prompts = jax.tree.map(lambda x: np.repeat(x, G, 0), PROMPTS)
    return pulled_back(policy, prompts, TOKEN.reshape(B * G, 1, S), WEIGHT.reshape(B * G, 1, S))


@pytest.fixture(scope='module')
def keys(policy):
    return jax.jit(read_prompts)(policy.decoder, PROMPTS, np.zeros((B, 0, 32), np.float32))


def test_the_shared_prompt_gives_the_log_probabilities_of_g_copies(shared, copied):
    np.testing.assert_allclose(shared[0], copied[0].reshape(B, G, S), atol=1e-5, rtol=0)
    assert np.abs(shared[0]).max() > 1


def test_the_shared_prompt_gives_the_gradients_of_g_copies(shared, copied):
    for a, b in zip(jax.tree.leaves(shared[1]), jax.tree.leaves(copied[1]), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() <= 1e-5 * max(1, np.abs(b).max())


def test_towers_prompts_and_branches_have_the_attention_of_the_spec(monkeypatch):
    asked, chosen = [], attention.chosen_kind

    def watched(kind, *sizes):
        asked.append((kind, sizes[-1]))  # the pairs say whose attention it is
        return chosen(kind, *sizes)

    monkeypatch.setattr(attention, 'chosen_kind', watched)
    spec = dataclasses.replace(SEEING, remat=True, attention='blocks')
    policy, prompts = tiny.policy(spec=spec), seen_prompts()
    logp = jax.jit(lambda policy: branch_logp(policy, prompts, None, TOKEN, None, SAMPLING, 5))(
        policy
    )
    t = prompts.token.shape[1]
    assert set(asked) >= {('blocks', t * t), ('blocks', G * S * (t + S)), ('blocks', 16 * 16)}
    assert {kind for kind, _ in asked} == {'blocks'}
    plain = policy.replace(spec=dataclasses.replace(spec, attention='plain'))
    again = jax.jit(lambda policy: branch_logp(policy, prompts, None, TOKEN, None, SAMPLING, 5))(
        plain
    )
    np.testing.assert_allclose(logp, again, atol=1e-5)


def test_the_distribution_is_that_of_the_temperature_without_banned_tokens(policy):
    hidden = np.random.default_rng(1).normal(size=(2, 32)).astype(np.float32)
    logits = jax.jit(lambda decoder, hidden: decoder.logits(hidden))
    logit = np.asarray(logits(policy.decoder, hidden), np.float64)
    chance = np.exp(logit / 0.7)
    chance[:, list(BANNED)] = 0
    found = np.exp(jax.jit(distribution, static_argnums=2)(policy.decoder, hidden, SAMPLING))
    np.testing.assert_allclose(found, chance / chance.sum(-1, keepdims=True), rtol=1e-5)


def test_a_score_is_read_from_the_distribution_before_its_token(policy, keys, shared):
    hidden = jax.jit(branch_hidden)(policy, PROMPTS, keys, TOKEN)
    index = np.broadcast_to(np.arange(1, S), (B, G, S - 1))
    read = jax.jit(distribution_before, static_argnums=3)
    before = read(policy.decoder, hidden, index, SAMPLING)
    np.testing.assert_allclose(np.exp(before).sum(-1), 1, rtol=1e-5)
    found = np.take_along_axis(np.asarray(before), TOKEN[:, :, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(found, shared[0][:, :, 1:], atol=1e-5)


def test_log_probabilities_do_not_depend_on_the_size_of_chunks(policy, keys, shared):
    chunked = jax.jit(score, static_argnames=('sampling', 'chunk'))
    found = chunked(policy, PROMPTS, keys, TOKEN, sampling=SAMPLING, chunk=3)
    np.testing.assert_allclose(found, shared[0], atol=1e-6)
    assert (np.asarray(found)[:, :, 0] == 0).all()


def test_a_branch_sees_its_prompt_and_its_own_past_and_nothing_else(policy, keys):
    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def by_branch_and_keys(branch_x, keys, at):
        # The embedding of branch tokens is swapped for branch_x, so that it can be differentiated.
        class Swapped:
            spec = policy.decoder.spec
            model = policy.decoder.model
            embed = staticmethod(lambda token, dtype: branch_x)

        hidden = model.extend(Swapped, TOKEN, PROMPTS.next_position, keys, PROMPTS.mask)
        return hidden[0, 1, at].sum()

    branch_x = policy.decoder.embed(TOKEN, 'float32')
    for at in range(S):
        by_branch, by_keys = jax.device_get(by_branch_and_keys(branch_x, keys, at))
        seen = np.abs(by_branch).sum(-1) > 0
        assert not seen[1:].any() and not seen[0, [0, 2, 3]].any()
        assert seen[0, 1].tolist() == [slot <= at for slot in range(S)]
        read = np.abs(by_keys.v[-1, 0]).sum((1, 2)) > 0
        assert read.tolist() == PROMPTS.mask[0].tolist()
        assert not any(np.abs(x[:, 1:]).any() for x in (by_keys.k, by_keys.v))


def test_neither_padding_nor_its_side_nor_the_rest_of_the_batch_changes_a_score(policy, shared):
    lengths = PROMPTS.mask.sum(1)
    right = tiny.prompts(lengths, 6, 'right')
    np.testing.assert_allclose(scored(policy, right, TOKEN), shared[0], atol=1e-5)
    for pad in ('left', 'right'):
        alone = jax.tree.map(lambda x: x[1:2], tiny.prompts(lengths, 9, pad))
        found = scored(policy, alone, TOKEN[1:2])
        np.testing.assert_allclose(found[0], shared[0][1], atol=1e-5)
