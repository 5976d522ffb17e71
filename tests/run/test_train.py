"""The updates of a step in their order, the reference, and the user's own rewards."""

import dataclasses
import types

import jax
import numpy as np
import pytest
import tiny

from mer_jax.group import Branches, Keys, Rollout
from mer_jax.methods.own_rewards import RewardError
from mer_jax.rl.step import Learn
from mer_jax.run import train
from mer_jax.run.train import (
    Programs,
    check_rewards,
    judge,
    learn_from,
    make_reference,
    numbers_of_minibatches,
    own_names,
)
from mer_jax.sharding import make_mesh


def programs(**named):
    """Programs of which only the named ones may be called."""

    def never(*_):
        raise AssertionError('this program must not be called')

    fields = [field.name for field in dataclasses.fields(Programs)]
    return Programs(**dict.fromkeys(fields, never) | named)


@pytest.mark.parametrize(
    ('learn', 'parts'),
    [
        (Learn(), [0]),
        (Learn(minibatches=3), [0, 1, 2]),
        (Learn(minibatches=2, epochs=2), [0, 1, 0, 1]),
    ],
)
def test_every_epoch_makes_an_update_on_each_minibatch_and_its_figures_count(learn, parts):
    def update(state, experience, part):
        assert experience == 'experience'
        drift = {'drift': np.float32(part), 'drift_largest': np.float32(part)}
        return [*state, int(part)], {'loss': np.float32(len(state))} | drift

    made = programs(update=update)
    numbers = numbers_of_minibatches(make_mesh(1, 1, 1, jax.devices()[:1]), learn)
    state, figures = learn_from(made, [], 'experience', numbers, learn)
    assert state == parts
    drift = {'drift': sum(parts) / len(parts), 'drift_largest': max(parts)}
    assert figures == {'loss': (len(parts) - 1) / 2} | drift


def branches_of(*lengths):
    """A rollout of a prompt whose branches have sampled up to these lengths, of ten tokens each."""
    mask = (np.arange(10) < np.array(lengths)[:, None])[None] & (np.arange(10) > 1)
    kept = Keys(k=np.zeros((1, 1, 3, 1, 2)), v=np.zeros((1, 1, 3, 1, 2)))
    made = Branches(token=np.arange(10) + 0 * mask, mask=mask, logp=0.0 * mask, watched=None)
    return Rollout(branches=made, features=np.zeros((1, 0, 4)), keys=kept), mask


@pytest.mark.parametrize(
    ('given', 'of_branches', 'length'),
    [
        ((), (3, 4), 10),
        ((4, 8), (3, 4), 4),  # holds the longest branch exactly
        ((8, 4), (3, 5), 8),  # in any order
        ((4, 8), (3, 9), 10),  # none holds it
        ((12, 20), (3, 4), 10),  # none is shorter
        ((4,), (0, 0), 10),  # nothing was sampled
    ],
)
def test_branches_are_learnt_in_the_first_length_that_holds_them(given, of_branches, length):
    rollout, mask = branches_of(*of_branches)
    short = train.without_padding(rollout, mask, given)
    np.testing.assert_array_equal(short.branches.token, rollout.branches.token[..., :length])
    np.testing.assert_array_equal(short.branches.mask, mask[..., :length])
    assert short.branches.mask.sum() == mask.sum()


def test_all_processes_take_the_length_of_the_longest_branch_of_all(monkeypatch):
    rollout, mask = branches_of(3, 4)
    monkeypatch.setattr(train, 'largest_of_all', lambda numbers: [max(*numbers, 6)])
    assert train.without_padding(rollout, mask, (4, 8)).branches.mask.shape[2] == 8


@pytest.mark.parametrize('cap', [0.0, 2.0])
def test_the_programs_of_a_step_are_loaded_ahead_by_the_names_they_are_kept_by(
    config, monkeypatch, cap
):
    config.learn.ratio_cap = cap
    method = types.SimpleNamespace(look=None)
    setting = types.SimpleNamespace(config=config, method=method, sampling=lambda *_: None)
    kept = []
    monkeypatch.setattr(train, 'keep_traced', lambda _, name, *__, **___: kept.append(name))
    train.keep_programs(setting, programs())
    ahead = train.names_of_step(setting)
    assert set(ahead) <= set(kept) and ('score_policy' in ahead) == bool(cap)
    assert len(ahead) == 4 + bool(cap)
    setting.method.look = 'asks'
    assert train.names_of_step(setting)[1] == 'look None'


@pytest.mark.parametrize('part', ['decoder', 'all'])
def test_the_reference_is_a_copy_of_the_trained_part_in_the_dtype_of_activations(part):
    policy = tiny.policy()
    setting = types.SimpleNamespace(spec=types.SimpleNamespace(dtype='bfloat16'))
    reference = make_reference(setting, policy, Learn(train=part))
    trained = policy if part == 'all' else policy.decoder
    assert jax.tree.structure(reference) == jax.tree.structure(trained)
    for copied, leaf in zip(jax.tree.leaves(reference), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(copied, leaf.astype('bfloat16'))


def rollout():
    branches = types.SimpleNamespace(token='token', mask='mask', logp='logp')
    return types.SimpleNamespace(branches=branches, features='features')


def assess(policy, prompts, rolled, reading, own):
    assert (policy, prompts, reading, own) == ('policy', 'prompts', 'reading', 'own')
    return 'advantage', 'kept', {'recall': 0.5}


def test_without_kl_no_reference_is_held_and_none_is_scored():
    learn = Learn(kl=0.0)
    assert make_reference(None, tiny.policy(), learn) is None
    given = 'policy', None, 'prompts', rollout(), 'reading', 'own', learn
    experience, figures = judge(programs(assess=assess), *given)
    assert experience.reference is None and experience.scored is None
    assert figures == {'recall': 0.5}
    assert (experience.advantage, experience.kept, experience.sampled) == (
        'advantage', 'kept', 'logp'
    )  # fmt: skip


@pytest.mark.parametrize(('part', 'features'), [('decoder', 'features'), ('all', None)])
def test_with_kl_the_reference_scores_and_features_are_kept_for_frozen_towers(part, features):
    def score_reference(reference, policy, prompts, rolled, packing):
        return f'{reference} of {rolled.branches.token} in {packing}'

    made = programs(assess=assess, score_reference=score_reference)
    given = 'policy', 'reference', 'prompts', rollout(), 'reading', 'own', Learn(train=part)
    experience, _ = judge(made, *given, 'rows')
    assert experience.reference == 'reference of token in rows' and experience.packing == 'rows'
    assert experience.features == features


def test_with_a_cap_the_policy_is_scored_before_its_updates():
    def score_policy(policy, prompts, rolled, packing):
        return f'{policy} of {rolled.branches.token} in {packing}'

    made = programs(assess=assess, score_policy=score_policy)
    given = 'policy', None, 'prompts', rollout(), 'reading', 'own', Learn(kl=0.0, ratio_cap=2.0)
    experience, _ = judge(made, *given, 'rows')
    assert (experience.scored, experience.sampled) == ('policy of token in rows', 'logp')


def short(texts, clips):
    """1 for an answer of at most ten letters."""
    return {'short': [[float(len(text) <= 10) for text in row] for row in texts]}


def setting_of(config, *functions, **weights):
    """As much of a setting as rewards need."""
    with config.unlocked():
        config.learn.rewards = functions
        config.learn.weights.update(weights)
    terms = ('recall', 'precision', 'f', 'form')
    clip = types.SimpleNamespace(id='c7', words=('sad',))
    method = types.SimpleNamespace(terms=terms)
    return types.SimpleNamespace(config=config, method=method, train_clips=[clip])


def test_own_rewards_are_those_with_a_weight_that_the_method_lacks(config):
    assert own_names(setting_of(config)) == []
    assert own_names(setting_of(config, short, short=0.5)) == ['short']


def test_own_rewards_are_tried_before_training(config):
    check_rewards(setting_of(config))
    check_rewards(setting_of(config, short, short=0.5))


def fragile(texts, clips):
    return {'short': [[1 / len(text) for text in row] for row in texts]}


def test_a_reward_that_fails_on_an_empty_answer_is_named_with_its_function_and_clip(config):
    told = r'test_train\.py:fragile: raised ZeroDivisionError.*clip c7.*an empty one too'
    with pytest.raises(RewardError, match=told):
        check_rewards(setting_of(config, fragile, short=0.5))


def test_a_reward_without_a_weight_and_a_weight_without_a_reward_are_named(config):
    with pytest.raises(RewardError, match=r'learn\.weights\.short: is missing.*short = 1\.0'):
        check_rewards(setting_of(config, short))
    with pytest.raises(RewardError, match=r'learn\.weights\.long: no reward.*return short'):
        check_rewards(setting_of(config, short, short=0.5, long=1.0))


def loss(texts, clips):
    return {'loss': [[1.0 for _ in row] for row in texts]}


def test_a_reward_cannot_take_the_name_of_another_figure(config):
    with pytest.raises(RewardError, match="reward 'loss' has the name of a figure"):
        check_rewards(setting_of(config, loss, loss=0.5))


def recall(texts, clips):
    return {'recall': [[1.0 for _ in row] for row in texts]}


def test_a_reward_cannot_take_the_name_of_a_term_of_the_method(config):
    with pytest.raises(RewardError, match="reward 'recall' has the name of a term of the method"):
        check_rewards(setting_of(config, recall))
