"""Updates against losses and gradients by hand: in pieces, in minibatches, repeated, on a mesh."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import tiny
from by_hand import loss_by_hand
from tiny_rl import (
    PROMPTS,
    SAMPLING,
    SEEING,
    B,
    G,
    S,
    assert_near,
    experience_of,
    pulled_back,
    scored,
    seen_prompts,
)

from mer_jax.group import TrainState
from mer_jax.models.omni import perceive
from mer_jax.rl import step as rl
from mer_jax.rl.group_relative import standardise
from mer_jax.rl.objective import AGGREGATES, RATIOS
from mer_jax.rl.optimizer import trained_part
from mer_jax.run.train import Programs, learn_from
from mer_jax.sharding import make_mesh, named, state_shardings, to_devices

SLOW = pytest.mark.slow
SGD = optax.sgd(1.0, momentum=0.9)  # after one update its moments are the gradient
PPO = rl.Learn(kl=0.1, clip_low=0.1, clip_high=0.3, clip_dual=1.5)
GSPO = rl.Learn(
    kl=0.0,
    clip_low=0.05,
    clip_high=0.1,
    ratio='sequence',
    aggregate='sequence',
    microbatch=2,
)
CISPO = rl.Learn(
    kl=0.1,
    clip_low=0.1,
    clip_high=0.3,
    clip='cispo',
    aggregate='constant',
    microbatch=1,
    minibatches=2,
    epochs=2,
)


@functools.cache
def program(learn: rl.Learn):
    """The update, compiled; it takes (state, experience, number of the minibatch)."""
    return jax.jit(functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD))


def in_pieces_of(learn, microbatch):
    return dataclasses.replace(learn, microbatch=microbatch)


def kept_of(which):
    """The branches that count: all, without those that were cut off, without a silent group."""
    kept = np.ones((B, G), bool)
    if which == 'ended':
        kept = np.random.default_rng(1).random((B, G)) < 0.7
    if which == 'loud':
        kept[[2, 5]] = False
    return kept


@pytest.fixture(scope='module')
def policy():
    return tiny.policy(1)


@pytest.fixture(scope='module')
def state(policy):
    return TrainState(policy=policy, moments=SGD.init(policy.decoder))


@pytest.fixture(scope='module')
def experience(policy):
    return experience_of(policy)


def minibatch_by_hand(policy, experience, learn, part):
    """The figures of a minibatch by hand, and d loss / d log π of all branches."""
    rows = slice(part * B // learn.minibatches, (part + 1) * B // learn.minibatches)
    logp = scored(policy, experience.prompts, experience.token)
    minibatch = jax.tree.map(lambda x: x[rows], experience)
    slope = np.zeros(logp.shape, np.float32)
    figures, slope[rows] = loss_by_hand(logp[rows], minibatch, learn)
    return figures, slope


def check_by_hand(state, experience, learn, part=0):
    """Figures, gradient and new weights of an update are those by hand."""
    given = experience if learn.kl else experience.replace(reference=None)
    after, figures = program(learn)(state, given, np.int32(part))
    wanted, slope = minibatch_by_hand(state.policy, experience, learn, part)
    gradient = pulled_back(state.policy, experience.prompts, experience.token, slope)[1]
    assert figures.keys() == wanted.keys() | {'gradient_norm', 'update_norm'}
    assert figures.keys() - set(rl.FIGURES[6:]) == set()
    for name, value in wanted.items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert wanted['clipped'] > 0.05 and wanted['ratio_spread'] > 0.05
    assert_near(after.moments, gradient, 1e-5)
    moved = jax.tree.map(lambda old, new: old - new, state.policy.decoder, after.policy.decoder)
    assert_near(moved, gradient, 1e-4)
    norm = np.sqrt(sum((np.asarray(x, np.float64) ** 2).sum() for x in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(figures['gradient_norm'], norm, rtol=1e-4)
    np.testing.assert_allclose(figures['update_norm'], norm, rtol=1e-4)


@pytest.mark.parametrize('which', ['all', 'ended', 'loud'])
@pytest.mark.parametrize(
    ('learn', 'part'), [(PPO, 0), (GSPO, 0), (CISPO, 1)], ids=['ppo', 'gspo', 'cispo']
)
def test_an_update_is_that_of_the_whole_loss_by_hand(state, experience, which, learn, part):
    experience = experience.replace(kept=kept_of(which))
    check_by_hand(state, experience, learn, part)


@pytest.mark.slow
@pytest.mark.parametrize('aggregate', AGGREGATES)
@pytest.mark.parametrize('ratio', RATIOS)
@pytest.mark.parametrize(('clip', 'dual'), [('ppo', 0.0), ('ppo', 1.2), ('cispo', 0.0)])
def test_every_combination_of_switches_is_by_hand(
    policy, experience, monkeypatch, ratio, clip, aggregate, dual
):
    """The log-probabilities themselves take the place of the policy: no model is compiled."""
    monkeypatch.setattr(rl, 'branch_logp', lambda logp, prompts, *_: logp[prompts.start])
    learn = rl.Learn(
        train='all',
        kl=0.1,
        ratio=ratio,
        clip=clip,
        aggregate=aggregate,
        clip_low=0.05,
        clip_high=0.1,
        clip_dual=dual,
        microbatch=2,
    )
    logp = scored(policy, PROMPTS, experience.token)
    experience = experience.replace(kept=kept_of('ended'))
    numbered = experience.replace(prompts=PROMPTS.replace(start=np.arange(B, dtype=np.int32)))
    state = TrainState(policy=logp, moments=SGD.init(logp))
    after, figures = program(learn)(state, numbered, np.int32(0))
    wanted, slope = loss_by_hand(logp, experience, learn)
    for name, value in wanted.items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert wanted['clipped'] > 0.05 and wanted['ratio_spread'] > 0.05
    assert_near(after.moments, slope, 1e-5)
    assert_near(logp - after.policy, slope, 1e-4)


def scored_apart(experience, seed=7):
    """The experience with scores of its policy that differ from those of its sampler."""
    apart = np.random.default_rng(seed).normal(0, 0.3, experience.mask.shape).astype(np.float32)
    return experience.replace(scored=np.where(experience.mask, experience.sampled + apart, 0))


@pytest.mark.parametrize(
    ('learn', 'part'),
    [(PPO, 0), pytest.param(GSPO, 0, marks=SLOW), pytest.param(CISPO, 1, marks=SLOW)],
    ids=['ppo', 'gspo', 'cispo'],
)
def test_with_a_cap_tokens_are_weighted_for_their_sampler_by_hand(state, experience, learn, part):
    learn = dataclasses.replace(learn, ratio_cap=1.25)
    experience = scored_apart(experience).replace(kept=kept_of('ended'))
    check_by_hand(state, experience, learn, part)
    figures, _ = minibatch_by_hand(state.policy, experience, learn, part)
    assert 0.1 < figures['capped'] < 0.4 and 0.8 < figures['cap_weight'] < 1


@SLOW
def test_a_cap_changes_nothing_where_scoring_gives_what_decoding_has_recorded(state, experience):
    alike = experience.replace(scored=experience.sampled)
    wanted = program(PPO)(state, experience, np.int32(0))
    after, figures = program(dataclasses.replace(PPO, ratio_cap=1.0))(state, alike, np.int32(0))
    assert (figures.pop('cap_weight'), figures.pop('capped')) == (1, 0)
    assert_near((after, figures), wanted, 1e-6)


# Quick tests compare updates in pieces with the loss by hand (CISPO), and on a mesh.
@pytest.mark.slow
@pytest.mark.parametrize('which', ['all', 'ended', 'loud'])
@pytest.mark.parametrize('microbatch', [1, 2])
def test_pieces_of_a_batch_give_the_update_of_the_whole(state, experience, which, microbatch):
    experience = experience.replace(kept=kept_of(which))
    whole = program(PPO)(state, experience, np.int32(0))
    for found, wanted in zip(
        program(in_pieces_of(PPO, microbatch))(state, experience, np.int32(0)), whole, strict=True
    ):
        assert_near(found, wanted, 1e-6)


@pytest.mark.parametrize('learn', [CISPO, pytest.param(GSPO, marks=SLOW)], ids=['cispo', 'gspo'])
def test_branches_without_their_padding_give_the_update_of_the_whole(state, experience, learn):
    length = 7
    experience = experience.replace(mask=experience.mask & (np.arange(S) < length))
    by_token = ('token', 'mask', 'sampled', 'reference')
    short = experience.replace(
        **{name: getattr(experience, name)[..., :length] for name in by_token}
    )
    whole, figures = program(learn)(state, experience, np.int32(0))
    found, of_short = program(learn)(state, short, np.int32(0))
    assert_near(found, whole, 1e-6)
    for name, value in figures.items():
        np.testing.assert_allclose(of_short[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize('part', ['all', 'decoder'])
def test_pieces_give_the_update_of_the_whole_with_towers_trained_or_frozen(part):
    policy, prompts = tiny.policy(spec=SEEING), seen_prompts()
    experience, learn = experience_of(policy, prompts), dataclasses.replace(PPO, train=part)
    if part == 'decoder':
        experience = experience.replace(features=jax.jit(perceive)(policy, prompts.media))
    state = TrainState(policy=policy, moments=SGD.init(trained_part(policy, part)))
    whole, figures = program(learn)(state, experience, np.int32(0))
    pieces = program(in_pieces_of(learn, 1))(state, experience, np.int32(0))
    assert_near(pieces[0], whole, 1e-6)
    assert_near(pieces[1], figures, 1e-6)
    wanted, _ = loss_by_hand(scored(policy, prompts, experience.token), experience, learn)
    for name, value in wanted.items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    towers = zip(
        *map(jax.tree.leaves, [(p.visual, p.audio_tower) for p in (policy, whole.policy)]),
        strict=True,
    )
    moved = [not np.array_equal(old, new) for old, new in towers]
    assert np.mean(moved) > 0.9 if part == 'all' else not any(moved)


def test_an_update_on_a_2x2x2_mesh_in_pieces_equals_that_on_one_device(state, experience):
    mesh, experience = make_mesh(2, 2, 2), experience.replace(kept=kept_of('ended'))
    alone, figures = program(PPO)(state, experience, np.int32(0))
    shardings = state_shardings(mesh, state)
    with jax.set_mesh(mesh):
        learn = in_pieces_of(PPO, 1)  # two pieces of one prompt a device
        update = jax.jit(program(learn).__wrapped__, out_shardings=(shardings, None))
        placed = jax.device_put(state, shardings), to_devices(mesh, experience)
        sharded, figures_8 = update(*placed, np.int32(0))
    weight = sharded.policy.decoder.model.layers.mlp.gate_proj.weight[...]
    assert weight.sharding.spec == named(mesh, None, 'embed', 'mlp').spec
    assert_near(sharded, alone, 1e-5)
    assert figures.keys() == figures_8.keys()
    for name, value in figures.items():
        np.testing.assert_allclose(figures_8[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_an_update_on_its_own_policys_samples_starts_at_ratio_one_and_raises_the_better(
    state, policy
):
    experience = experience_of(policy, on_policy=True)
    experience = experience.replace(reference=np.asarray(scored(policy, PROMPTS, experience.token)))
    after, figures = program(PPO)(state, experience, np.int32(0))
    assert figures['drift'] < 1e-5 and figures['ratio_spread'] < 1e-5
    assert figures['clipped'] == 0 and abs(figures['kl']) < 1e-6
    # At ratio 1 the surrogate is the mean of the advantages over tokens.
    mean = np.broadcast_to(experience.advantage[..., None], experience.mask.shape)[experience.mask]
    np.testing.assert_allclose(figures['surrogate'], mean.mean(), rtol=1e-4)

    def weighted(policy):
        logp = np.asarray(scored(policy, PROMPTS, experience.token))
        return (experience.advantage[..., None] * logp * experience.mask).sum()

    little = jax.tree.map(lambda a, b: a + 0.01 * (b - a), policy, after.policy)
    assert weighted(little) > weighted(policy) + 1e-3


def test_groups_of_equal_rewards_teach_exactly_nothing_without_kl(state, experience):
    equal = np.asarray(standardise(np.full((B, G), 1 / 3, np.float32)))
    experience = experience.replace(advantage=equal, reference=None)
    after, figures = program(GSPO)(state, experience, np.int32(0))
    assert figures['gradient_norm'] == 0 and figures['loss'] == 0
    assert not any(np.abs(leaf).any() for leaf in jax.tree.leaves(after.moments))
    for a, b in zip(jax.tree.leaves(after.policy), jax.tree.leaves(state.policy), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('learn', [PPO, CISPO], ids=['ppo', 'cispo'])
def test_where_all_branches_are_dropped_the_loss_is_zero_and_nothing_moves(
    state, experience, learn
):
    experience = experience.replace(kept=np.zeros((B, G), bool))
    after, figures = program(learn)(state, experience, np.int32(0))
    assert figures['loss'] == 0 and figures['gradient_norm'] == 0
    assert all(np.isfinite(value) for value in figures.values())
    assert not any(np.abs(leaf).any() for leaf in jax.tree.leaves(after.moments))


def test_each_minibatch_learns_from_its_prompts_with_the_policy_that_it_finds(state, policy):
    experience = experience_of(policy, on_policy=True)
    update, found, figures = program(CISPO), state, []
    for part in (0, 1, 0, 1):
        # The ratio is that of the policy of now to the policy that sampled, never to one between.
        wanted, _ = minibatch_by_hand(found.policy, experience, CISPO, part)
        found, of_update = update(found, experience, np.int32(part))
        for name, value in wanted.items():
            # The largest of all tokens has the rounding of one, not that of their mean.
            atol = 1e-5 if name == 'drift_largest' else 2e-6
            np.testing.assert_allclose(of_update[name], value, rtol=2e-4, atol=atol, err_msg=name)
        figures.append(of_update)
    assert figures[0]['clipped'] == 0 and figures[0]['ratio_spread'] < 1e-5
    assert all(one['clipped'] > 0.02 and one['ratio_spread'] > 0.05 for one in figures[1:])

    programs = Programs(
        roll_out=None, assess=None, score_reference=None, score_policy=None, update=update
    )
    parts = np.arange(2, dtype=np.int32)
    learnt, means = learn_from(programs, state, experience, parts, CISPO)
    assert_near(learnt, found, 0)
    for name in figures[0]:
        combined = np.max if name == 'drift_largest' else np.mean
        wanted = combined([one[name] for one in figures])
        np.testing.assert_allclose(means[name], wanted, rtol=1e-6, err_msg=name)
    once = dataclasses.replace(CISPO, epochs=1)
    twice, _ = learn_from(programs, state, experience, parts, once)
    twice, _ = learn_from(programs, twice, experience, parts, once)
    assert_near(learnt, twice, 0)
