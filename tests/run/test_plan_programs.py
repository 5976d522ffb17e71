"""The programs of a plan: published sizes, the state of training, what is compiled and what not."""

import jax
import numpy as np
import pytest
import small
from small_plan import shrunk

from mer_jax.rl.optimizer import make_optimizer, start_state
from mer_jax.run.emo_r3_defaults import emo_r3
from mer_jax.run.origin import abstract_policy, first_policy
from mer_jax.run.plan_memory import bytes_of
from mer_jax.run.plan_programs import abstract_state, lasting_arrays, plan_run, planned_setting
from mer_jax.run.published_sizes import SPECS

WEIGHTS = {  # billions, counted on the published architectures
    'qwen2_5_vl_3b': 3.755,
    'qwen2_5_vl_7b': 8.292,
    'qwen2_5_omni_7b': 8.932,
    'qwen2_5_omni_3b': 4.703,
}


def planned_names(setting) -> list[str]:
    """The names of the programs of a plan, none of which is compiled."""
    return [program.name for program in planned(setting)]


def planned(setting) -> list:
    """The programs of a plan, none of which is compiled."""
    programs = []

    def refuse(program):
        programs.append(program)
        return lambda: None

    with jax.set_mesh(setting.mesh):
        plan_run(setting, 'features', refuse)
    return programs


@pytest.mark.parametrize('variant', SPECS)
def test_published_sizes_have_the_published_number_of_weights(variant, variant_config):
    c = variant_config(variant)
    setting = planned_setting(c, variant, jax.devices())
    policy = abstract_policy(setting.spec, c, setting.mesh)
    size = sum(leaf.size for leaf in jax.tree.leaves(policy))
    assert round(size / 1e9, 3) == WEIGHTS[variant]


def test_a_run_of_adapters_holds_frozen_weights_once_and_in_bfloat16(variant_config):
    variant = 'qwen2_5_omni_7b,lora'
    setting = planned_setting(variant_config(variant), variant, jax.devices()[:1])
    held = {name: bytes_of(tree) for name, tree in lasting_arrays(setting).items()}
    # Rank 16 beside queries, keys, values, outputs, gate, up and down of 28 layers.
    widths = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18_944)
    adapters = 16 * 28 * widths
    assert held['weights'] - 4 * adapters == pytest.approx(2 * 8.932e9, rel=1e-4)
    assert held['moments'] == pytest.approx(8 * adapters, abs=64)
    assert held['reference'] == 2 * adapters


def test_a_published_config_has_the_dtype_remat_and_attention_of_its_model(variant_config):
    c = variant_config('qwen2_5_vl_3b')
    c = small.changed(c, model__remat=False, model__attention='blocks')
    spec = planned_setting(c, 'qwen2_5_vl_3b', jax.devices()).spec
    found = spec.dtype, spec.remat, spec.attention, spec.family
    assert found == ('bfloat16', False, 'blocks', 'vl')


def test_a_config_without_sizes_names_the_variants(variant_config):
    with pytest.raises(ValueError, match='the config has no sizes; .*qwen2_5_omni_7b'):
        planned_setting(variant_config('qwen2_5_omni_7b'), '', jax.devices())


def test_a_mesh_that_does_not_fit_the_devices_is_refused(config):
    c = small.changed(config, mesh__data=3)
    with pytest.raises(ValueError, match='mesh.data=3.*number of devices = 8'):
        planned_setting(c, '', jax.devices())


@pytest.mark.slow
def test_the_planned_state_is_that_of_training(config):
    c = shrunk(config, mesh__data=1, mesh__fsdp=2)
    setting = planned_setting(c, '', jax.devices()[:2])
    optimizer = make_optimizer(c.optim, 1e-3, 6)
    with jax.set_mesh(setting.mesh):
        policy = first_policy(setting.origin, c, setting.mesh)
        real, _ = start_state(setting.mesh, policy, 'decoder', optimizer)
        like = abstract_policy(setting.spec, c, setting.mesh)
        planned, _ = abstract_state(setting, like, 'decoder', optimizer)
    assert jax.tree.structure(real) == jax.tree.structure(planned)
    for one, other in zip(jax.tree.leaves(real), jax.tree.leaves(planned), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim)


def test_a_plan_holds_the_programs_of_the_run_alone(config):
    c = shrunk(config, learn__kl=0.0)
    setting = planned_setting(c, '', jax.devices()[:2])
    names = ['cold_start', 'roll_out', 'judge', 'update', 'evaluate']
    assert planned_names(setting) == names


def test_with_a_cap_the_scores_of_the_policy_are_planned_before_the_update(config):
    c = shrunk(config, cold_start__steps=0, learn__ratio_cap=2.0)
    setting = planned_setting(c, '', jax.devices()[:2])
    names = ['roll_out', 'judge', 'reference', 'scored', 'update', 'evaluate']
    assert planned_names(setting) == names


def test_a_second_look_is_planned_before_the_judge():
    c = shrunk(emo_r3(), cold_start__steps=0, prompts_per_step=4)
    setting = planned_setting(c, '', jax.devices()[:2])
    names = ['roll_out', 'second_look', 'judge', 'reference', 'update', 'evaluate']
    assert planned_names(setting) == names


def test_arrays_beside_a_program_are_those_that_it_does_not_take(config):
    c = shrunk(config, every__validate=2, mesh__data=1, mesh__fsdp=2)
    setting = planned_setting(c, '', jax.devices()[:2])
    beside = {program.name: program.beside for program in planned(setting)}
    moments, reference = beside['reference'], beside['update']
    assert 1.9 < moments / reference < 2.1  # two moments a weight, and one copy of it
    assert beside['roll_out'] == beside['judge'] == beside['evaluate'] == moments + reference
    assert beside['cold_start'] == 0
    assert isinstance(moments, int | np.integer)
