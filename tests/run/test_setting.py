"""Everything that a run builds once from its config."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import small

from mer_jax.rl.step import Learn
from mer_jax.run.setting import Setting, from_section, make_learn, open_checkpoint

MODES_OF_GROUP = ['slow'] * 6 + ['fast'] * 2  # of rollout.group=8, rollout.fast=2


def test_no_special_token_but_the_end_can_be_sampled(setting):
    banned = setting.sampling(1.0, 1.0).banned
    names = set(
        setting.tokenizer.convert_ids_to_tokens([i for i in banned if i < len(setting.tokenizer)])
    )
    assert '<|VIDEO|>' in names and '<|AUDIO|>' in names and '<|im_start|>' in names
    assert setting.end not in banned


def test_no_row_without_a_token_can_be_sampled(config):
    setting = Setting(config)
    rows, tokens = 832, len(setting.tokenizer)
    setting.spec = dataclasses.replace(
        setting.spec, text=dataclasses.replace(setting.spec.text, vocab_size=rows)
    )
    assert tokens < rows - 50 and set(range(tokens, rows)) <= set(setting.sampling(1, 1).banned)
    assert not set(range(600, 700)) & set(setting.sampling(1, 1).banned)


def test_a_checkpoint_answers_in_its_dtype_with_the_attention_of_this_machine(
    omni_folder, tmp_path
):
    folder = shutil.copytree(omni_folder, tmp_path / 'half')
    kept = json.loads((folder / 'mer_jax.json').read_text())
    assert kept['model.weights'] == 'float32'
    half = {'model.dtype': 'bfloat16', 'model.attention': 'splash'}
    (folder / 'mer_jax.json').write_text(json.dumps(kept | half))
    _, policy = open_checkpoint(str(folder))
    assert policy.spec.attention == 'auto'
    assert {leaf.dtype.name for leaf in jax.tree.leaves(policy)} == {'bfloat16'}


@pytest.mark.parametrize(('rule', 'paper'), [('paper', True), ('transformers_5_3', False)])
def test_prompts_have_the_positions_that_the_config_names(config, rule, paper):
    config.model.video_positions = rule
    assert Setting(config).writer.layout.max_rule == paper


def test_the_last_branches_of_a_group_begin_fast_where_the_config_says_so(config):
    slow = Setting(config).openings_of_group()
    assert slow.shape[0] == config.rollout.group and (slow == slow[0]).all()
    config.rollout.fast = 2
    both = Setting(config)
    assert both.openings_of_group().tolist() == both.openings(*MODES_OF_GROUP).tolist()


def test_branches_are_sampled_as_the_config_says(setting):
    sampling = setting.sampling(0.7, 0.9)
    assert (sampling.temperature, sampling.top_p) == (0.7, 0.9)
    assert sampling.tokens == setting.config.rollout.slow_tokens and sampling.end == setting.end
    assert hash(sampling) == hash(setting.sampling(0.7, 0.9))


def test_openings_of_several_modes_are_padded_where_sampling_starts(setting):
    slow, fast = (setting.encode(setting.method.openings[mode]) for mode in ('slow', 'fast'))
    opening = setting.openings('slow', 'fast', 'slow')
    padded = [*slow, *[-1] * (len(fast) - len(slow))]
    assert len(slow) < len(fast) and opening.tolist() == [padded, fast, padded]
    assert setting.openings('slow').tolist() == [slow]


def test_learn_is_filled_from_the_keys_of_its_section(config):
    small.changed(config, learn__kl=0.0, learn__minibatches=2, learn__train='all')
    learn = make_learn(config.learn)
    assert (learn.kl, learn.minibatches, learn.train) == (0.0, 2, 'all')
    assert hash(learn) == hash(make_learn(config.learn))
    assert make_learn(config.learn) == from_section(Learn, config.learn)


@pytest.mark.parametrize(
    ('changes', 'title'),
    [({}, 'MER-R1'), ({'learn__disentangle': 'none'}, 'GRPO with one F reward')],
)
def test_the_method_has_the_rules_of_the_config(config, changes, title):
    assert Setting(small.changed(config, **changes)).method.title == title


def test_without_clips_it_answers_prompts(config):
    setting = Setting(config)
    prompts = setting.batcher.collate([setting.writer.filler()])
    assert prompts.token.shape == (1, 120) and len(setting.train_clips) == 0


def test_processes_take_equal_shares_of_a_batch(setting):
    batches = setting.batches(setting.train_clips, 8, 0, setting.writer.example)
    first = next(batches)
    assert len(first) == 8
    again = next(setting.batches(setting.train_clips, 8, 0, setting.writer.example))
    assert [example.clip.id for example in first] == [example.clip.id for example in again]
    other = next(setting.batches(setting.train_clips, 8, 1, setting.writer.example))
    assert [example.clip.id for example in first] != [example.clip.id for example in other]
    np.testing.assert_array_equal(first[0].prompt.token, again[0].prompt.token)
