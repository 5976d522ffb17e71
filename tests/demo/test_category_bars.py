"""Shares of samples by category, beside the confidence of the model."""

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.demo.category_bars import CLOSED_SET, Bar, shares


def test_a_share_counts_the_samples_that_name_a_word_of_the_category():
    wheels = load_wheels(('ekman',))
    sure = {'ekman': {'sadness': 0.5, 'joy': 0.25, 'fear': 0.0}}
    found = shares([['sad', 'unhappy'], ['sad', 'happy'], [], ['xyz']], sure, wheels, ())
    assert found == {
        'ekman': [Bar('sadness', 0.5, 0.5), Bar('joy', 0.25, 0.25), Bar('fear', 0.0, 0.0)]
    }


def test_categories_without_votes_and_confidence_are_left_out():
    found = shares([['sad']], {}, load_wheels(('ekman', 'parrott')), ())
    assert found == {'ekman': [Bar('sadness', 1.0, None)], 'parrott': [Bar('sadness', 1.0, None)]}


def test_labels_of_a_closed_set_are_compared_in_small_letters():
    sure = {'coherence': {'anger': 0.1, 'awe': 0.9}}
    found = shares([['Anger'], ['anger'], [], ['sky']], sure, None, ('anger', 'awe'))
    assert found == {CLOSED_SET: [Bar('anger', 0.5, 0.1), Bar('awe', 0.0, 0.9)]}
    assert shares([['anger']], {}, None, ('anger', 'awe')) == {
        CLOSED_SET: [Bar('anger', 1.0, None)]
    }


def test_without_wheels_and_labels_there_are_no_bars():
    assert shares([['sad']], {}, None, ()) == {}
