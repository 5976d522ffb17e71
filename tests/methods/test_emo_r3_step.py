"""A whole step of EMO-R3, from the rollout to its second update: on a mesh as on one device."""

import types

import jax
import numpy as np
import optax
import pytest
import tiny
from tiny_rl import END, OPENING, SAMPLING, SEEING, B, G, seen_prompts

from mer_jax.methods.emo_r3 import Reflection, Rules, make
from mer_jax.methods.emo_r3_reading import Reading
from mer_jax.methods.method import Words
from mer_jax.rl.optimizer import start_state
from mer_jax.rl.step import Learn
from mer_jax.run.second_look import look_again
from mer_jax.run.shares import numbers_of_rows
from mer_jax.run.train import compile_programs, judge, learn_from, make_reference
from mer_jax.sharding import make_mesh, state_shardings, to_devices, to_host

SPELT = {'anger': [20, 21], 'awe': [20, 22, 23], 'fear': [24], 'joy': [25], 'yes': [30], 'no': [31]}
LABELS = ('anger', 'awe', 'fear', 'joy')
PIECES = [b'awe', b'yes', b'', b'no'] * 16  # what each token says
LEARN = Learn(train='all', kl=0.1, clip_high=0.3, clip_dual=3.0, minibatches=2)
SGD = optax.sgd(0.1, momentum=0.9)
T, SIZE = 12, 10  # room of the questions
SEED, STEP, PARTS = np.uint32(5), np.uint32(2), np.arange(2, dtype=np.int32)


def method(by):
    rules = Rules(labels=LABELS, reflection=Reflection(by=by, reward='probability'), reply_tokens=3)
    texts = types.SimpleNamespace(end=END, piece=PIECES)
    return make(rules, Words(SPELT.get, texts, None, None))


def reading():
    """The host's reading of the answers; two of them are asked no question."""
    rng = np.random.default_rng(0)
    story_length, view_length = rng.integers(2, T + 1, (B, G)), rng.integers(1, SIZE + 1, (B, G))
    story_length[1, 2] = view_length[1, 2] = view_length[4, 0] = 0
    story, view = rng.integers(2, 60, (B, G, T)), rng.integers(2, 60, (B, G, SIZE))
    story[..., 0], view[..., 0] = 5, 6  # a chat begins alike, and so does the text behind a picture
    zeros = np.zeros((B, G), np.float32)
    return Reading(
        right=rng.random((B, G)) < 0.4,
        formed=rng.random((B, G)) < 0.7,
        truth=rng.integers(0, len(LABELS), (B, G)),
        story=np.where(np.arange(T) < story_length[..., None], story, 0),
        story_length=story_length,
        view=np.where(np.arange(SIZE) < view_length[..., None], view, 0),
        view_length=view_length,
        too_long=zeros.astype(int),
        coherence=zeros,
        consistency=zeros,
    )


def setting_of(mesh, by):
    """The part of a run's setting that the programs of a step need."""
    rollout = types.SimpleNamespace(temperature=1.0, top_p=1.0, microbatch=1)
    return types.SimpleNamespace(
        config=types.SimpleNamespace(rollout=rollout, learn=LEARN),
        method=method(by),
        mesh=mesh,
        sampling=lambda temperature, top_p: SAMPLING,
        spec=SEEING,
        traced=None,
    )


def step_on(shape, by):
    """A step on a mesh: tokens, rewards of the reflection, state after it, figures; on the host."""
    mesh = make_mesh(*shape, jax.devices()[: np.prod(shape)])
    order, setting = numbers_of_rows(mesh, B, LEARN.minibatches), setting_of(mesh, by)
    with jax.set_mesh(mesh):
        policy = tiny.policy(spec=SEEING)
        policy = jax.device_put(policy, state_shardings(mesh, policy))
        reference = make_reference(setting, tiny.policy(1, SEEING), LEARN)
        state, shardings = start_state(mesh, policy, LEARN.train, SGD, 'float32')
        programs = compile_programs(setting, LEARN, SGD, shardings)
        mine = jax.tree.map(lambda x: np.asarray(x)[order], (seen_prompts(), reading()))
        prompts, numbers = to_devices(mesh, (mine[0], order.astype(np.uint32)))
        rollout = programs.roll_out(state.policy, prompts, numbers, SEED, STEP, OPENING)
        arrays = state.policy, prompts, rollout, mine[1], numbers
        heard = look_again(setting, SAMPLING, *arrays, SEED, STEP)
        token = to_host(rollout.branches.token)
        arrays = prompts, rollout, to_devices(mesh, heard), {}
        experience, figures = judge(programs, state.policy, reference, *arrays, LEARN)
        state, of_updates = learn_from(programs, state, experience, PARTS, LEARN)
    back = np.argsort(order)
    rewards = heard.coherence[back], heard.consistency[back]
    return token[back], rewards, jax.device_get(state), jax.device_get(figures) | of_updates


@pytest.mark.slow
@pytest.mark.parametrize('by', ['score', 'sample'])
def test_a_step_on_a_2x2x2_mesh_equals_that_on_one_device(by):
    alone, found = step_on((1, 1, 1), by), step_on((2, 2, 2), by)
    np.testing.assert_array_equal(found[0], alone[0])
    np.testing.assert_allclose(found[1], alone[1], atol=1e-5)
    assert all(np.ptp(reward) > 0.1 for reward in alone[1])
    pairs = list(zip(jax.tree.leaves(found[2]), jax.tree.leaves(alone[2]), strict=True))
    largest = max(np.abs(moment).max() for moment in jax.tree.leaves(alone[2].moments))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * largest, rtol=0)
    assert alone[3].keys() == found[3].keys() >= {'coherence', 'consistency', 'reflection_std'}
    assert alone[3]['ratio_spread'] > 1e-3  # the second update departs from the rollout
    for name, value in alone[3].items():
        np.testing.assert_allclose(found[3][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
