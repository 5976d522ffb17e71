"""Runs that train adapters: rules of their keys, where they begin, resume, export, answers."""

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny
from small import changed, shrink

from mer_jax.data.loader import Damages
from mer_jax.evaluation.asking import asked_config
from mer_jax.evaluation.defaults import mer_unibench
from mer_jax.group import TrainState
from mer_jax.models.checkpoint.peft import read_adapter, read_lora
from mer_jax.models.lora import Lora, adapters_of, attach, detach, merged, new_adapters
from mer_jax.rl.optimizer import (
    apply_gradient,
    host_figures,
    make_optimizer,
    start_state,
    trained_part,
)
from mer_jax.run.adapters import make_lora
from mer_jax.run.checkpoint_files import files_of_checkpoint
from mer_jax.run.checkpoints import Checkpoints
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.cold_start import cold_start
from mer_jax.run.config_rules import check_config
from mer_jax.run.defaults import mer_r1
from mer_jax.run.export import export_adapter, export_policy
from mer_jax.run.identity import identity_of
from mer_jax.run.origin import abstract_policy, base_of, config_of, first_policy
from mer_jax.run.records import read_records
from mer_jax.run.setting import Setting, open_checkpoint
from mer_jax.run.stage_loop import Every, run_stage
from mer_jax.run.workdir import claim_workdir
from mer_jax.sharding import make_mesh

LORA = Lora(rank=2, alpha=3.0, targets=('q_proj', 'up_proj'))


def lora_config(c, lora=LORA, **values):
    """The config with these adapters trained."""
    keys = {f'learn__lora__{key}': value for key, value in dataclasses.asdict(lora).items()}
    return changed(c, learn__train='lora', cold_start__towers=False, **keys, **values)


def filled(policy, lora=LORA):
    """The policy with adapters whose A and B are random."""
    adapters = jax.eval_shape(lambda: new_adapters(jax.random.key(0), policy, lora))
    rng = np.random.default_rng(3)
    drawn = jax.tree.map(
        lambda leaf: jax.device_put(rng.normal(0, 0.3, leaf.shape).astype('float32')), adapters
    )
    return attach(policy, drawn, lora)


@pytest.mark.parametrize(
    ('values', 'told'),
    [
        ({'learn__lora__rank': 0}, 'learn.lora.rank=0: must be at least 1'),
        ({'learn__lora__alpha': 0.0}, 'learn.lora.alpha=0.0: must be above 0'),
        ({'learn__lora__alpha': float('nan')}, 'learn.lora.alpha=nan: must be a finite number'),
        ({'learn__lora__targets': ()}, r'learn.lora.targets=\(\): must name linear layers'),
        ({'learn__lora__targets': ('qproj',)}, r"learn.lora.targets=\('qproj',\): must name"),
        ({'learn__lora__targets': ('q_proj', 'q_proj')}, 'learn.lora.targets=.* each once'),
        ({'cold_start__towers': True}, 'cold_start.towers=True: .* set cold_start.towers=False'),
        ({'model__adapter': 'a'}, "model.adapter='a': needs the model that it was trained on"),
        (
            {'learn__train': 'decoder', 'model__adapter': 'a', 'model__checkpoint': 'b'},
            "model.adapter='a': is trained with learn.train=lora alone, and learn.train=decoder",
        ),
    ],
)
def test_a_broken_rule_of_adapters_is_named_with_its_key(config, values, told):
    with pytest.raises(ValueError, match=told):
        check_config(changed(lora_config(config), **values))


def test_weights_are_kept_in_the_dtype_of_activations_and_adapters_in_float32(config):
    c = shrink(lora_config(config, model__dtype='bfloat16'))
    setting = Setting(c)
    like = abstract_policy(setting.spec, c, setting.mesh)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(detach(like))} == {'bfloat16'}
    adapters = adapters_of(like)
    assert len(adapters) == 4 and {leaf.dtype.name for leaf in jax.tree.leaves(adapters)} == {
        'float32'
    }


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    """The workdir of a run that trains all weights."""
    folder = tmp_path_factory.mktemp('base')
    small.write_run(shrink(mer_r1()), folder)
    return str(folder)


def lora_run(folder, base):
    """A workdir whose last checkpoint holds random adapters for the policy of `base`."""
    c = shrink(lora_config(mer_r1(), model__checkpoint=base))
    setting = Setting(c)
    policy = filled(small.random_policy(setting_of_base()))
    claim_workdir(folder, c, setting.spec)
    with Checkpoints(folder / 'train', 1) as checkpoints:
        checkpoints.save(1, TrainState(policy=policy, moments=()))
    return policy


def setting_of_base():
    return Setting(shrink(mer_r1()))


def same(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.slow
def test_a_run_with_adapters_is_opened_and_exported_in_both_ways(base, tmp_path):
    policy = lora_run(tmp_path / 'run', base)
    setting, opened = open_checkpoint(str(tmp_path / 'run'))
    same(opened, policy)
    export_policy(setting, opened, tmp_path / 'merged')
    export_adapter(setting, opened, tmp_path / 'adapter', tmp_path / 'run', 'base')
    assert config_of(str(tmp_path / 'merged')).learn.train == 'decoder'
    _, whole = open_checkpoint(str(tmp_path / 'merged'))
    same(whole.decoder, merged(policy).decoder)
    assert read_lora(tmp_path / 'adapter') == LORA
    same(read_adapter(tmp_path / 'adapter', adapters_of(policy)), adapters_of(policy))


def test_an_adapter_beside_a_checkpoint_answers_and_starts_a_run(base, tmp_path):
    policy = small.random_policy(setting_of_base())
    trained = filled(policy)
    setting = Setting(shrink(lora_config(mer_r1())))
    export_adapter(setting, trained, tmp_path / 'adapter', tmp_path / 'run', 'base')
    _, asked = open_checkpoint(base, str(tmp_path / 'adapter'))
    same(adapters_of(asked), adapters_of(trained))
    same(detach(asked).decoder, policy.decoder)
    evaluated = mer_unibench()
    evaluated.model.update(checkpoint=base, adapter=str(tmp_path / 'adapter'))
    found = asked_config(evaluated)
    assert (found.learn.train, make_lora(found.learn.lora)) == ('lora', LORA)
    assert found.model.adapter == evaluated.model.adapter
    places = {'model__checkpoint': base, 'model__adapter': str(tmp_path / 'adapter')}
    c = lora_config(shrink(mer_r1()), **places)
    with setting.in_use():
        same(adapters_of(first_policy(setting.origin, c, setting.mesh)), adapters_of(trained))
    lines = [line['file'] for line in identity_of(Setting(c)) if line['reads'] == 'checkpoint']
    assert {'adapter/adapter_config.json', 'adapter/adapter_model.safetensors'} <= {*lines}
    other = dataclasses.replace(LORA, rank=3)
    told = 'learn.lora.rank=3: must be that of the adapter in model.adapter=.*, 2; set --config'
    with pytest.raises(ValueError, match=told):
        first_policy(setting.origin, lora_config(c, other, **places), setting.mesh)


def test_a_run_with_adapters_is_trained_further_as_it_was_or_not_at_all(base, tmp_path):
    policy = lora_run(tmp_path / 'run', base)
    setting = setting_of_base()

    def start(c):
        return first_policy(setting.origin, c, setting.mesh)

    c = lora_config(shrink(mer_r1()), model__checkpoint=str(tmp_path / 'run'))
    same(start(c), policy)
    with pytest.raises(ValueError, match="learn.train='decoder': .* is a run that trains adapters"):
        start(changed(c, learn__train='decoder'))
    with pytest.raises(ValueError, match=r'learn.lora.alpha=4.0: must be that .*, 3.0; set'):
        start(lora_config(c, dataclasses.replace(LORA, alpha=4.0)))
    with pytest.raises(ValueError, match='model.adapter=.* is a run with adapters of its own'):
        start(lora_config(c, model__adapter='other'))
    claim_workdir(tmp_path / 'second', lora_config(c, model__adapter=''), setting.spec)
    assert base_of(str(tmp_path / 'second')) == base


def test_of_a_policy_with_adapters_these_alone_are_saved(base, tmp_path):
    lora_run(tmp_path / 'run', base)
    sizes = [
        sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
        for folder in (pathlib.Path(base) / 'train', tmp_path / 'run' / 'train')
    ]
    assert sizes[1] < sizes[0] / 4
    files = files_of_checkpoint(str(tmp_path / 'run'), None)
    before = files_of_checkpoint(base, None)
    assert {f'base/{name}' for name in before} < files.keys() and before


def test_adapters_of_another_size_do_not_continue_a_run(tmp_path, config):
    c = shrink(lora_config(config))
    spec = Setting(c).spec
    claim_workdir(tmp_path, c, spec)
    other = dataclasses.replace(LORA, rank=4)
    with pytest.raises(ValueError, match="learn.lora where learn.train is lora={.*'rank': 4"):
        claim_workdir(tmp_path, lora_config(c, other), spec)
    with pytest.raises(ValueError, match='learn.lora where learn.train is lora=None'):
        claim_workdir(tmp_path, changed(c, learn__train='decoder'), spec)


class Counted:
    """Batches 1, 2, 3, …, which know how many were read."""

    size, read = 1, 0

    def __next__(self):
        self.read += 1
        return self.read


def test_updates_of_adapters_that_were_killed_end_as_those_that_were_not(tmp_path):
    c = mer_r1()
    optimizer, mesh = make_optimizer(c.optim, 0.1, 4), make_mesh(1, 1, 1, jax.devices()[:1])
    policy = jax.device_get(filled(tiny.policy()))
    state, _ = start_state(mesh, policy, 'lora', optimizer)
    apply = jax.jit(functools.partial(apply_gradient, part='lora', optimizer=optimizer))

    def update(state, number, step):
        adapters = trained_part(state.policy, 'lora')
        gradient = jax.tree.map(lambda x: jnp.sin(step * x + number), adapters)
        state, figures = apply(state, gradient)
        return state, host_figures(figures), {}

    def learn(workdir):
        return run_stage('train', workdir, 4, state, Counted(), update, Every(save=1, keep=4))

    whole = learn(tmp_path / 'whole')
    same(detach(whole.policy), detach(policy))
    shutil.copytree(tmp_path / 'whole', tmp_path / 'killed')
    for step in ('3', '4'):
        shutil.rmtree(tmp_path / 'killed' / 'train' / step)
        (tmp_path / 'killed' / 'train' / f'checksums_{step}.json').unlink()
    same(learn(tmp_path / 'killed'), whole)
    assert read_records(tmp_path / 'killed') == read_records(tmp_path / 'whole')


@pytest.mark.slow
def test_a_cold_start_of_adapters_that_was_killed_ends_as_one_that_was_not(tmp_path):
    c = shrink(lora_config(mer_r1(), cold_start__steps=3, every__save=1, data__clips=16))
    c = changed(c, cold_start__prompts_per_step=2, rollout__slow_tokens=48, model__remat=False)
    damages = Damages(tmp_path / 'bad_clips.jsonl', 0)
    setting = Setting(c, *choose_clips(c), damages=damages, devices=jax.devices()[:1])
    policy = jax.device_get(filled(small.random_policy(setting)))

    def learn(workdir):
        with setting.in_use():
            return cold_start(setting, policy, workdir)

    whole = learn(tmp_path / 'whole')
    same(detach(whole), detach(policy))
    for name, weight in adapters_of(whole).items():
        assert not np.array_equal(weight[...], adapters_of(policy)[name][...]), name
    shutil.copytree(tmp_path / 'whole', tmp_path / 'killed')
    shutil.rmtree(tmp_path / 'killed' / 'cold_start' / '3')
    same(learn(tmp_path / 'killed'), whole)
    assert read_records(tmp_path / 'killed') == read_records(tmp_path / 'whole')
