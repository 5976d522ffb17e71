"""Layouts on a mesh: what travels in the compiled programs, and that results stay the same."""

import dataclasses
import functools
import math

import jax
import numpy as np
import optax
import pytest
import tiny
from tiny_rl import PROMPTS, SAMPLING, SEEING, experience_of, rolled_out, seen_prompts
from traced_collectives import bytes_by_kind, collectives

from mer_jax.group import TrainState
from mer_jax.models.omni import perceive
from mer_jax.models.spec import Spec, TextSpec
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import trained_part
from mer_jax.rl.score import Sampling
from mer_jax.run.cold_start import imitate_step
from mer_jax.sharding import (
    RULES,
    is_weight,
    make_mesh,
    named,
    state_shardings,
    to_devices,
    use_rules,
)

# No two sizes of an activation or a weight are the same, so that a shape tells which one it is.
TEXT = TextSpec(
    vocab_size=704,
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=12,
    num_key_value_heads=4,
    head_dim=16,
    intermediate_size=160,
    mrope_section=(2, 3, 3),
)
B, G, T, S = 16, 3, 20, 10
LONG = Sampling(tokens=S, end=63, banned=(60,), temperature=0.7, top_p=0.9)
NUCLEUS = dataclasses.replace(SAMPLING, top_p=0.9)
WHOLE_MESH = 1, 8, 1
SGD = optax.sgd(1.0, momentum=0.9)
# Weights over data too, prompts over data alone, columns over the devices that this leaves.
OTHER_RULES = RULES | {'batch': 'data', 'embed': 'data', 'mlp': ('fsdp', 'tensor'), 'vocab': None}
SPREAD = RULES | {'embed': ('fsdp', 'data')}  # weights over copies, too, as for 7B
# Quick tests of rl/ have a mesh of 2 x 2 x 2.
SLOW = (2, 2, 2), (8, 1, 1), (1, 8, 1)
PROGRAMS = ['update', pytest.param('cold start', marks=pytest.mark.slow)]


def shapes_on(mesh, tree, sharding=None):
    """The tree as shapes on a mesh: weights where they lie, or all with one sharding."""
    shardings = state_shardings(mesh, tree)
    return jax.tree.map(
        lambda x, own: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or own),
        tree,
        shardings,
    )


def blank_experience(prompts) -> rl.Experience:
    """An experience of zeros, as large as the programs below."""
    scores = np.zeros((B, G, S), np.float32)
    return rl.Experience(
        prompts=prompts,
        features=np.zeros((B, 0, TEXT.hidden_size), np.float32),
        token=np.zeros((B, G, S), np.int32),
        mask=np.zeros((B, G, S), bool),
        kept=np.zeros((B, G), bool),
        sampled=scores,
        advantage=scores[..., 0],
        reference=scores,
    )


@functools.cache
def compiled(program: str):
    """The collectives of a program, the token loop counted S − 1 times, and the policy's shapes."""
    mesh, prompts = make_mesh(*WHOLE_MESH), tiny.prompts([T] * B, T)
    spec = Spec(text=TEXT, vision=None, audio=None, remat=True)
    policy = tiny.shapes(spec)
    state = TrainState(policy, jax.eval_shape(SGD.init, policy.decoder))
    learnt = dict(sampling=LONG, optimizer=SGD)
    lesson = functools.partial(imitate_step, part='decoder', modes=('slow',) * G, chunk=5, **learnt)
    placed, experience = shapes_on(mesh, state), blank_experience(prompts)
    batch = shapes_on(mesh, experience, named(mesh, 'batch'))
    numbers = shapes_on(mesh, np.zeros(B, np.uint32), named(mesh, 'batch'))
    opening, seeds = np.zeros((G, 1), np.int32), (np.uint32(0), np.uint32(1))
    with jax.set_mesh(mesh):
        run, arguments = {
            'update': (
                functools.partial(rl.update, learn=rl.Learn(chunk=5), **learnt),
                (placed, batch, np.int32(0)),
            ),
            'cold start': (
                lesson,
                (placed, batch.prompts, batch.features, batch.token, batch.mask),
            ),
            'rollout': (
                functools.partial(rl.roll_out, sampling=LONG, watch=lambda logp: ()),
                (placed.policy, batch.prompts, numbers, *seeds, opening),
            ),
        }[program]
        to = None if program == 'rollout' else (state_shardings(mesh, state), named(mesh))
        text = jax.jit(run, out_shardings=to).lower(*arguments).compile().as_text()
    return collectives(text, S - 1), policy


def dimensions(shape) -> tuple[int, ...]:
    """The sizes of an array above 1, sorted: the same for a weight and its transpose."""
    return tuple(sorted(n for n in shape if n > 1))


@pytest.mark.parametrize('program', PROGRAMS)
def test_only_weights_and_their_gradients_travel_inside_the_layers_of_an_update(program):
    found, policy = compiled(program)
    layers = jax.tree.leaves(policy.decoder.model.layers)
    known = {dimensions(leaf.shape[1:]) for leaf in layers}
    known |= {dimensions(leaf.shape) for leaf in jax.tree.leaves(policy.decoder.lm_head)}
    inside = [one for one in found if one.loops]
    assert {one.kind for one in inside} <= {'all-gather', 'all-reduce', 'reduce-scatter'}
    strangers = [
        (one.kind, shape, one.place)
        for one in inside
        for _, shape in one.arrays
        if dimensions(shape) not in known
    ]
    assert not strangers


@pytest.mark.parametrize('program', PROGRAMS)
def test_an_update_moves_few_times_the_bytes_of_its_weights(program):
    found, policy = compiled(program)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(policy.decoder))
    moved = bytes_by_kind(found)
    # Layers are gathered twice, forward and again for the backward pass, the head once; prompts and
    # branches pass through them together. Every gradient is summed once.
    assert size < moved['all-gather'] < 2 * size
    assert 0.95 * size < moved['all-reduce'] < 1.05 * size
    assert sum(moved.values()) < 3 * size


@pytest.mark.slow
def test_only_weights_and_their_gradients_travel_while_towers_perceive_and_learn():
    mesh, spec = make_mesh(*WHOLE_MESH), dataclasses.replace(SEEING, remat=True)
    policy = tiny.shapes(spec)
    media = jax.tree.map(lambda x: np.repeat(x, 2, 0), seen_prompts().media)

    def total(policy, media):
        return (perceive(policy, media) ** 2).sum()

    with jax.set_mesh(mesh):
        given = shapes_on(mesh, policy), shapes_on(mesh, media, named(mesh, 'batch'))
        found = collectives(jax.jit(jax.grad(total)).lower(*given).compile().as_text())
    leaves = jax.tree.leaves((policy.visual, policy.audio_tower))
    known = {dimensions(shape) for leaf in leaves for shape in (leaf.shape, leaf.shape[1:])}
    strangers = [one for one in found if not {dimensions(s) for _, s in one.arrays} <= known]
    assert len(found) > 20 and not strangers


@pytest.mark.parametrize('program', [*PROGRAMS, 'rollout'])
def test_nothing_travels_inside_a_conditional(program):
    found, _ = compiled(program)
    assert not [one.place for one in found if '/branch_' in one.place]


def test_no_weight_no_key_and_no_vocabulary_travels_inside_the_token_loop():
    found, policy = compiled('rollout')
    inside = [one for one in found if one.endless]
    hidden = B * G * TEXT.hidden_size  # as many numbers as the largest that may travel
    sizes = [sum(math.prod(shape) for _, shape in one.arrays) for one in inside]
    large = [one for one, size in zip(inside, sizes, strict=True) if size > hidden]
    assert inside and not large
    assert min(math.prod(shape) for shape in matrices(policy)) > hidden
    assert B * G * TEXT.vocab_size / math.prod(WHOLE_MESH) > hidden
    # Two sums of hidden states a layer, their embeddings, and the rest as large as two of them.
    layers = TEXT.num_hidden_layers
    assert sum(bytes_by_kind(inside).values()) < (2 * layers + 3) * 1.5 * (S - 1) * hidden * 4


def matrices(policy) -> list[tuple[int, ...]]:
    """The shapes of the matrices of a layer of the decoder."""
    nodes = jax.tree.leaves(policy.decoder.model.layers, is_leaf=is_weight)
    return [jax.tree.leaves(node)[0].shape[1:] for node in nodes if node.inputs]


@pytest.mark.parametrize(
    ('axes', 'rules'),
    [((1, 2, 4), RULES), *(pytest.param(axes, RULES, marks=pytest.mark.slow) for axes in SLOW)]
    + [pytest.param((2, 4, 1), SPREAD, marks=pytest.mark.slow)],
    ids=['1x2x4', '2x2x2', '8x1x1', '1x8x1', 'spread'],
)
def test_a_rollout_on_a_mesh_equals_that_on_one_device(axes, rules):
    mesh, policy = make_mesh(*axes), tiny.policy()
    alone = jax.device_get(rolled_out(policy, sampling=NUCLEUS).branches)
    with jax.set_mesh(mesh), use_rules(rules):
        policy = jax.device_put(policy, state_shardings(mesh, policy))
        prompts, numbers = to_devices(mesh, (PROMPTS, np.arange(len(PROMPTS.start))))
        found = jax.device_get(rolled_out(policy, prompts, NUCLEUS, numbers).branches)
    np.testing.assert_array_equal(found.token, alone.token)
    np.testing.assert_array_equal(found.mask, alone.mask)
    np.testing.assert_allclose(found.logp, alone.logp, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.watched), np.exp(alone.watched), atol=1e-5)


@functools.cache
def update_alone(part):
    """An update of this part on one device: the program, what it takes, and what it gives."""
    spec, prompts = (SEEING, seen_prompts()) if part == 'all' else (tiny.SPEC, PROMPTS)
    policy, learn = tiny.policy(spec=spec), rl.Learn(train=part, chunk=5)
    state = TrainState(policy=policy, moments=SGD.init(trained_part(policy, part)))
    given = state, experience_of(policy, prompts)
    run = functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD)
    return run, given, jax.jit(run)(*given, np.int32(0))


@pytest.mark.slow  # quick: rl/test_update.py on a mesh of 2 x 2 x 2
@pytest.mark.parametrize('axes', [(1, 2, 4), *SLOW], ids=str)
def test_an_update_on_a_mesh_equals_that_on_one_device(axes):
    compare_update(make_mesh(*axes), 'decoder')


@pytest.mark.slow
def test_an_update_with_other_rules_of_sharding_equals_that_on_one_device():
    compare_update(make_mesh(2, 2, 2), 'decoder', OTHER_RULES)
    compare_update(make_mesh(2, 4, 1), 'decoder', SPREAD)


@pytest.mark.slow
def test_an_update_of_towers_on_a_mesh_equals_that_on_one_device():
    compare_update(make_mesh(2, 2, 2), 'all')


def compare_update(mesh, part, rules=RULES):
    """Asserts that an update of this part on a mesh is that on one device."""
    run, (state, experience), (alone, figures) = update_alone(part)
    with jax.set_mesh(mesh), use_rules(rules):
        shardings = state_shardings(mesh, state)
        placed = jax.device_put(state, shardings), to_devices(mesh, experience)
        update = jax.jit(lambda *given: run(*given), out_shardings=(shardings, None))  # by `rules`
        found, figures_8 = update(*placed, np.int32(0))
    gradients = jax.tree.leaves(alone.moments)  # after one update, for the next as well
    largest = max(np.abs(leaf).max() for leaf in gradients)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(jax.device_get(one), other, atol=1e-5 * largest, rtol=1e-6)
    for name, value in figures.items():
        np.testing.assert_allclose(figures_8[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
