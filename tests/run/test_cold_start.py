"""Imitation of gold branches: its loss, mode by mode, and the tokens that it learns."""

import functools

import jax
import numpy as np
import optax
import pytest
import tiny
from tiny_rl import SEEING, random_branches, seen_prompts

from mer_jax.group import TrainState
from mer_jax.models.omni import read_prompts
from mer_jax.rl.score import Sampling, score
from mer_jax.run.cold_start import imitate_step, trained_by_imitation, trains_towers

SAMPLING = Sampling(tokens=7, end=63, banned=(60, 61, 62))
OPTIMIZER = optax.sgd(0.1)
BLIND = np.zeros((3, 0, 32), np.float32)


@functools.cache
def program(aggregate, microbatch):
    """A step of imitation, compiled."""
    known = dict(modes=('slow', 'fast'), sampling=SAMPLING, chunk=4, optimizer=OPTIMIZER)
    known |= dict(part='decoder', aggregate=aggregate, microbatch=microbatch)
    return jax.jit(functools.partial(imitate_step, **known))


@jax.jit
def logp_of(policy, prompts, token):
    """log π of each token, f[b, g, s]."""
    keys = read_prompts(policy.decoder, prompts, BLIND)
    return score(policy, prompts, keys, token, SAMPLING)


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


@pytest.fixture(scope='module')
def batch():
    """Prompts with a slow and a fast gold branch; one clip has no gold trace."""
    prompts = tiny.prompts([5, 3, 4], 6)
    rng = np.random.default_rng(0)
    token = rng.integers(2, 60, (3, 2, 7))
    token[:, :, 0] = prompts.start[:, None]
    mask = np.zeros((3, 2, 7), bool)
    mask[:, 0, 2:6] = True
    mask[:, 1, 3:5] = True
    mask[1, 0] = False
    return prompts, token, mask


def state_of(policy):
    return TrainState(policy=policy, moments=OPTIMIZER.init(policy.decoder))


@pytest.mark.parametrize('aggregate', [pytest.param('token', marks=pytest.mark.slow), 'sequence'])
def test_pieces_of_one_prompt_teach_what_the_whole_batch_does(policy, batch, aggregate):
    (whole, wanted), (pieces, figures) = (
        program(aggregate, size)(state_of(policy), batch[0], BLIND, *batch[1:]) for size in (0, 1)
    )
    for found, other in zip(jax.tree.leaves(pieces), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(found, other, atol=1e-6)
    assert figures.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-5, err_msg=name)


def test_imitation_is_the_token_mean_of_the_negative_log_probability_and_falls(policy, batch):
    prompts, token, mask = batch
    logp = np.asarray(logp_of(policy, prompts, token))
    step = program('token', 0)
    after, figures = step(state_of(policy), prompts, BLIND, token, mask)
    np.testing.assert_allclose(figures['loss'], -logp[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(figures['slow_loss'], -logp[:, 0][mask[:, 0]].mean(), rtol=1e-5)
    np.testing.assert_allclose(figures['fast_loss'], -logp[:, 1][mask[:, 1]].mean(), rtol=1e-5)
    for _ in range(30):
        after, later = step(after, prompts, BLIND, token, mask)
    assert later['loss'] < figures['loss'] - 0.5


def test_each_branch_may_count_alike_however_long_it_is(policy, batch):
    prompts, token, mask = batch
    mask = mask & (np.arange(7) < np.array([[7, 5, 6], [5, 7, 6]]).T[..., None])
    logp = np.asarray(logp_of(policy, prompts, token))
    _, figures = program('sequence', 0)(state_of(policy), prompts, BLIND, token, mask)
    means = [-logp[b, g][mask[b, g]].mean() for b, g in np.ndindex(3, 2) if mask[b, g].any()]
    assert len(means) == 5  # a clip without a gold trace has no slow branch to count
    np.testing.assert_allclose(figures['loss'], np.mean(means), rtol=1e-5)


@pytest.mark.parametrize(
    ('train', 'towers', 'adapted', 'part', 'change'),
    [
        ('decoder', False, False, 'decoder', False),
        ('decoder', True, False, 'all', True),
        ('lora', False, False, 'lora', False),
        ('lora', False, True, 'lora', True),
    ],
)
def test_a_cold_start_trains_adapters_where_the_run_does(
    config, train, towers, adapted, part, change
):
    config.learn.train, config.cold_start.towers = train, towers
    config.learn.lora.towers = adapted
    assert (trained_by_imitation(config), trains_towers(config)) == (part, change)


@pytest.mark.parametrize('frozen', [pytest.param(True, marks=pytest.mark.slow), False])
def test_towers_learn_unless_their_features_are_given(frozen):
    policy, prompts, token = tiny.policy(0, SEEING), seen_prompts(), random_branches(g=2)
    features = np.ones((len(token), 6, 32), np.float32) if frozen else None
    mask = np.arange(token.shape[-1]) > np.zeros(token.shape)
    sgd = optax.sgd(1.0)
    state = TrainState(policy=policy, moments=sgd.init(policy.decoder if frozen else policy))
    known = dict(part='decoder' if frozen else 'all', modes=('slow', 'fast'), chunk=8)
    step = functools.partial(imitate_step, optimizer=sgd, **known)
    after, _ = jax.jit(functools.partial(step, sampling=SAMPLING))(
        state, prompts, features, token, mask
    )
    for part in ('decoder', 'visual', 'audio_tower'):
        old, new = (jax.tree.leaves(getattr(of, part)) for of in (policy, after.policy))
        moved = [not np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        assert any(moved) == (part == 'decoder' or not frozen), part


def test_tokens_outside_the_mask_teach_nothing(policy, batch):
    prompts, token, mask = batch
    other = token.copy()
    other[:, 0, 6], other[:, 1, 5:] = 5, 5  # after the last learnt token
    other[1, 0, 1:] = 9  # of the clip without a gold trace
    (after, figures), (again, same) = (
        program('token', 0)(state_of(policy), prompts, BLIND, said, mask) for said in (token, other)
    )
    np.testing.assert_allclose(figures['loss'], same['loss'], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(after.policy), jax.tree.leaves(again.policy), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_batch_without_any_gold_branch_changes_nothing(policy, batch):
    prompts, token, mask = batch
    after, figures = program('token', 0)(
        state_of(policy), prompts, BLIND, token, np.zeros_like(mask)
    )
    assert figures['loss'] == 0 and figures['gradient_norm'] == 0
    for a, b in zip(jax.tree.leaves(after.policy), jax.tree.leaves(policy), strict=True):
        np.testing.assert_array_equal(a, b)
