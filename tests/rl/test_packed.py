"""Packed branches give the same updates and scores as padded ones."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import tiny
from tiny_rl import (
    PROMPTS,
    SAMPLING,
    SEEING,
    B,
    G,
    S,
    assert_near,
    experience_of,
    largest_of,
    random_branches,
    seen_prompts,
)

from mer_jax.group import Branches, Rollout, TrainState
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import trained_part
from mer_jax.run import packing
from mer_jax.run.cold_start import imitate_step
from mer_jax.run.packing import pack
from mer_jax.sharding import make_mesh, state_shardings, to_devices

SLOW = pytest.mark.slow
SGD = optax.sgd(1.0, momentum=0.9)  # after one update its moments are the gradient
PPO = rl.Learn(kl=0.1, clip_low=0.1, clip_high=0.3, chunk=3)
PIECES = dataclasses.replace(PPO, microbatch=1, minibatches=2, ratio='sequence')
CAPPED = dataclasses.replace(PPO, ratio_cap=1.2, drop_silent=True, aggregate='constant')


def short(experience):
    """The experience with branches of which few are full, and one that learns nothing."""
    length = np.random.default_rng(0).integers(4, 7, (B, G, 1))
    length[2, 1], length[5, 0] = 0, S
    mask = experience.mask & (np.arange(S) < length)
    return experience.replace(mask=mask, sampled=np.where(mask, experience.sampled, 0))


def packed(experience, learn):
    """The experience with its packing."""
    found = pack(experience.mask, B // learn.minibatches, learn.microbatch, 8)
    assert found is not None
    return experience.replace(packing=found)


def state_of(policy, part='decoder'):
    return TrainState(policy=policy, moments=SGD.init(trained_part(policy, part)))


def assert_same(found, wanted):
    """Two results (state, figures) are the same but for rounding."""
    (one, figures), (other, expected) = jax.device_get((found, wanted))
    largest = largest_of(other.moments)
    assert largest > 1e-3
    assert_near(one, other, 1e-5, largest)
    assert figures.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Rows of any length, so that those of a single prompt are packed."""
    monkeypatch.setattr(packing, 'TILE_ROWS', 1)


@pytest.fixture(scope='module')
def policy():
    return tiny.policy(1, dataclasses.replace(tiny.SPEC, remat=True))


@pytest.fixture(scope='module')
def experience(policy):
    made = short(experience_of(policy))
    return made.replace(kept=np.random.default_rng(1).random((B, G)) < 0.8)


@pytest.mark.parametrize(
    ('learn', 'attention'),
    [(PPO, 'plain'), (PIECES, 'blocks'), (CAPPED, 'plain')],
    ids=['ppo', 'pieces', 'capped'],
)
def test_packed_branches_teach_what_padded_ones_do(policy, experience, learn, attention):
    policy = policy.replace(spec=dataclasses.replace(policy.spec, attention=attention))
    update = jax.jit(functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD))
    if learn.ratio_cap:
        near = np.random.default_rng(2).normal(0, 0.2, (B, G, S)).astype(np.float32)
        experience = experience.replace(scored=experience.sampled + near * experience.mask)
    given = packed(experience, learn)
    assert given.packing.token.size < 0.9 * B * G * (S - 1)
    for part in range(learn.minibatches):
        number = np.int32(part)
        state = state_of(policy)
        assert_same(update(state, given, number), update(state, experience, number))


def test_packed_branches_teach_towers_what_padded_ones_do():
    policy = tiny.policy(1, SEEING)
    experience = short(experience_of(policy, seen_prompts()))
    learn = rl.Learn(train='all', kl=0.1)
    update = jax.jit(functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD))
    given, state = packed(experience, learn), state_of(policy, 'all')
    assert_same(update(state, given, np.int32(0)), update(state, experience, np.int32(0)))


@pytest.mark.parametrize(
    ('axes', 'learn'),
    [((2, 2, 2), dataclasses.replace(PPO, microbatch=1)), pytest.param((1, 2, 4), PPO, marks=SLOW)],
    ids=['2x2x2', '1x2x4'],
)
def test_packed_branches_on_a_mesh_teach_what_padded_ones_on_one_device_do(
    policy, experience, axes, learn
):
    run = functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD)
    state, number = state_of(policy), np.int32(0)
    wanted = jax.jit(run)(state, experience, number)
    mesh = make_mesh(*axes)
    with jax.set_mesh(mesh):
        shardings = state_shardings(mesh, state)
        placed = jax.device_put(state, shardings), to_devices(mesh, packed(experience, learn))
        found = jax.jit(run, out_shardings=(shardings, None))(*placed, number)
    assert_same(found, wanted)


@pytest.mark.parametrize('microbatch', [0, 4])
def test_packed_branches_are_scored_as_padded_ones_are(policy, experience, microbatch):
    learn = dataclasses.replace(PPO, microbatch=microbatch, minibatches=2)
    blank = np.zeros((B, G, S), np.float32)
    made = Branches(token=experience.token, mask=experience.mask, logp=blank, watched=None)
    rollout = Rollout(branches=made, features=np.zeros((B, 0, 32), np.float32), keys=None)
    score = jax.jit(functools.partial(rl.score_reference, learn=learn, sampling=SAMPLING))
    given = policy.decoder, policy, PROMPTS, rollout
    rows = packed(experience, learn).packing
    found, wanted = score(*given, rows), np.asarray(score(*given))
    read = np.pad(rows.entry >= 0, ((0, 0), (0, 0), (1, 0)))[..., :S]  # one token later
    assert read[experience.mask].all() and not read.all()
    np.testing.assert_allclose(found, np.where(read, wanted, 0), atol=1e-5)


def test_packed_gold_branches_are_imitated_as_padded_ones_are(policy):
    token, mask = random_branches(g=2), np.zeros((B, 2, S), bool)
    mask[:, 0, 2:8], mask[:, 1, 1:3] = True, True  # slow and fast
    mask[3, 0] = False  # a clip without a trace
    known = dict(modes=('slow', 'fast'), sampling=SAMPLING, chunk=4, optimizer=SGD, microbatch=4)
    step = jax.jit(functools.partial(imitate_step, part='decoder', **known))
    given = state_of(policy), PROMPTS, np.zeros((B, 0, 32), np.float32), token, mask
    rows = pack(mask, B, 4, 8)
    assert rows.token.shape == (2, 40)
    assert_same(step(*given, rows), step(*given))
