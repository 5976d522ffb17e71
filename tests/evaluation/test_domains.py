"""In domain and out of domain: the set of training, marks, means over the other sets."""

import pytest

from mer_jax.evaluation.defaults import emotion_images
from mer_jax.evaluation.domains import mark, out_of_domain, trained_on
from mer_jax.run.emo_r3_defaults import emo_r3


def scored(accuracy, task='accuracy'):
    """The scores of a set, as far as means over sets read them."""
    figures = {'accuracy': accuracy, 'uar': accuracy / 2}
    return {'task': task, 'fast': figures, 'slow': {name: x / 2 for name, x in figures.items()}}


@pytest.mark.parametrize(
    ('manifest', 'named', 'wanted'),
    [
        ('emoset:/data', '', 'emoset'),
        ('emoset:/data', 'emotion6', 'emotion6'),
        ('clips/manifest.jsonl', '', 'unknown'),
        ('', '', 'unknown'),
        ('', 'manifest', 'manifest'),
    ],
)
def test_the_set_of_training_is_named_or_that_of_the_run(manifest, named, wanted):
    c, asked = emotion_images(), emo_r3()
    c.trained_on, asked.data.manifest = named, manifest
    assert trained_on(c, asked) == wanted


def test_an_unknown_set_of_training_is_refused():
    c = emotion_images()
    c.trained_on = 'emo_set'
    with pytest.raises(ValueError, match="trained_on='emo_set': must be the key of a set.*emoset"):
        trained_on(c, emo_r3())


def test_sets_are_marked_if_the_training_is_known():
    marks = [mark('emoset', 'emoset'), mark('webemo', 'emoset'), mark('webemo', 'unknown')]
    assert marks == ['emoset (in)', 'webemo (out)', 'webemo']


def test_the_mean_is_over_the_scored_sets_out_of_domain():
    sets = {'emoset': scored(1.0), 'emotion6': scored(0.6), 'webemo': scored(0.2)}
    sets['fi'] = {'task': 'accuracy', 'note': 'cannot be scored'}
    found = out_of_domain(sets, 'emoset')
    assert found['sets'] == ['emotion6', 'webemo']
    assert found['fast'] == pytest.approx({'accuracy': 0.4, 'uar': 0.2})
    assert found['slow'] == pytest.approx({'accuracy': 0.2, 'uar': 0.1})


def test_without_sets_to_average_there_is_no_mean():
    assert out_of_domain({'emoset': scored(1.0)}, 'emoset') is None
    assert out_of_domain({'emoset': scored(1.0)}, 'unknown') is None
    assert out_of_domain({'meld': scored(1.0, 'basic')}, 'emoset') is None
