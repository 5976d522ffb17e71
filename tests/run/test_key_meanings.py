"""The keys of configs as --print_config shows them."""

import pytest

from mer_jax.evaluation import defaults as evaluation_defaults
from mer_jax.run import defaults, emo_r3_defaults
from mer_jax.run.config_rules import flat
from mer_jax.run.key_meanings import (
    comments_of,
    described,
    keys_as_text,
    keys_of_run,
    meanings_of,
)

SOURCE = """
def stage():
    c.steps = 3  # of learning [updates]
    # The width
    # of all layers.
    c.model.width = 4
    c.weights = ConfigDict(
        dict(
            form=0.1,  # of the tags
            f=1.0,
        )
    )
    rules.batch = 'data'  # axes
    other.key = 1  # of no config

def published():
    c.steps = 800  # one epoch
"""
VARIANTS = [
    *((defaults.mer_r1, name) for name in ('', *defaults.FAMILIES)),
    *((emo_r3_defaults.emo_r3, name) for name in ('', *emo_r3_defaults.VARIANTS)),
    (defaults.mer_r1, 'qwen2_5_omni_7b,lora'),
    (defaults.grpo_f1, ''),
    (defaults.sft, ''),
    (emo_r3_defaults.grpo_accuracy, ''),
]


def test_comments_beside_and_above_a_key_belong_to_it():
    assert list(comments_of(SOURCE)) == [
        ('steps', 'of learning [updates]'),
        ('model.width', 'The width of all layers.'),
        ('weights.form', 'of the tags'),
        ('mesh.rules.batch', 'axes'),
    ]


@pytest.mark.parametrize(('make', 'variant'), VARIANTS)
def test_every_key_of_every_config_has_a_meaning_and_a_source(make, variant):
    keys, legend = keys_of_run(make(variant))
    assert [key.name for key in keys if not key.meaning] == []
    assert {key.source for key in keys} <= legend.keys()


def test_every_key_of_an_evaluation_has_a_meaning():
    meanings = meanings_of([defaults, evaluation_defaults])
    assert [key for key in flat(evaluation_defaults.mer_unibench()) if key not in meanings] == []


def test_published_keys_exist_and_differ_from_nothing_that_is_published():
    for module in (defaults, emo_r3_defaults):
        published = flat(module.published('vl'))
        named = [key for _, keys in module.SOURCES.values() for key in keys]
        assert len(named) == len(set(named))
        assert [key for key in named if key not in published] == []


def test_a_source_is_that_of_the_value():
    stage, published = {'kl': 0.1, 'group': 8, 'seed': 0}, {'kl': 0.1, 'group': 4, 'seed': 42}
    named = {'kl': 'code', 'group': 'paper'}

    def sources(given=(), **values):
        keys = described(stage | values, {}, given, [stage, published], named)
        return {key.name: key.source for key in keys}

    assert sources() == {'kl': 'code', 'group': 'house', 'seed': 'house'}
    assert sources(group=4, seed=42) == {'kl': 'code', 'group': 'paper', 'seed': 'house'}
    assert sources(['seed'], group=5, seed=7) == {'kl': 'code', 'group': 'file', 'seed': 'flag'}


def test_keys_are_printed_by_their_beginning():
    keys, legend = keys_of_run(defaults.mer_r1(), ['learn.kl'])
    told = keys_as_text(keys, legend, 'learn.k')
    assert told.splitlines() == [
        'learn.kl = 0.04  (flag)',
        '    weight of KL(policy ‖ reference) in nats; 0: no reference is held',
        '',
        'Sources: flag: given on the command line',
    ]
    assert 'rollout.group = 8 branches  (house)' in keys_as_text(keys, legend)
    with pytest.raises(ValueError, match='--print_config=kl: no key begins so; name one of cold_'):
        keys_as_text(keys, legend, 'kl')


def test_a_reward_of_ones_own_and_a_size_of_a_release_have_a_meaning():
    c = defaults.mer_r1()
    c.learn.weights.brief = 0.5
    c.model.text.rms_norm_eps = 1e-5
    keys = {key.name: key.meaning for key in keys_of_run(c)[0]}
    assert keys['learn.weights.brief'] == 'weight of a reward of your own'
    assert keys['model.text.rms_norm_eps'].startswith('size of the model')


def test_an_unknown_method_is_refused():
    c = defaults.mer_r1()
    c.method = 'other'
    with pytest.raises(ValueError, match='method: must be set in the config, to one of mer_r1'):
        keys_of_run(c)
