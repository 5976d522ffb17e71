"""The paired gain of a run, by hand."""

import numpy as np
import pytest

from mer_jax.run.gain import gain_of_run, paired_gain


def rows(f, first=0):
    """Rows of an evaluation whose slow answers have this F; fast ones score nothing."""
    nothing = {'recall': 0.0, 'precision': 0.0, 'f': 0.0}
    return [
        {
            'id': f'clip {i}',
            'fast': nothing,
            'slow': {'recall': value / 2, 'precision': 0.5, 'f': value},
        }
        for i, value in enumerate(f, first)
    ]


def test_difference_and_standard_error_are_those_of_the_paired_differences():
    gain = paired_gain(rows([0.0, 0.25, 1.0]), rows([0.5, 0.5, 1.0]), 'slow')
    assert set(gain) == {'recall', 'precision', 'f'}
    # differences 0.5, 0.25, 0: mean 0.25, standard deviation 0.25, over sqrt(3)
    assert gain['f']['difference'] == pytest.approx(0.25)
    assert gain['f']['se'] == pytest.approx(0.25 / 3**0.5)
    assert gain['recall']['difference'] == pytest.approx(0.125)
    assert gain['precision'] == {'difference': 0, 'ci': [0, 0], 'se': 0}


def test_the_interval_spans_the_resampled_means():
    # two clips drawn with replacement: the mean difference is 0, 0.5 or 1, with 1/4, 1/2, 1/4
    gain = paired_gain(rows([0.0, 1.0]), rows([1.0, 1.0]), 'slow')
    assert gain['f']['difference'] == 0.5 and gain['f']['ci'] == [0, 1]
    # differences 1 and 0: standard deviation sqrt(1/2), over sqrt(2)
    assert gain['f']['se'] == pytest.approx(0.5)


def test_each_mode_has_its_own_gain():
    gain = paired_gain(rows([0.0, 1.0]), rows([1.0, 1.0]), 'fast')
    assert {name: one['difference'] for name, one in gain.items()} == dict.fromkeys(gain, 0)


def test_clips_that_are_hard_before_and_after_cancel():
    rng = np.random.default_rng(0)
    before = rng.choice([0.0, 0.8], 512)  # hard and easy clips
    after = before + 0.1 + rng.normal(0, 0.01, 512)
    gain = paired_gain(rows(before), rows(after), 'slow')['f']
    independent = (before.var(ddof=1) / 512 + after.var(ddof=1) / 512) ** 0.5
    assert independent > 0.02 and gain['se'] < 0.0005
    low, high = gain['ci']
    assert 0.098 < low < gain['difference'] < high < 0.102
    assert high - low == pytest.approx(2 * 1.96 * gain['se'], rel=0.1)


def test_clips_are_paired_by_id_and_others_are_left_out():
    before, after = rows([0.0, 0.25, 1.0]), rows([0.5, 1.0, 0.0], first=1)
    assert gain_of_run(before, after)['clips'] == 2
    # clip 1: 0.25 to 0.5, clip 2: 1 to 1
    assert paired_gain(before, after[::-1], 'slow')['f']['difference'] == pytest.approx(0.125)


@pytest.mark.parametrize('first', [2, 1])
def test_fewer_than_two_common_clips_are_refused(first):
    with pytest.raises(ValueError, match=f'at least two clips .* not {2 - first}'):
        paired_gain(rows([0.0, 1.0]), rows([0.0, 1.0], first=first), 'slow')


def test_the_gain_of_a_run_is_that_of_both_modes_with_the_number_of_clips():
    before, after = rows([0.0, 1.0]), rows([1.0, 1.0])
    gain = gain_of_run(before, after)
    assert list(gain) == ['slow', 'fast', 'clips'] and gain['clips'] == 2
    assert gain['slow'] == paired_gain(before, after, 'slow')
    assert gain['fast'] == paired_gain(before, after, 'fast')
    assert gain_of_run(before, rows([1.0], first=1)) is None


def test_a_method_may_have_scores_of_its_own():
    before, after = (
        [{'id': name, 'fast': {'accuracy': x}, 'slow': {'accuracy': x}} for name in 'ab']
        for x in (0.25, 1.0)
    )
    gain = gain_of_run(before, after, {'slow': ['accuracy'], 'fast': ['accuracy']})
    assert gain['slow'] == {'accuracy': {'difference': 0.75, 'ci': [0.75, 0.75], 'se': 0}}


def test_more_clips_than_are_resampled_one_by_one_have_an_interval_as_well():
    rng = np.random.default_rng(0)
    before = rng.random(3000)
    gain = paired_gain(rows(before), rows(before + rng.normal(0.1, 0.2, 3000)), 'slow')['f']
    low, high = gain['ci']
    assert high - low == pytest.approx(2 * 1.96 * gain['se'], rel=0.1)


def answered(*pairs):
    """Rows of clips whose gold label and answered word are given."""
    return [
        {'id': str(i), 'gold': [gold], 'slow': {'words': [said] if said else []}}
        for i, (gold, said) in enumerate(pairs)
    ]


def test_answers_out_of_a_closed_set_have_a_gain_of_macro_f1():
    before = answered(('awe', 'awe'), ('awe', 'fear'), ('fear', ''), ('fear', 'joy'))
    after = answered(('awe', 'awe'), ('awe', 'AWE'), ('fear', 'fear'), ('fear', 'awe'))
    # F1 of awe 2/3, of fear 0; then 4/5 and 2/3. Joy is no gold label.
    gain = paired_gain(before, after, 'slow', (), ('awe', 'fear', 'joy'))
    wanted = (4 / 5 + 2 / 3) / 2 - (2 / 3) / 2
    assert gain['macro_f1']['difference'] == pytest.approx(wanted)
    low, high = gain['macro_f1']['ci']
    assert low <= wanted <= high
