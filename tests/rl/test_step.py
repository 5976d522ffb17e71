"""The programs before an update: the rollout on a mesh, the assessment, the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny_rl import (
    END,
    OPENING,
    PROMPTS,
    SAMPLING,
    SEEING,
    B,
    random_branches,
    rolled_out,
    scored,
    seen_prompts,
    whole,
)

from mer_jax.group import Branches, Rollout
from mer_jax.models.omni import perceive
from mer_jax.rl import step as rl
from mer_jax.rl.group_relative import standardise
from mer_jax.rl.optimizer import trained_part, with_part
from mer_jax.sharding import make_mesh, state_shardings, to_devices

# Four prompts with three branches each: scores that vary in the first and the last group alone.
SCORE = np.float32([[0, 1, 2], [1, 1, 1], [0.1, 0.1, 0.1], [3, 3, 0]])


@pytest.fixture(scope='module')
def policy():
    return tiny.policy()


def rollout_of(token, mask, logp):
    return Rollout(branches=Branches(token, mask, logp, None), features=None, keys=None)


def some_rollout():
    """Branches that end, but for those of number 1 in groups 0 and 3; the opening is one token."""
    token = np.full((4, 3, 6), 7)
    token[:, :, 4:] = END
    token[[0, 3], 1] = 7
    token[:, :, 1] = END  # forced, so that it ends nothing
    mask = np.zeros((4, 3, 6), bool)
    mask[:, :, 2:5] = True
    mask[[0, 3], 1, 5] = True
    logp = np.where(mask, np.float32([[[0, 0, -1, -2, -3, -4]]]), 0)
    return rollout_of(token, mask, logp)


def judge(policy, prompts, rollout, reading, own, sampling):
    return standardise(jnp.asarray(SCORE)), {'mine': jnp.float32(5)}


def assessed(**switches):
    learn = rl.Learn(**switches)
    prompts = tiny.prompts([3, 3, 3, 3], 3)
    arguments = None, prompts, some_rollout(), None, {}
    return rl.assess(*arguments, judge=judge, learn=learn, sampling=SAMPLING)


def test_the_advantage_and_the_figures_are_those_of_the_method():
    advantage, kept, figures = assessed()
    np.testing.assert_array_equal(advantage, standardise(SCORE))
    assert kept.all() and figures['mine'] == 5
    assert figures.keys() - {'mine'} == set(rl.FIGURES[:6])
    np.testing.assert_allclose(figures['advantage_std'], 0.5, rtol=1e-5)  # 1, 0, 0 and 1


def test_entropy_is_the_mean_negative_log_probability_of_the_sampled_tokens():
    # All twelve branches sampled −1, −2 and −3, and two of them −4 besides.
    _, _, figures = assessed()
    np.testing.assert_allclose(figures['entropy'], (12 * 6 + 2 * 4) / (12 * 3 + 2), rtol=1e-6)
    np.testing.assert_allclose(figures['tokens'], (12 * 3 + 2) / 12, rtol=1e-6)


def test_groups_without_spread_are_silent_whatever_their_mean():
    assert assessed()[2]['silent_groups'] == 0.5

    def constant(*_):
        return jnp.ones((4, 3)), {}

    arguments = None, tiny.prompts([3] * 4, 3), some_rollout(), None, {}
    found = rl.assess(*arguments, judge=constant, learn=rl.Learn(), sampling=SAMPLING)
    assert found[2]['silent_groups'] == 1


def test_answers_are_overlong_where_no_end_was_sampled():
    _, _, figures = assessed()
    np.testing.assert_allclose([figures['overlong'], figures['ended']], [1 / 6, 5 / 6], rtol=1e-6)


@pytest.mark.parametrize(
    ('switches', 'kept'),
    [
        ({}, [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        ({'drop_overlong': True}, [[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 0, 1]]),
        ({'drop_silent': True}, [[1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]]),
        (
            {'drop_silent': True, 'drop_overlong': True},
            [[1, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 1]],
        ),
    ],
    ids=lambda value: '+'.join(value) if isinstance(value, dict) else '',
)
def test_cut_off_answers_and_silent_groups_can_be_left_out(switches, kept):
    advantage, found, _ = assessed(**switches)
    np.testing.assert_array_equal(found, np.array(kept, bool))
    # A dropped branch is still compared with the rest of its group.
    np.testing.assert_array_equal(advantage, standardise(SCORE))


def test_an_experience_keeps_the_samples_of_the_rollout_and_features_of_frozen_towers():
    rollout = some_rollout().replace(features=np.zeros((4, 2, 32)))
    arrays = np.ones((4, 3)), np.ones((4, 3), bool), None, None
    prompts = tiny.prompts([3] * 4, 3)
    frozen = rl.gather_experience(prompts, rollout, *arrays, rl.Learn(train='decoder'))
    assert frozen.sampled is rollout.branches.logp and frozen.token is rollout.branches.token
    assert frozen.mask is rollout.branches.mask and frozen.features is rollout.features
    assert rl.gather_experience(prompts, rollout, *arrays, rl.Learn(train='all')).features is None


def test_branches_that_are_cut_behind_their_last_token_are_judged_and_scored_alike(policy):
    rollout, length = rolled_out(policy), 6
    seen = np.arange(SAMPLING.tokens) < length
    branches = rollout.branches
    branches = branches.replace(
        token=np.where(seen, branches.token, END),
        mask=branches.mask & seen,
        logp=np.where(seen, branches.logp, 0),
    )
    rollout = rollout.replace(branches=branches)
    short = rollout.replace(branches=rl.cut(branches, length))
    assert {x.shape[2] for x in jax.tree.leaves(short.branches)} == {length}
    score = jax.jit(functools.partial(rl.score_reference, learn=rl.Learn(), sampling=SAMPLING))
    whole_logp, logp = (score(policy.decoder, policy, PROMPTS, one) for one in (rollout, short))
    np.testing.assert_allclose(logp, whole_logp[..., :length], atol=1e-5)

    def judge(policy, prompts, rollout, reading, own, sampling):
        return standardise(jnp.tile(jnp.arange(4.0), (B, 1))), {}

    how = dict(judge=judge, learn=rl.Learn(drop_overlong=True), sampling=SAMPLING)
    wanted, found = (rl.assess(policy, PROMPTS, one, None, {}, **how) for one in (rollout, short))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize('microbatch', [0, 4])
def test_the_reference_scores_with_its_own_weights_as_branches_were_sampled(policy, microbatch):
    reference, rollout = tiny.policy(1), rolled_out(policy)
    learn = rl.Learn(chunk=3, microbatch=microbatch)
    score = functools.partial(rl.score_reference, learn=learn, sampling=SAMPLING)
    found = jax.jit(score)(reference.decoder, policy, PROMPTS, rollout)
    wanted = scored(reference, PROMPTS, rollout.branches.token)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - rollout.branches.logp)[rollout.branches.mask].mean() > 0.1


@pytest.mark.parametrize('microbatch', [0, pytest.param(4, marks=pytest.mark.slow)])
def test_the_policy_is_scored_as_it_has_sampled(policy, microbatch):
    rollout, learn = rolled_out(policy), rl.Learn(chunk=3, microbatch=microbatch)
    score = functools.partial(rl.score_policy, learn=learn, sampling=SAMPLING)
    found = jax.jit(score)(policy, PROMPTS, rollout)
    np.testing.assert_allclose(found, rollout.branches.logp, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('part', ['decoder', 'all'])
def test_the_reference_perceives_with_its_own_towers_where_they_are_trained(part):
    policy, reference = (tiny.policy(seed, SEEING) for seed in (0, 1))
    prompts = seen_prompts()
    rollout = rolled_out(policy, prompts)
    seen = jax.jit(perceive)(policy, prompts.media)
    np.testing.assert_allclose(rollout.features, seen, atol=1e-6)
    mixed = with_part(policy, 'decoder', reference.decoder)
    whose, not_whose = (reference, mixed) if part == 'all' else (mixed, reference)
    score = functools.partial(rl.score_reference, learn=rl.Learn(train=part), sampling=SAMPLING)
    found = jax.jit(score)(trained_part(reference, part), policy, prompts, rollout)
    token = rollout.branches.token
    np.testing.assert_allclose(found, scored(whose, prompts, token), atol=1e-5)
    assert np.abs(found - scored(not_whose, prompts, token)).max() > 1e-3


@pytest.mark.parametrize('each', [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_rollout_in_pieces_is_that_of_all_prompts_at_once(each):
    """With media; `each` prompt may have openings of its own."""
    opening = np.repeat(OPENING[None], B, 0)
    opening[1::2] = OPENING[::-1]
    asked = dict(prompts=seen_prompts(), opening=opening if each else OPENING)
    whole, pieces = (
        jax.device_get(rolled_out(tiny.policy(spec=SEEING), **asked, microbatch=microbatch))
        for microbatch in (0, 2)
    )
    np.testing.assert_array_equal(pieces.branches.token, whole.branches.token)
    np.testing.assert_array_equal(pieces.branches.mask, whole.branches.mask)
    assert whole.branches.mask.sum() > 100
    lone = whole.replace(branches=whole.branches.replace(watched=np.exp(whole.branches.watched)))
    found = pieces.branches.replace(watched=np.exp(pieces.branches.watched))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        pieces.replace(branches=found),
        lone,
    )


@pytest.mark.parametrize('microbatch', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rollout_on_a_2x2x2_mesh_equals_that_on_one_device(policy, microbatch):
    mesh, alone = make_mesh(2, 2, 2), jax.device_get(rolled_out(policy).branches)
    with jax.set_mesh(mesh):
        placed = jax.device_put(policy, state_shardings(mesh, policy))
        prompts, numbers = to_devices(mesh, (PROMPTS, np.arange(B, dtype=np.uint32)))
        grow = functools.partial(rl.roll_out, sampling=SAMPLING, watch=whole, microbatch=microbatch)
        rollout = jax.jit(grow)(placed, prompts, numbers, np.uint32(0), np.uint32(1), OPENING)
    found = jax.device_get(rollout.branches)
    np.testing.assert_allclose(rollout.keys.k, rolled_out(policy).keys.k, atol=1e-5)
    np.testing.assert_array_equal(found.token, alone.token)
    np.testing.assert_array_equal(found.mask, alone.mask)
    np.testing.assert_allclose(found.logp, alone.logp, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.watched), np.exp(alone.watched), atol=1e-5)


def test_gradients_of_many_pieces_are_summed_in_float32_whatever_the_dtype_of_the_weights():
    def loss_of(weight, piece):
        return weight.astype(jnp.float32) * piece.sum(), {}

    pieces = jnp.ones((600, 1))  # bfloat16 counts to 256
    gradient, _ = rl.summed_gradient(loss_of, jnp.bfloat16(1), pieces, 600, ())
    assert gradient == 600


@pytest.mark.parametrize('count', [1, 3])
def test_of_the_figures_of_pieces_some_are_summed_and_of_others_the_largest_is_taken(count):
    def loss_of(weight, piece):
        return weight * piece.sum(), {'all': piece.sum(), 'most': piece.max()}

    pieces = jnp.array([-4.0, -2.0, -3.0]).reshape(count, -1)
    gradient, figures = rl.summed_gradient(loss_of, 1.0, pieces, count, ('most',))
    assert gradient == figures['all'] == -9 and figures['most'] == -2


def test_the_gradients_of_pieces_are_summed_in_float32():
    pieces = jnp.array([1.0] + [2.0**-9] * 15)  # 1 + 2^-9 is 1 in bfloat16

    def loss_of(weight, piece):
        return weight.astype(jnp.float32) * piece, {'loss': piece}

    gradient, sums = rl.summed_gradient(loss_of, jnp.bfloat16(1), pieces, 16)
    assert gradient == sums['loss'] == 1 + 15 * 2**-9


@pytest.mark.parametrize('part', ['decoder', 'all'])
def test_the_reference_sees_the_features_of_the_rollout_where_towers_are_frozen(policy, part):
    token = random_branches()
    of_rollout, of_media = np.random.default_rng(0).normal(size=(2, 8, 3, 32)).astype(np.float32)
    place = np.where(PROMPTS.mask, np.arange(6) % 3, -1)

    def prompts(feature):
        return PROMPTS.replace(media=PROMPTS.media.replace(place=place, feature=feature))

    mask = np.ones(token.shape, bool)
    rollout = Rollout(Branches(token, mask, mask, None), features=of_rollout, keys=None)
    score = functools.partial(rl.score_reference, learn=rl.Learn(train=part), sampling=SAMPLING)
    found = jax.jit(score)(trained_part(policy, part), policy, prompts(of_media), rollout)
    seen, unseen = (of_rollout, of_media) if part == 'decoder' else (of_media, of_rollout)
    np.testing.assert_allclose(found, scored(policy, prompts(seen), token), atol=1e-5)
    assert np.abs(found - scored(policy, prompts(unseen), token)).max() > 1e-3
