"""Updates, rollouts and the reference of a policy whose adapters alone are trained."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from tiny_rl import (
    PROMPTS,
    SAMPLING,
    SEEING,
    assert_near,
    experience_of,
    rolled_out,
    scored,
    seen_prompts,
)

from mer_jax.group import Branches, Rollout, TrainState
from mer_jax.models.lora import Lora, adapters_of, attach, detach, merged, new_adapters
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import trained_part
from mer_jax.sharding import make_mesh, named, state_shardings, to_devices

LORA = Lora(rank=4, alpha=6.0)
LEARN = rl.Learn(train='lora', lora=LORA, kl=0.1)
SGD = optax.sgd(1.0, momentum=0.9)  # after one update its moments are the gradient


def adapted(policy, filled=True, lora=LORA):
    """The policy with adapters, whose B is zero unless they are filled."""
    adapters = jax.eval_shape(lambda: new_adapters(jax.random.key(0), policy, lora))
    rng = np.random.default_rng(2)

    def value(leaf, size):
        return jnp.asarray(
            rng.normal(0, size, leaf.shape) if size else np.zeros(leaf.shape), 'float32'
        )

    sizes = {name: 0.2 if filled or 'lora_A' in name else 0.0 for name in adapters}
    drawn = {
        name: jax.tree.map(functools.partial(value, size=sizes[name]), weight)
        for name, weight in adapters.items()
    }
    return attach(policy, drawn, lora)


@pytest.fixture(scope='module')
def policy():
    return adapted(tiny.policy(1))


@pytest.fixture(scope='module')
def experience(policy):
    return experience_of(policy)


@functools.cache
def program(learn: rl.Learn):
    return jax.jit(functools.partial(rl.update, learn=learn, sampling=SAMPLING, optimizer=SGD))


@pytest.fixture(scope='module')
def updated(policy, experience):
    """The state after an update in pieces, and its figures."""
    learn = dataclasses.replace(LEARN, microbatch=2)
    return program(learn)(state_of(policy), experience, np.int32(0))


def state_of(policy):
    return TrainState(policy=policy, moments=SGD.init(trained_part(policy, 'lora')))


@pytest.mark.slow
def test_an_update_is_that_of_all_weights_within_the_span_of_the_adapters(
    policy, experience, updated
):
    whole = merged(policy)
    learn = dataclasses.replace(LEARN, train='decoder')
    state = TrainState(policy=whole, moments=SGD.init(whole.decoder))
    full, figures = program(learn)(state, experience, np.int32(0))
    gradient = jax.tree_util.tree_flatten_with_path(full.moments[0].trace)[0]
    gradient = {jax.tree_util.keystr(path, simple=True, separator='.'): x for path, x in gradient}
    adapters = {name: np.asarray(x[...]) for name, x in adapters_of(policy).items()}
    found = updated[0].moments[0].trace
    wanted = {}
    for name, a in adapters.items():
        if 'lora_A' not in name:
            continue
        place = name.removesuffix('.lora_A.weight')
        b = adapters[f'{place}.lora_B.weight']
        by_weight = gradient[f'{place.removeprefix("decoder.")}.weight.value']
        layers, rank = a.shape[0], LORA.rank
        slope = by_weight.reshape(layers, a.size // rank // layers, -1)
        flat_a, flat_b = a.reshape(layers, -1, rank), b.reshape(layers, rank, -1)
        # By the chain rule of W + scale · A·B.
        by_a = LORA.scale * slope @ flat_b.swapaxes(1, 2)
        by_b = LORA.scale * flat_a.swapaxes(1, 2) @ slope
        wanted[name] = by_a.reshape(a.shape)
        wanted[f'{place}.lora_B.weight'] = by_b.reshape(b.shape)
    assert wanted.keys() == found.keys()
    assert_near({name: found[name] for name in wanted}, wanted, 1e-5)
    for name in ('loss', 'kl', 'surrogate', 'drift'):
        np.testing.assert_allclose(updated[1][name], figures[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_an_update_changes_every_adapter_and_no_other_weight(policy, updated):
    after = updated[0].policy
    jax.tree.map(np.testing.assert_array_equal, detach(after), detach(policy))
    before = adapters_of(policy)
    for name, weight in adapters_of(after).items():
        assert not np.array_equal(weight[...], before[name][...]), name


@pytest.mark.slow
def test_an_update_on_a_mesh_equals_that_on_one_device(policy, experience, updated):
    mesh, state = make_mesh(2, 2, 2), state_of(policy)
    shardings = state_shardings(mesh, state)
    with jax.set_mesh(mesh):
        update = jax.jit(program(LEARN).__wrapped__, out_shardings=(shardings, None))
        placed = jax.device_put(state, shardings), to_devices(mesh, experience)
        found, figures = update(*placed, np.int32(0))
    assert_near(found, updated[0], 1e-5)
    for name, value in updated[1].items():
        np.testing.assert_allclose(figures[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    layer = found.policy.decoder.model.layers.mlp.gate_proj
    assert layer.lora_A.weight[...].sharding.spec == named(mesh, None, 'embed', None).spec
    assert layer.lora_B.weight[...].sharding.spec == named(mesh, None, None, 'mlp').spec


def test_the_reference_of_new_adapters_is_the_policy_without_them(policy, experience):
    new = trained_part(adapted(detach(policy), filled=False), 'lora')
    rollout = Rollout(
        branches=Branches(token=experience.token, mask=experience.mask, logp=None, watched=()),
        features=experience.features,
        keys=None,
    )
    run = functools.partial(rl.score_reference, learn=LEARN, sampling=SAMPLING)
    found = jax.jit(run)(new, policy, PROMPTS, rollout)
    np.testing.assert_allclose(found, scored(detach(policy), PROMPTS, experience.token), atol=1e-6)
    assert np.abs(found - scored(policy, PROMPTS, experience.token)).max() > 0.1


@pytest.mark.parametrize(
    ('dtype', 'most'),
    [pytest.param('float32', 1e-5, marks=pytest.mark.slow), ('bfloat16', 1e-2)],
)
def test_scoring_gives_the_log_probabilities_of_decoding(policy, dtype, most):
    policy = policy.replace(spec=dataclasses.replace(policy.spec, dtype=dtype))
    branches = rolled_out(policy).branches
    logp = scored(policy, PROMPTS, branches.token)
    gap = np.abs(np.asarray(logp) - branches.logp)[np.asarray(branches.mask)]
    assert gap.size > 100 and gap.mean() < most


@pytest.mark.slow
@pytest.mark.parametrize('axes', [(2, 2, 2), (1, 8, 1)], ids=str)
def test_a_rollout_on_a_mesh_equals_that_on_one_device(policy, axes):
    mesh, alone = make_mesh(*axes), jax.device_get(rolled_out(policy).branches)
    with jax.set_mesh(mesh):
        placed = jax.device_put(policy, state_shardings(mesh, policy))
        prompts, numbers = to_devices(mesh, (PROMPTS, np.arange(len(PROMPTS.start))))
        found = jax.device_get(rolled_out(placed, prompts, numbers=numbers).branches)
    np.testing.assert_array_equal(found.token, alone.token)
    np.testing.assert_allclose(found.logp, alone.logp, atol=1e-5)


@pytest.mark.slow
def test_adapters_of_the_towers_learn_beside_frozen_towers():
    lora, prompts = Lora(rank=2, alpha=4.0, towers=True), seen_prompts()
    policy = adapted(tiny.policy(spec=SEEING), lora=lora)
    learn = dataclasses.replace(LEARN, lora=lora)
    assert learn.trains_towers
    experience = experience_of(policy, prompts)
    after, _ = program(learn)(state_of(policy), experience, np.int32(0))
    jax.tree.map(np.testing.assert_array_equal, detach(after.policy), detach(policy))
    before = adapters_of(policy)
    assert sum(name.startswith(('visual', 'audio_tower')) for name in before) > 10
    for name, weight in adapters_of(after.policy).items():
        assert not np.array_equal(weight[...], before[name][...]), name
