"""Answers of a small policy: a branch for each mode of each clip, whatever its neighbours are."""

import json

import jax
import numpy as np
import pytest
import small

from mer_jax.evaluation.answers import answerer, describe, grow_answers, stable_number
from mer_jax.methods.mer_r1_answers import SCORES
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.setting import Setting
from mer_jax.sharding import make_mesh


@pytest.fixture(scope='module')
def asked(module_config):
    """A small setting with the policy that answers, on one device."""
    c = small.shrink(module_config)
    setting = Setting(c, *choose_clips(c))
    setting.mesh = make_mesh(1, 1, 1, jax.devices()[:1])
    with jax.set_mesh(setting.mesh):
        yield setting, small.random_policy(setting)


def examples(setting, *numbers):
    return [setting.writer.example(setting.test_clips[number]) for number in numbers]


@pytest.fixture(scope='module')
def grown(asked):
    setting, policy = asked
    return grow_answers(setting, policy, examples(setting, 0, 1), 2, ('fast', 'slow'), 0)


def said(grown, row):
    return [answer.text for answer in grown.answers[row]]


def test_each_mode_begins_with_its_opening_and_samples_of_its_own(asked, grown):
    setting, _ = asked
    assert grown.branches.token.shape == (2, 2, setting.config.rollout.slow_tokens)
    for row in range(2):
        fast, slow = said(grown, row)
        assert fast.startswith('<think></think><answer>') and slow.startswith('<think>')
        assert not slow.startswith('<think></think><answer>')
    assert len({text for row in range(2) for text in said(grown, row)}) == 4
    assert np.isfinite(grown.branches.logp).all()


def test_an_answer_depends_on_clip_and_seed_and_not_on_its_batch(asked, grown):
    setting, policy = asked
    modes = ('fast', 'slow')
    alone = grow_answers(setting, policy, examples(setting, 1), 2, modes, 0)
    assert said(alone, 0) == said(grown, 1)
    np.testing.assert_array_equal(alone.branches.token[0], grown.branches.token[1])
    other = grow_answers(setting, policy, examples(setting, 1), 2, modes, 1)
    assert said(other, 0) != said(alone, 0)


def test_answers_are_described_for_programs(asked, grown):
    setting, _ = asked
    described = describe(setting, grown)
    assert [len(row) for row in described] == [2, 2]
    for row, answers in zip(described, grown.answers, strict=True):
        for one, answer in zip(row, answers, strict=True):
            assert one['text'] == answer.text and set(SCORES) <= set(one)
            assert one['tokens'] >= 1
    json.dumps(described)


def test_a_batch_that_is_not_full_is_answered_without_its_filling(asked, grown):
    setting, policy = asked
    answer_clips = answerer(setting, policy, None)
    (one,) = answer_clips(examples(setting, 1), 2)
    clip = setting.test_clips[1]
    assert (one['id'], one['gold']) == (clip.id, list(clip.words))
    # As the config says: sampled with its own seed, which is that of `grown`.
    assert [one[mode]['text'] for mode in ('fast', 'slow')] == said(grown, 1)
    assert answer_clips([], 2) == []


def test_the_number_of_a_clip_follows_from_its_name_alone():
    assert stable_number('123456789') == 0xCBF43926  # the check value of CRC-32
    assert stable_number('test-0-000001') != stable_number('test-0-000002')
