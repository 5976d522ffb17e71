"""config.mesh.rules: read, refused, and compared with the sizes of a model."""

import types

import pytest
from small import changed

from mer_jax.run.config_rules import check_config
from mer_jax.run.defaults import mesh_rules
from mer_jax.run.mesh_rules import check_rules, count_shards, read_rules
from mer_jax.run.setting import Setting
from mer_jax.sharding import RULES, make_mesh, rules_in_use

TEXT = types.SimpleNamespace(num_attention_heads=12, num_key_value_heads=4, vocab_size=704)


def test_the_default_rules_are_those_of_the_table():
    assert read_rules(mesh_rules()) == RULES


def test_rules_name_one_axis_several_or_none():
    found = read_rules(dict(mesh_rules(), embed='', batch='data', mlp='fsdp,tensor'))
    assert found == RULES | {'embed': None, 'batch': 'data', 'mlp': ('fsdp', 'tensor')}


@pytest.mark.parametrize(
    ('changes', 'parts'),
    [
        ({'embed': 'model'}, ['mesh.rules.embed=model', 'data, fsdp, tensor', "''"]),
        ({'embed': 'fsdp,fsdp'}, ['mesh.rules.embed=fsdp,fsdp', 'each once']),
        ({'heads': None}, ['mesh.rules.heads=None', 'data, fsdp, tensor']),
        (
            {'mlp': 'fsdp', 'batch': 'data'},
            ['mesh.rules.embed=fsdp', 'mesh.rules.mlp=fsdp', 'the width of weights', 'one of them'],
        ),
        (
            {'heads': 'data', 'embed': ''},
            ['mesh.rules.batch=data,fsdp', 'mesh.rules.heads=data', 'prompts', 'not share data'],
        ),
    ],
)
def test_rules_that_cannot_be_are_refused_with_the_way_out(changes, parts):
    with pytest.raises(ValueError) as raised:
        read_rules(dict(mesh_rules()) | changes)
    for part in parts:
        assert part in str(raised.value)


def test_an_unknown_dimension_is_an_unknown_key(config):
    with pytest.raises(ValueError, match='mesh.rules.width=.*no such key'):
        check_config(changed(config, mesh__rules__width='fsdp'))


@pytest.mark.parametrize(
    ('batch', 'found'),
    [
        (('data', 'fsdp'), (6, 'mesh.data * mesh.fsdp')),
        ('fsdp', (3, 'mesh.fsdp')),
        (None, (1, 'the parts of a batch')),
    ],
)
def test_prompts_divide_over_the_axes_of_their_rule(batch, found):
    assert count_shards({'batch': batch}, {'data': 2, 'fsdp': 3, 'tensor': 4}) == found


def test_batches_that_do_not_divide_over_the_axes_of_their_rule_are_refused(config):
    changed(config, mesh__data=2, mesh__fsdp=4, mesh__rules__batch='fsdp', prompts_per_step=6)
    with pytest.raises(ValueError, match=r'prompts_per_step=6: .* multiple of mesh.fsdp = 4'):
        check_config(config)
    check_config(changed(config, prompts_per_step=4))


def test_heads_and_rows_must_divide_over_the_axes_of_their_rules():
    mesh = make_mesh(2, 1, 4)
    check_rules(mesh, RULES, TEXT)
    check_rules(mesh, RULES | {'heads': None, 'vocab': ('data', 'tensor')}, TEXT)
    told = 'mesh.rules.heads=.*8 devices must divide 12 heads, 4 key heads; 4 would'
    with pytest.raises(ValueError, match=told):
        check_rules(mesh, RULES | {'heads': ('data', 'tensor')}, TEXT)


def test_a_setting_runs_programs_by_its_rules(config):
    setting = Setting(changed(config, mesh__rules__embed='data,fsdp'))
    assert rules_in_use()['embed'] == 'fsdp'
    with setting.in_use():
        assert rules_in_use()['embed'] == ('data', 'fsdp')
