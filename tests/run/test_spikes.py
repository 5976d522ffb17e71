"""Spikes of figures: found against the median before them, warned of, and counted in a row."""

import logging

import pytest

from mer_jax.run.spikes import LEAST, WINDOW, Rule, Spiked, Spikes, check_rule

CALM = [{'step': n, 'loss': 2.0, 'gradient_norm': 1.0} for n in range(1, LEAST + 1)]


def note_all(spikes, *norms):
    return [spikes.note(n, {'gradient_norm': norm}) for n, norm in enumerate(norms, LEAST + 1)]


def test_a_figure_above_the_multiple_of_its_median_is_a_spike_and_is_named(caplog):
    spikes = Spikes('train', Rule(factor=10.0), CALM)
    with caplog.at_level(logging.WARNING):
        assert note_all(spikes, 10.0, 10.5, 3.0) == [{}, {'spike': 10.5}, {}]
    said = 'train step 10: a spike: gradient_norm=10.5 is 10.5 times its median'
    assert [record.getMessage() for record in caplog.records] == [f'{said}, above spike.factor=10']


def test_the_loss_counts_in_the_cold_start_alone():
    figures = {'loss': 30.0, 'gradient_norm': 1.0}
    assert Spikes('cold_start', Rule(10.0), CALM).note(9, figures) == {'spike': 15.0}
    assert Spikes('train', Rule(10.0), CALM).note(9, figures) == {}


@pytest.mark.parametrize(
    ('rule', 'records'),
    [
        (Rule(0.0), CALM),
        (Rule(10.0), CALM[1:]),  # too few updates
        (Rule(10.0), [record | {'gradient_norm': 0.0} for record in CALM]),
    ],
)
def test_without_a_rule_enough_updates_or_a_median_there_is_no_spike(rule, records):
    assert note_all(Spikes('train', rule, records), 1e9) == [{}]


def test_the_median_follows_a_level_that_lasts():
    spikes = Spikes('train', Rule(10.0), CALM)
    found = note_all(spikes, *[100.0] * WINDOW)
    assert found[0] == {'spike': 100.0} and found[-1] == {}


def test_a_row_of_spikes_holds_saves_back_and_ends_the_run():
    spikes = Spikes('train', Rule(10.0, stop=2), CALM)
    for step, norm in ((9, 50.0), (10, 1.0), (11, 50.0)):  # in turns: never two in a row
        spikes.note(step, {'gradient_norm': norm})
        spikes.check(step)
        assert spikes.hold_back == (norm > 1)
    spikes.note(12, {'gradient_norm': 60.0})
    with pytest.raises(Spiked, match=r'train step 12: 2 updates in a row .*spike\.stop=2'):
        spikes.check(12)


def test_a_rule_that_only_warns_holds_no_save_back():
    spikes = Spikes('train', Rule(10.0), CALM)
    for step in range(9, 14):
        assert spikes.note(step, {'gradient_norm': 100.0})
        spikes.check(step)
        assert not spikes.hold_back


def test_a_resumed_stage_finds_the_spikes_of_an_uninterrupted_one():
    rule, norms = Rule(10.0, stop=3), [1.0, 2.0, 50.0, 60.0, 3.0]
    whole = note_all(Spikes('train', rule, CALM), *norms)
    seen = [{'gradient_norm': norm} | more for norm, more in zip(norms[:3], whole, strict=False)]
    resumed = Spikes('train', rule, CALM + seen)
    assert resumed.row == 1
    assert [resumed.note(12 + n, {'gradient_norm': x}) for n, x in enumerate(norms[3:])] == whole[
        3:
    ]
    assert whole[2] and whole[3]


@pytest.mark.parametrize(
    ('factor', 'stop', 'told'),
    [(0.5, 0, 'spike.factor=0.5: must be above 1'), (0.0, 3, 'spike.stop=3: needs spike.factor')],
)
def test_a_rule_that_makes_no_sense_is_refused(factor, stop, told):
    with pytest.raises(ValueError, match=told):
        check_rule(factor, stop)
    check_rule(10.0, 3)
