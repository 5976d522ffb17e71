"""What a config must satisfy, each rule with its message, and whose run a workdir holds."""

import dataclasses
import json
import re

import pytest
import tiny

from mer_jax.check import AT_LEAST, CHOICES, check_config, claim_workdir, flat


def changed(config, **values):
    """The config with other values under dotted keys (written with two underscores)."""
    with config.unlocked():
        for key, value in values.items():
            config.update_from_flattened_dict({key.replace('__', '.'): value})
    return config


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
    ('data.held_out', 0.0, ['data.held_out=0.0', 'between 0 and 1']),
    ('data.held_out', 1.0, ['data.held_out=1.0', 'between 0 and 1']),
    ('optim.b2', 1.0, ['optim.b2=1.0', 'below 1']),
    ('data.prompt_tokens', (), ['data.prompt_tokens=()', 'at least 1 token']),
    ('data.prompt_tokens', (9, 0), ['data.prompt_tokens=(9, 0)', 'at least 1 token']),
    ('data.subtitle', 'none', ["data.subtitle='none'", 'hold {} once']),
    ('data.min_pixels', 4000, ['data.min_pixels=4000', 'data.max_pixels=3136']),
    ('mesh.data', 0, ['mesh.data=0', 'one of them -1']),
    ('mesh.data', -2, ['mesh.data=-2', 'one of them -1']),
    ('prompts_per_step', 12, ['prompts_per_step=12', 'mesh.data * mesh.fsdp = 8', 'e.g. 16']),
    ('cold_start.prompts_per_step', 3, ['cold_start.prompts_per_step=3', '= 8', 'e.g. 8']),
    ('evaluate.batch', 63, ['evaluate.batch=63', '= 8', 'e.g. 64']),
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
    (key, least - 1, [f'{key}={least - 1}', f'at least {least}']) for key, least in AT_LEAST.items()
]
CHOSEN = [(key, 'often', [f"{key}='often'", *choices]) for key, choices in CHOICES.items()]


@pytest.mark.parametrize(('key', 'value', 'parts'), RULES + LEAST + CHOSEN)
def test_a_broken_rule_is_named_with_its_key_and_its_values(config, key, value, parts):
    if isinstance(flat(config)[key], float):
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
        *[(key, choice) for key, choices in CHOICES.items() for choice in choices],
    ],
)
def test_the_border_of_a_rule_is_allowed(config, key, value):
    check_config(changed(config, **{key: value}))


def test_batches_divide_over_data_and_fsdp_but_not_over_tensor(config):
    changed(config, mesh__fsdp=2, mesh__tensor=4, prompts_per_step=2, evaluate__batch=6)
    check_config(config)
    with pytest.raises(ValueError, match=re.escape('prompts_per_step=3: must be a multiple')):
        check_config(changed(config, prompts_per_step=3))


def test_flat_names_every_value_by_its_path():
    nested = {'a': 1, 'b': {'c': (2, 3), 'd': {'e': ''}}, 'f': {}}
    assert flat(nested) == {'a': 1, 'b.c': (2, 3), 'b.d.e': ''}


def test_a_new_workdir_is_claimed_with_all_that_defines_the_run(tmp_path, config):
    workdir = tmp_path / 'runs' / 'first'
    assert claim_workdir(workdir, config, tiny.SPEC) == []
    assert [path.name for path in workdir.iterdir()] == ['config.json']
    held = json.loads((workdir / 'config.json').read_text())
    assert held['learn.kl'] == 0.04
    assert held['data.wheels'] == ['parrott', 'feeling', 'ekman']
    assert held['spec.text.vocab_size'] == 64
    assert held['spec.vision'] is None


def test_the_same_run_goes_on(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    assert claim_workdir(tmp_path, config, tiny.SPEC) == []


def test_other_steps_are_allowed_and_named(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    before = config.steps
    changed(config, steps=7, learn__kl=0.5)
    lines = claim_workdir(tmp_path, config, tiny.SPEC)
    assert sorted(lines) == ['learn.kl=0.5 (was 0.04)', f'steps=7 (was {before})']


def test_the_cold_start_may_change_until_training_stands_on_it(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    assert claim_workdir(tmp_path, changed(config, cold_start__steps=9), tiny.SPEC)
    (tmp_path / 'train').mkdir()
    with pytest.raises(ValueError, match=r'cold_start\.steps=9, but .* holds a run with'):
        claim_workdir(tmp_path, config, tiny.SPEC)


@pytest.mark.parametrize(
    ('key', 'value', 'before'),
    [
        ('seed', 1, 0),
        ('data.clips', 12, 16384),
        ('data.manifest', 'mine.jsonl', ''),
        ('data.held_out', 0.5, 0.2),
        ('data.wheels', ('ekman',), ['parrott', 'feeling', 'ekman']),
    ],
)
def test_another_run_is_refused_and_nothing_is_written(tmp_path, config, key, value, before):
    claim_workdir(tmp_path, config, tiny.SPEC)
    held = (tmp_path / 'config.json').read_bytes()
    now = list(value) if isinstance(value, tuple) else value
    with pytest.raises(ValueError) as raised:
        claim_workdir(tmp_path, changed(config, **{key: value, 'steps': 3}), tiny.SPEC)
    message = str(raised.value)
    assert message.startswith(f'{key}={now!r}, but {tmp_path} holds a run with {before!r}')
    assert '--workdir' in message
    assert (tmp_path / 'config.json').read_bytes() == held
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_other_sizes_of_the_model_are_refused(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    larger = dataclasses.replace(tiny.SPEC, text=dataclasses.replace(tiny.TEXT, vocab_size=128))
    with pytest.raises(ValueError, match='model.text.vocab_size=128, but .* holds a model with 64'):
        claim_workdir(tmp_path, config, larger)
