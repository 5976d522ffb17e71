"""Odd values of every key of every default config: refused with a way out, or known to be fine."""

import re

import pytest
from small import changed

from mer_jax.evaluation.config_rules import check_evaluation
from mer_jax.evaluation.defaults import mer_unibench
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.config_rules import check_config
from mer_jax.run.defaults import mer_r1
from mer_jax.run.emo_r3_defaults import emo_r3

NAN, INFINITE = float('nan'), float('inf')
NUMBERS = (7.5, -1, -1.0, 0, 0.0, NAN, INFINITE, 1e308, 10**9, 10**18)
LISTS = ((), [3], (NAN,), (10**9,), (-1,), (None,), ('',))
ODD = ('odd', '', None, True, {'a': 1}, *NUMBERS, *LISTS)
ZERO = (0, 0.0)
FINE = {  # odd values that a run can use
    'seed': (0, 10**9),  # any number of 32 bits
    'steps': (0,),  # the cold start alone
    'early_stop': (0,),  # never
    'cold_start.steps': (0,),  # none
    'cold_start.learning_rate': ZERO,  # nothing is learnt, as a baseline
    'optim.learning_rate': ZERO,
    'optim.warmup': (0,),  # the full rate from the first update on
    'optim.weight_decay': ZERO,
    'optim.b2': ZERO,  # the second moment of the last gradient alone
    'optim.clip_norm': (10**9,),  # in effect no bound
    'learn.kl': ZERO,  # no reference is held
    'learn.clip_low': ZERO,  # ratios of the sampling policy alone
    'learn.clip_high': ZERO,
    'learn.clip_dual': ZERO,  # no dual clip
    'learn.ratio_cap': ZERO,  # no weight
    'learn.microbatch': (0,),  # all at a time
    'learn.packing': (0,),  # with padding
    'rollout.microbatch': (0,),  # all at a time
    'learn.lengths': ([3], ()),  # one that holds no branch, or none: that of the rollout
    'rollout.fast': (0,),  # slow branches alone
    'learn.calibration.weight': ZERO,  # no calibration
    'learn.reflection.none': ZERO,  # as a wrong word
    'learn.rewards': ((),),  # none
    'data.max_bad_clips': (0,),  # the first damaged clip ends the run
    'data.manifest': ('',),  # clips of the stage
    'model.adapter': ('',),  # none
    'data.cache': ('',),  # no cache
    'data.system': ('',),  # that of the template
    'data.prompt_tokens': ([3],),  # longer prompts are refused where they are read
    'every.validate': (0,),  # none
    'validation.score': ('',),  # that of the method
    'model.checkpoint': ('',),  # random weights
    'model.text.rope_theta': (10**9,),
    'model.vision.fullatt_block_indexes': ((),),  # windows in every block
    'spike.factor': ZERO,  # finds no spikes
    'spike.stop': (0,),  # only warns
    'records.tracker': ('',),  # none
    'mesh.data': (-1, 0),  # what the other axes leave; a copy for every eight devices
}
FINE_IN_EVALUATIONS = {
    'seed': (-1, 0, 10**9),
    'clips': (0,),  # all
    'method': ('',),  # that of the checkpoint
    'trained_on': ('',),
    'benchmarks': ((),),  # a manifest alone
    'data.cache': ('',),
    'data.max_bad_clips': (0,),
    'model.checkpoint': ('',),  # the command asks for it
    'model.adapter': ('',),
    'model.video_positions': ('',),
    'data.root': ('',),
    'judge.endpoint': ('',),  # no judge
    'judge.model': ('',),  # the same
    'judge.key': ('',),
    'judge.price_read': ZERO,
    'judge.price_written': ZERO,
    'mesh.data': (-1, 0),
}
WAY_OUT = re.compile(r'e\.g\. |one of |, or |; |must be (1|True) or ')


def check_run(c):
    """Everything that looks at a config before a run is built."""
    check_config(c)
    choose_clips(c)


def places(c):
    """Each section and key of a config, and the dotted name of it."""
    for key, value in list(c.items()):
        yield c, key, key
        if hasattr(value, 'items'):
            for section, inner, name in places(value):
                yield section, inner, f'{key}.{name}'


def odd_values(default):
    """The odd values that are not ordinary ones of the kind of a default."""
    ordinary = {str: ('odd',), bool: (True,), float: (7.5,), tuple: ('odd',)}.get(type(default), ())
    return [value for value in ODD if not any(value is one for one in ordinary)]


def refused_badly(check, c, fine):
    """The odd values that are neither fine nor refused with key, value and way out."""
    bad = []
    with c.unlocked(), c.ignore_type():
        for section, key, name in places(c):
            default = section[key]
            allowed = fine.get(name, ZERO if name.startswith('learn.weights.') else ())
            if name.startswith('mesh.rules.'):
                allowed = ('',)  # splits nothing
            for value in odd_values(default):
                del section[key]  # else ConfigDict would turn a number into one of the old type
                section[key] = value
                told = ''
                try:
                    check(c)
                except ValueError as error:
                    told = str(error)
                except Exception as error:
                    bad.append(f'{name}={value!r}: {error!r}')
                    continue
                known = any(type(value) is type(one) and value == one for one in allowed)
                if known == bool(told):
                    bad.append(f'{name}={value!r}: {told or "accepted"}')
                elif told and not (
                    re.search(rf'(^| ){re.escape(name)}[.=:]', told) and WAY_OUT.search(told)
                ):
                    bad.append(f'{name}={value!r}: says {told}')
            del section[key]
            section[key] = default
    return bad


@pytest.mark.parametrize(
    ('make', 'more'),
    [(mer_r1, {}), (emo_r3, {'data.wheels': ((),)})],  # EMO-R3 uses none
)
def test_odd_values_of_every_key_of_a_run_are_refused_with_a_way_out_or_fine(make, more):
    assert refused_badly(check_run, make(), FINE | more) == []


def test_odd_values_of_every_key_of_an_evaluation_are_refused_with_a_way_out_or_fine():
    assert refused_badly(check_evaluation, mer_unibench(), FINE_IN_EVALUATIONS) == []


def test_sizes_that_follow_from_a_release_have_bounds_too(config):
    for key, value in (
        ('model.text.rms_norm_eps', 1e-6),
        ('model.vision.rope_theta', 1e4),
        ('model.audio.n_window', 100),
    ):
        check_config(changed(config, **{key: value}))
    for key, value in (
        ('model.text.rms_norm_eps', 0.0),
        ('model.vision.rope_theta', 1e308),
        ('model.audio.n_window', 10**9),
        ('model.audio.n_window', 2.5),
    ):
        with pytest.raises(
            ValueError, match=rf'{key}={re.escape(str(value))}: must be .*, e\.g\. '
        ):
            check_config(changed(mer_r1(), **{key: value}))


def test_a_warmup_that_outlasts_a_stage_is_refused_but_in_a_trial_run(config):
    check_config(changed(config, optim__warmup=150))
    check_config(changed(config, steps=1, cold_start__steps=1, optim__warmup=10))
    check_config(changed(config, steps=0, cold_start__steps=0, optim__warmup=200))
    for key, updates, value in (('steps', 150, 160), ('cold_start.steps', 40, 60)):
        told = rf'optim.warmup={value}: must be at most {key}.* = {updates}, .* lower it, e\.g\.'
        c = changed(mer_r1(), steps=150, cold_start__steps=170, optim__warmup=value)
        with pytest.raises(ValueError, match=told):
            check_config(changed(c, **{key: updates}))


def test_a_config_without_a_method_names_the_methods(config):
    with config.unlocked():
        del config.method
    with pytest.raises(ValueError, match='method: is missing in the config; .* mer_r1, emo_r3'):
        check_config(config)
