"""Each rule of a config, with its message."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from small import changed

from mer_jax.methods import METHODS
from mer_jax.models.attention import PLATFORMS
from mer_jax.run.config_rules import (
    AT_LEAST,
    CHOICES,
    check_config,
    check_platform,
    check_tensor,
    flat,
)
from mer_jax.run.defaults import FAMILIES, grpo_f1, mer_r1, sft
from mer_jax.run.emo_r3_defaults import emo_r3, grpo_accuracy
from mer_jax.sharding import make_mesh


def test_the_default_config_passes(config):
    check_config(config)


RULES = [
    ('learn.kl', float('nan'), ['learn.kl=nan', 'finite']),
    ('optim.learning_rate', float('inf'), ['optim.learning_rate=inf', 'finite']),
    ('rollout.temperature', 0.0, ['rollout.temperature=0.0', 'above 0']),
    ('evaluate.temperature', -1.0, ['evaluate.temperature=-1.0', 'above 0']),
    ('data.fps', 0.0, ['data.fps=0.0', 'above 0']),
    ('optim.clip_norm', 0.0, ['optim.clip_norm=0.0', 'above 0']),
    ('rollout.top_p', 0.0, ['rollout.top_p=0.0', '(0, 1]']),
    ('evaluate.top_p', 1.5, ['evaluate.top_p=1.5', '(0, 1]']),
    ('seed', -1, ['seed=-1', 'from 0 to', '4294967295']),
    ('seed', 2**32, ['seed=4294967296', '4294967295']),
    ('rollout.group', 1, ['rollout.group=1', 'at least two branches']),
    ('rollout.fast', 1, ['rollout.fast=1', 'two branches or more', 'rollout.group=8', 'or 0 for']),
    ('rollout.fast', 7, ['rollout.fast=7', 'rollout.group=8', 'e.g. 4 of 8']),
    ('data.held_out', 0.0, ['data.held_out=0.0', 'between 0 and 1']),
    ('data.held_out', 1.0, ['data.held_out=1.0', 'between 0 and 1']),
    ('data.validation', 0.0, ['data.validation=0.0', 'between 0 and 1', 'every.validate=0']),
    ('data.validation', 1.0, ['data.validation=1.0', 'between 0 and 1']),
    ('early_stop', 3, ['early_stop=3', 'every.validate=0 makes none', 'or early_stop=0']),
    ('evaluate.policy', 'first', ["evaluate.policy='first'", 'one of last, best']),
    ('evaluate.policy', 'best', ["evaluate.policy='best'", 'every.validate=0', "='last'"]),
    ('optim.b2', 1.0, ['optim.b2=1.0', 'below 1']),
    ('data.prompt_tokens', (), ['data.prompt_tokens=()', 'at least 1 token']),
    ('learn.lengths', (256, 0), ['learn.lengths=(256, 0)', 'at least 1 token', 'e.g. 256,512']),
    ('learn.lengths', (2**21,), ['learn.lengths=(2097152,)', 'at most 1048576 tokens']),
    ('data.prompt_tokens', (9, 0), ['data.prompt_tokens=(9, 0)', 'at least 1 token']),
    ('data.subtitle', 'none', ["data.subtitle='none'", 'hold {} once']),
    ('data.min_pixels', 4000, ['data.min_pixels=4000', 'data.max_pixels=3136']),
    ('mesh.data', -3, ['mesh.data=-3', 'mesh.data may be 0']),
    ('mesh.data', -2, ['mesh.data=-2', 'one of them -1']),
    ('prompts_per_step', 12, ['prompts_per_step=12', 'mesh.data * mesh.fsdp = 8', 'e.g. 16']),
    ('cold_start.prompts_per_step', 3, ['cold_start.prompts_per_step=3', '= 8', 'e.g. 8']),
    ('evaluate.batch', 63, ['evaluate.batch=63', '= 8', 'e.g. 64']),
    ('learn.clip_dual', 0.5, ['learn.clip_dual=0.5', 'above 1, e.g. 3.0', '0 for no dual clip']),
    ('learn.kll', 0.1, ['learn.kll=0.1', 'no such key; remove it; did you mean learn.kl?']),
    ('model.text.vocab_size', 64, ['model.text.vocab_size=64', 'no such key']),
    ('learn.clip_dual', 1.0, ['learn.clip_dual=1.0', 'above 1']),
    ('learn.ratio_cap', 0.5, ['learn.ratio_cap=0.5', 'at least 1, e.g. 2.0', '0 for no weight']),
    ('learn.ratio_cap', -1.0, ['learn.ratio_cap=-1.0', 'at least 1']),
    (
        'learn.minibatches',
        3,
        ['learn.minibatches=3', '= 8', 'prompts_per_step=16', 'e.g. prompts_per_step=24'],
    ),
    (
        'learn.minibatches',
        4,
        ['learn.minibatches=4', '= 8', 'prompts_per_step=16', 'e.g. prompts_per_step=32'],
    ),
    (
        'learn.microbatch',
        4,
        ['learn.microbatch=4', 'prompts of a minibatch on a device', '= 2', 'one of 1, 2, or 0'],
    ),
    (
        'rollout.microbatch',
        4,
        ['rollout.microbatch=4', 'prompts of a step on a device', '= 2', 'one of 1, 2, or 0'],
    ),
    (
        'model.text.num_attention_heads',
        3,
        ['model.text.num_attention_heads=3', 'multiple', 'model.text.num_key_value_heads=2'],
    ),
    (
        'model.text.mrope_section',
        (4, 6, 7),
        ['model.text.mrope_section=(4, 6, 7)', 'half', 'model.text.head_dim=32'],
    ),
]
LEAST = [
    (key, least - 1, [f'{key}={least - 1}', f'at least {least}'])
    for key, least in (AT_LEAST | METHODS['mer_r1'].AT_LEAST).items()
]
EACH = CHOICES | METHODS['mer_r1'].CHOICES
CHOSEN = [(key, 'often', [f"{key}='often'", *choices]) for key, choices in EACH.items()]


@pytest.mark.parametrize(('key', 'value', 'parts'), RULES + LEAST + CHOSEN)
def test_a_broken_rule_is_named_with_its_key_and_its_values(config, key, value, parts):
    if isinstance(flat(config).get(key), float):
        value = float(value)
        parts = [f'{key}={value}', *parts[1:]]
    with pytest.raises(ValueError) as raised:
        check_config(changed(config, **{key: value}))
    message = str(raised.value)
    assert message.startswith(f'{key}=')
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('steps', 0),
        ('seed', 2**32 - 1),
        ('rollout.top_p', 1.0),
        ('data.max_bad_clips', 0),
        ('learn.kl', 0.0),
        ('rollout.group', 2),
        ('mesh.data', 8),
        ('mesh.fsdp', 4),
        ('data.prompt_tokens', (64, 512)),
        ('learn.clip_dual', 0.0),
        ('learn.ratio_cap', 0.0),
        ('learn.ratio_cap', 1.0),
        ('learn.clip_dual', 1.5),
        ('learn.minibatches', 2),
        ('learn.microbatch', 2),
        ('rollout.microbatch', 2),
        ('learn.weights.mine', 0.5),
        ('model.vision.patch_size', 14),
        *[(key, one) for key, choices in EACH.items() if key != 'method' for one in choices],
    ],
)
def test_the_border_of_a_rule_is_allowed(config, key, value):
    config.cold_start.towers = False  # learn.train=lora trains no tower
    check_config(changed(config, **{key: value}))


def test_validations_allow_an_early_stop_and_the_best_policy(config):
    check_config(changed(config, every__validate=5, early_stop=3, evaluate__policy='best'))


def test_batches_divide_over_data_and_fsdp_but_not_over_tensor(config):
    changed(config, mesh__fsdp=2, mesh__tensor=4, prompts_per_step=2, evaluate__batch=6)
    check_config(config)
    with pytest.raises(ValueError, match=re.escape('prompts_per_step=3: must be a multiple')):
        check_config(changed(config, prompts_per_step=3))


@pytest.mark.parametrize(
    ('sizes', 'fits', 'refused'),
    [
        ((28, 4, 152064), (1, 2, 4), (8,)),  # of Qwen2.5-Omni-7B
        ((16, 2, 151936), (1, 2), (4, 8)),  # of the 3B
        ((16, 16, 100), (1, 2, 4), (8,)),
    ],
)
def test_heads_key_heads_and_vocabulary_divide_over_tensor(sizes, fits, refused):
    heads, key_heads, rows = sizes
    names = {'num_attention_heads': heads, 'num_key_value_heads': key_heads, 'vocab_size': rows}
    text = dataclasses.replace(tiny.TEXT, **names)
    for tensor in fits:
        check_tensor(make_mesh(1, -1, tensor), text)
    for tensor in refused:
        with pytest.raises(ValueError) as raised:
            check_tensor(make_mesh(1, -1, tensor), text)
        message = str(raised.value)
        told = f'mesh.tensor={tensor}', f'{key_heads} key heads', ', '.join(map(str, fits))
        assert [part for part in (*told, f'{rows} vocabulary rows') if part not in message] == []


@pytest.mark.parametrize(('kind', 'needed'), list(PLATFORMS.items()))
def test_a_kernel_is_refused_on_a_platform_that_lacks_it(kind, needed):
    mesh = make_mesh(1, -1, 1)
    for able in ('auto', 'plain', 'blocks'):
        check_platform(mesh, able, 'float32')
    with pytest.raises(ValueError, match=f'model.attention={kind}: .* {needed}.* cpu; .*=auto'):
        check_platform(mesh, kind, 'bfloat16')


def test_the_fused_kernel_takes_bfloat16_alone():
    devices = np.full((1, 1, 1), SimpleNamespace(platform='gpu'))
    mesh = SimpleNamespace(devices=devices)
    check_platform(mesh, 'fused', 'bfloat16')
    with pytest.raises(ValueError, match='model.attention=fused: .* model.dtype=float32; .*blocks'):
        check_platform(mesh, 'fused', 'float32')


def test_minibatches_and_microbatches_divide_over_data_and_fsdp_but_not_over_tensor(config):
    changed(config, mesh__fsdp=2, mesh__tensor=4, prompts_per_step=12, evaluate__batch=6)
    check_config(changed(config, learn__minibatches=3, learn__microbatch=2))
    with pytest.raises(ValueError) as raised:
        check_config(changed(config, learn__minibatches=4))
    message = str(raised.value)
    for part in ('learn.minibatches=4', 'mesh.fsdp = 2', 'prompts_per_step=12', '_step=16'):
        assert part in message
    with pytest.raises(ValueError, match='learn.microbatch=2: .* = 3; one of 1, 3, or 0'):
        check_config(changed(config, learn__minibatches=2))


@pytest.mark.parametrize('weight', ['much', None, True])
def test_a_weight_that_is_no_number_is_refused(config, weight):
    config.learn.weights['mine'] = weight
    with pytest.raises(ValueError, match=rf'learn\.weights\.mine={weight!r}: must be a number'):
        check_config(config)


def test_a_key_that_is_missing_is_named(config):
    with config.unlocked():
        del config.learn.weights['recall']
    with pytest.raises(ValueError, match=r'learn\.weights\.recall: is missing .* e\.g\. 1\.0'):
        check_config(config)


@pytest.mark.parametrize('variant', ['', *FAMILIES, 'qwen2_5_omni_7b,lora'])
def test_every_default_config_passes(variant):
    for make in (mer_r1, grpo_f1, sft):
        check_config(changed(make(variant), mesh__data=-1, mesh__fsdp=1))


def test_the_dual_clip_is_refused_where_it_would_not_act(config):
    changed(config, learn__clip='cispo', learn__clip_dual=3.0)
    with pytest.raises(ValueError, match=r'learn\.clip_dual=3\.0: acts with .*ppo.*cispo.*=0'):
        check_config(config)


def test_a_vl_model_that_cannot_be_exported_is_refused_where_it_would_be(config):
    changed(config, model__family='vl', model__text__hidden_size=64)
    check_config(config)
    with pytest.raises(ValueError, match=r'head_dim=32: .*heads=4 .*hidden_size=64.*export=False'):
        check_config(changed(config, export=True))
    check_config(changed(config, model__family='omni'))


def test_functions_are_named_by_their_file_and_name():
    def brief(texts, clips):
        return {}

    named = flat({'learn': {'rewards': (brief,)}})['learn.rewards']
    assert len(named) == 1 and named[0].startswith('test_config_rules.py:')
    assert named[0].endswith('brief')
    assert flat({'learn': {'rewards': named}})['learn.rewards'] == named  # read again


def test_flat_names_every_value_by_its_path():
    nested = {'a': 1, 'b': {'c': (2, 3), 'd': {'e': ''}}, 'f': {}}
    assert flat(nested) == {'a': 1, 'b.c': (2, 3), 'b.d.e': ''}


OF_EMO_R3 = [
    ('data.labels', (), ['data.labels=()', 'none of them empty', 'e.g. anger,fear,joy']),
    ('data.labels', ('awe', ' '), ['data.labels=', 'none of them empty']),
    ('data.labels', ('awe', 'fear', 'Awe '), ['data.labels=', "must name 'awe' once"]),
    ('learn.form', 'free', ["learn.form='free'", 'steps, box']),
    ('learn.reflection.by', 'guess', ["learn.reflection.by='guess'", 'score, sample']),
    ('learn.reflection.none', -0.5, ['learn.reflection.none=-0.5', 'at least 0']),
    ('rollout.reflection_tokens', 8, ['rollout.reflection_tokens=8', 'at least 16']),
    ('rollout.reply_temperature', 0.0, ['rollout.reply_temperature=0.0', 'above 0']),
    ('rollout.reply_top_p', 0.0, ['rollout.reply_top_p=0.0', '(0, 1]']),
    ('optim.decay_to', 0.0, ['optim.decay_to=0.0', 'above 0']),
]


@pytest.mark.parametrize(('key', 'value', 'parts'), OF_EMO_R3)
def test_a_broken_rule_of_emo_r3_is_named(key, value, parts):
    with pytest.raises(ValueError) as raised:
        check_config(changed(emo_r3(), **{key: value}))
    assert [part for part in parts if part not in str(raised.value)] == []


@pytest.mark.parametrize('make', [emo_r3, grpo_accuracy])
@pytest.mark.parametrize('variant', ['', 'qwen2_5_vl_3b', 'qwen2_5_vl_7b_emotion6'])
def test_the_configs_of_emo_r3_pass(make, variant):
    check_config(make(variant))


def test_a_config_of_another_method_is_refused(config):
    with pytest.raises(ValueError, match="a config of method='emo_r3' has no such key"):
        check_config(changed(config, method='emo_r3'))
    with pytest.raises(ValueError, match=r"method='foo': must be one of mer_r1, emo_r3"):
        check_config(changed(config, method='foo'))


def test_weights_that_all_act_with_another_switch_are_refused(config):
    for name in ('recall', 'precision', 'form'):
        config.learn.weights[name] = 0.0
    with pytest.raises(ValueError, match=r'those that act \(form, precision, recall\) above 0'):
        check_config(config)
    check_config(changed(config, learn__disentangle='none'))  # there f acts


def test_a_variant_of_emo_r3_has_the_words_of_its_set():
    assert len(emo_r3('qwen2_5_vl_7b').data.labels) == 8
    assert 'joy' in emo_r3('qwen2_5_vl_7b_emotion6').data.labels
    with pytest.raises(ValueError, match='the variants are qwen2_5_vl_7b, qwen2_5_vl_7b_emotion6'):
        emo_r3('qwen2_5_omni_7b')
