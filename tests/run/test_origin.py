"""The origin of a model: folders of several kinds, their chain, and configs that do not fit."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

from mer_jax.run.origin import (
    abstract_policy,
    config_of,
    find_root,
    first_policy,
    make_spec,
    name_of_weights,
    open_origin,
)
from mer_jax.run.setting import Setting, open_checkpoint
from mer_jax.sharding import make_mesh


@pytest.fixture
def published(variant_config, omni_folder):
    c = variant_config('qwen2_5_omni_7b')
    c.model.checkpoint = str(omni_folder)
    return c


def run_folder(path, checkpoint):
    path.mkdir()
    (path / 'config.json').write_text(json.dumps({'model.checkpoint': str(checkpoint)}))
    return str(path)


def test_the_root_is_found_through_runs_of_runs(omni_folder, tmp_path):
    first = run_folder(tmp_path / 'first', omni_folder)
    second = run_folder(tmp_path / 'second', first)
    assert find_root(second) == find_root(first) == find_root(str(omni_folder)) == omni_folder
    assert find_root(run_folder(tmp_path / 'stage', '')) is None and find_root('') is None


def test_an_adapter_is_named_as_one_where_a_run_or_a_command_names_it(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{"base_model_name_or_path": "Qwen/Q"}')
    for read in (find_root, config_of):
        with pytest.raises(ValueError, match='holds a LoRA adapter .* of Qwen/Q, .* merge it'):
            read(str(tmp_path))


def test_the_vocabulary_has_rows_that_shard(config):
    rows = [make_spec(config.model, tokens).text.vocab_size for tokens in (1, 64, 65, 700, 768)]
    assert rows == [64, 64, 128, 704, 768]


def test_the_kind_of_attention_is_that_of_the_config(config, published):
    for c in (config, published):
        c.model.attention = 'blocks'
        assert open_origin(c.model).spec.attention == 'blocks'


def test_a_chain_without_an_end_is_refused(tmp_path):
    name = run_folder(tmp_path / 'run', tmp_path / 'run')
    with pytest.raises(ValueError, match='descends from itself'):
        find_root(name)


def test_a_folder_brings_sizes_tokenizer_and_ids(published, omni_folder):
    origin = open_origin(published.model)
    assert origin.root == omni_folder and origin.spec.text.hidden_size == 64
    assert origin.spec.dtype == 'bfloat16'
    ids = {origin.tokenizer().convert_tokens_to_ids(f'<|{name}|>') for name in ('VIDEO', 'AUDIO')}
    assert ids == {origin.layout.video, origin.layout.audio}


def test_a_config_without_sizes_asks_for_a_checkpoint(published):
    published.model.checkpoint = ''
    with pytest.raises(ValueError, match="model.checkpoint='': this config has no sizes"):
        open_origin(published.model)


def test_sizes_of_a_config_are_not_silently_those_of_a_folder(config, omni_folder):
    config.model.checkpoint = str(omni_folder)
    with pytest.raises(ValueError, match=r'model\.text is set.*configs/mer_r1\.py:qwen2_5_omni'):
        open_origin(config.model)


def test_a_folder_of_the_other_family_is_refused(published):
    published.model.family = 'vl'
    with pytest.raises(ValueError, match="model.family='vl', but .* 'omni'"):
        open_origin(published.model)


def test_a_missing_template_is_replaced_and_a_missing_tokenizer_is_named(
    published, omni_folder, tmp_path, caplog
):
    bare = tmp_path / 'bare'
    shutil.copytree(omni_folder, bare)
    (bare / 'chat_template.jinja').unlink()
    published.model.checkpoint = str(bare)
    tokenizer = open_origin(published.model).tokenizer()
    assert 'no chat template' in caplog.text
    chat = tokenizer.apply_chat_template(
        [{'role': 'user', 'content': [{'type': 'video'}, {'type': 'text', 'text': 'Why?'}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert chat == (
        '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n'
        '<|vision_bos|><|VIDEO|><|vision_eos|>Why?<|im_end|>\n<|im_start|>assistant\n'
    )
    for path in bare.glob('tokenizer*'):
        path.unlink()
    with pytest.raises(ValueError, match=re.escape(f'{bare}: its tokenizer cannot be read')):
        open_origin(published.model).tokenizer()


def test_that_a_template_is_missing_is_said_once(published, omni_folder, tmp_path, caplog):
    bare = tmp_path / 'bare'
    shutil.copytree(omni_folder, bare)
    (bare / 'chat_template.jinja').unlink()
    published.model.checkpoint = str(bare)
    Setting(published)
    assert caplog.text.count('no chat template') == 1


@pytest.mark.parametrize(('text', 'part'), [('{', 'must hold the config'), ('[]', 'JSON object')])
def test_a_damaged_config_is_named(tmp_path, text, part):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match=part) as raised:
        find_root(str(tmp_path))
    assert str(tmp_path / 'config.json') in str(raised.value)


def test_an_export_is_asked_as_it_was_trained(omni_folder):
    c = config_of(str(omni_folder))
    assert c.rollout.slow_tokens == 24 and c.data.question == 'What does this person feel?'
    assert c.model.checkpoint == str(omni_folder) and not c.model.text


def with_prompts(folder, copied, **changed):
    """A copy of an export whose config has other values under dotted keys."""
    shutil.copytree(folder, copied)
    kept = json.loads((copied / 'mer_jax.json').read_text())
    (copied / 'mer_jax.json').write_text(json.dumps(kept | changed))
    return str(copied)


@pytest.mark.parametrize(
    ('key', 'value', 'told'),
    [
        ('rollout.slow_tokens', -3, 'rollout.slow_tokens=-3: must be at least 8'),
        ('rollout.slow_tokens', 'x', "rollout.slow_tokens='x' must be of type int"),
        ('rollout.slow_tokens', 24.5, 'rollout.slow_tokens=24.5 must be of type int'),
        ('rollout.slow_tokens', None, 'rollout.slow_tokens=None must be of type int'),
        ('data.wheels', 'ekman', "data.wheels='ekman' must be of type tuple"),
        ('data.question', {'a': 1}, "data.question={'a': 1} must be of type str"),
    ],
)
def test_what_an_export_cannot_be_asked_with_is_named(omni_folder, tmp_path, key, value, told):
    folder = with_prompts(omni_folder, tmp_path / 'other', **{key: value})
    with pytest.raises(ValueError, match=re.escape(told)) as raised:
        open_checkpoint(folder)
    assert str(raised.value).startswith(folder)


def test_keys_that_are_not_known_are_passed_over(omni_folder, tmp_path):
    folder = with_prompts(omni_folder, tmp_path / 'other', **{'seed.a.b': 3, 'data.new': 1})
    assert config_of(folder).to_dict() | {'model': 0} == config_of(str(omni_folder)).to_dict() | {
        'model': 0
    }


def test_rewards_of_a_run_and_their_weights_are_not_read_back(omni_folder, tmp_path):
    own = {f'learn.weights.{name}': 0.0 for name in ('recall', 'precision', 'f', 'form')}
    own |= {'learn.rewards': ['mine.py:short'], 'learn.weights.short': 1.0}
    learn = config_of(with_prompts(omni_folder, tmp_path / 'other', **own)).learn
    assert learn.rewards == () and learn.weights.recall == 1 and 'short' not in learn.weights


def test_a_published_folder_is_asked_as_its_family_is_published(omni_folder, tmp_path):
    plain = tmp_path / 'plain'
    shutil.copytree(omni_folder, plain)
    (plain / 'mer_jax.json').unlink()
    assert config_of(str(plain)).rollout.slow_tokens == 1024


@pytest.mark.slow
def test_trained_weights_and_frozen_towers_have_dtypes_of_their_own(published):
    setting = Setting(published)
    frozen = first_policy(setting.origin, published, setting.mesh)
    assert frozen.decoder.lm_head.weight[...].dtype == 'float32'
    assert {leaf.dtype.name for leaf in jax.tree.leaves(frozen.visual)} == {'bfloat16'}
    published.cold_start.towers = True
    trained = first_policy(setting.origin, published, setting.mesh)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trained.visual)} == {'float32'}
    published.cold_start.towers, published.learn.train = False, 'all'
    later = first_policy(setting.origin, published, setting.mesh)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(later.visual)} == {'float32'}
    for a, b in zip(jax.tree.leaves(frozen), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b).astype(a.dtype))


def test_weights_of_other_dtypes_are_drawn_by_another_program(published):
    published.learn.train, published.cold_start.steps = 'all', 0
    spec, mesh = open_origin(published.model).spec, make_mesh(1, 1, 1, jax.devices()[:1])
    names = set()
    for steps in (0, 100):  # towers are stored as they are used, unless the run trains them
        published.steps = steps
        names.add(name_of_weights(0, abstract_policy(spec, published, mesh)))
    assert len(names) == 2
