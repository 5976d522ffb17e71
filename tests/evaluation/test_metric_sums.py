"""Sums over items equal those of sets of words taken one by one, for any number of items."""

import numpy as np
import pytest

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.evaluation import metric_sums, metrics

TREE = """level1,level2,level3
joyful,happy,glad
joyful,proud,
sad,lonely,left out
sad,ashamed,guilty
"""


@pytest.fixture(scope='module')
def wheels():
    """The shipped wheels."""
    return load_wheels(('builtin',))


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """One wheel of two categories."""
    path = tmp_path_factory.mktemp('wheel') / 'small.csv'
    path.write_text(TREE)
    return load_wheels((str(path),))


def answers(wheels, count, seed):
    """Random answers of no word to four, some of them unknown, some said twice."""
    draw = np.random.default_rng(seed)
    words = [*wheels.words()[::40], 'thursday', 'very odd']
    return [
        [words[k] for k in draw.integers(len(words), size=draw.integers(5))] for _ in range(count)
    ]


def total(sums):
    """The sums of all groups together."""
    return sums.sums_m.sum(0)


def slow_figures(gold, named, classes_of):
    """P, R and the number of kept items, from a set of classes for each answer."""
    pairs = [(classes_of(words), classes_of(said)) for words, said in zip(gold, named, strict=True)]
    pairs = [(right, said) for right, said in pairs if right]
    p = np.mean([len(right & said) / len(said) if said else 0 for right, said in pairs])
    r = np.mean([len(right & said) / len(right) for right, said in pairs])
    return p, r, len(pairs)


@pytest.mark.parametrize('block', [7, 2**13])
def test_open_sums_equal_those_of_sets_one_by_one(wheels, monkeypatch, block):
    monkeypatch.setattr(metric_sums, 'BLOCK', block)
    gold, named = answers(wheels, 300, 0), answers(wheels, 300, 1)
    sums = metric_sums.open_sums(gold, named, wheels)
    maps = [
        lambda words: {wheels.base[word] for word in words if word in wheels.base},
        lambda words: {wheels.synonym[word] for word in words if word in wheels.synonym},
    ]
    for level in (1, 2):
        for wheel in range(len(wheels.names)):
            maps.append(
                lambda words, wheel=wheel, level=level: (
                    {wheels.category(word, level)[wheel] for word in words} - {None}
                )
            )
    for terms, classes_of in zip(total(sums), maps, strict=True):
        p, r, kept = slow_figures(gold, named, classes_of)
        np.testing.assert_allclose(terms, [kept, p * kept, r * kept], rtol=1e-12)
    odd = [word for words in named for word in words if word in ('thursday', 'very odd')]
    assert dict(sums.unknown) == {word: odd.count(word) for word in odd}
    assert sums.kept == sum(any(word in wheels.base for word in words) for words in gold)


def test_more_classes_than_bits_are_told_apart():
    words = [f'word{n}' for n in range(200)]
    classes = metric_sums.classes_of([{word: n for n, word in enumerate(words)}, {'word7': 0}])
    sets = classes.sets([words[:150], [], ['word7', 'word7', 'odd'], words[100:]])
    np.testing.assert_array_equal(classes.sizes(sets), [[150, 1], [0, 0], [1, 1], [100, 0]])
    common = classes.sizes(sets[:1] & sets[3:])
    np.testing.assert_array_equal(common, [[50, 0]])


def test_the_counted_classes_are_the_cells_of_the_wheels(wheels):
    said = answers(wheels, 50, 2)
    for level in (1, 2):
        classes = metric_sums.classes_of(metric_sums.wheel_maps(wheels, level))
        cells = wheels.cells(said, level)
        np.testing.assert_array_equal(classes.sizes(classes.sets(said)), cells.sum(-1))


def test_kept_and_unmapped_items_are_counted(small):
    gold = [['glad'], ['glad'], ['thursday'], []]
    named = [['sad'], ['odd', 'odd'], ['sad'], ['sad']]
    sums = metric_sums.open_sums(gold, named, small)
    assert (sums.kept, sums.unmapped, dict(sums.unknown)) == (2, 1, {'odd': 2})
    # `disgust` has forms and synonyms (M1 and M2), and still is in no wheel.
    sums = metric_sums.open_sums([['glad']], [['disgust']], small)
    assert 'disgust' in small.base and dict(sums.unknown) == {'disgust': 1}
    assert (sums.kept, sums.unmapped) == (1, 1)
    # An item that is not kept is never unmapped.
    sums = metric_sums.basic_sums(['glad', 'thursday'], [['sad'], ['odd']], small)
    assert (sums.kept, sums.unmapped, dict(sums.unknown)) == (1, 0, {'odd': 1})


def test_basic_items_by_hand(small):
    gold = ['glad', 'glad', 'sad', 'neutral']
    named = [['happy', 'lonely'], ['lonely'], [], ['happy']]
    sums = metric_sums.basic_sums(gold, named, small)
    # The neutral item is left out: the wheel does not know it.
    np.testing.assert_array_equal(total(sums), [[3, 1, 0.5, 0.5]])
    assert (sums.kept, sums.unmapped) == (3, 1)
    # Only labels of the set lower m, and at level 2 lonely is none of them.
    narrow = total(metric_sums.basic_sums(['glad', 'glad'], named[:2], small, level=2))
    np.testing.assert_array_equal(narrow, [[2, 1, 1, 0.5]])


def test_sentiment_items_by_hand():
    gold = [1.5, -0.2, 0.0, float('nan'), -3, 2]
    named = ['positive', 'neutral', 'positive', 'positive', 'positive', 'mixed']
    sums = metric_sums.sentiment_sums(gold, named)
    np.testing.assert_array_equal(total(sums), [[1, 1], [1, 1]])
    assert (sums.kept, sums.unmapped, dict(sums.unknown)) == (4, 1, {'mixed': 1})


def test_one_answer_out_of_several_classes_by_hand():
    gold = ['awe', 'fear', 'awe', '', 'fear']
    named = [['awe'], ['awe'], ['awe', 'fear'], ['awe'], ['odd']]
    sums = metric_sums.accuracy_sums(gold, named)
    np.testing.assert_array_equal(total(sums), [[1, 2, 2], [0, 2, 0]])
    assert (sums.kept, sums.unmapped, dict(sums.unknown)) == (4, 2, {'odd': 1})


@pytest.mark.parametrize('block', [2, 2**13])
def test_sums_of_labels_equal_those_of_sets_one_by_one(monkeypatch, block):
    monkeypatch.setattr(metric_sums, 'BLOCK', block)
    draw = np.random.default_rng(3)
    words = np.array(list('abcdefg'))
    gold, named = (
        [list(draw.choice(words[:most], draw.integers(4))) for _ in range(60)] for most in (5, 7)
    )
    sums = metric_sums.multilabel_sums(gold, named)
    pairs = [(set(a), set(b)) for a, b in zip(gold, named, strict=True) if a]
    labels = list(dict.fromkeys(word for words in gold for word in words))
    f1 = [2 * len(a & b) / (len(a) + len(b)) for a, b in pairs]
    jaccard = [len(a & b) / len(a | b) for a, b in pairs]
    p = [len(a & b) / len(b) if b else 0 for a, b in pairs]
    r = [len(a & b) / len(a) for a, b in pairs]
    terms = [len(pairs), sum(p), sum(r), sum(f1), sum(jaccard), sum(a == b for a, b in pairs)]
    np.testing.assert_allclose(total(sums)[:6], terms, rtol=1e-12)
    counts = [
        [sum(word in side for side in sides) for sides in (both, right, said)]
        for word in labels
        for both, right, said in [
            ([a & b for a, b in pairs], [a for a, _ in pairs], [b for _, b in pairs])
        ]
    ]
    np.testing.assert_array_equal(total(sums)[6:], np.ravel(counts))
    assert sums.kept == len(pairs)
    assert sums.unmapped == sum(not b & set(labels) for _, b in pairs)


def test_sums_do_not_depend_on_the_groups(wheels, monkeypatch):
    gold, named = answers(wheels, 90, 4), answers(wheels, 90, 5)
    single = metric_sums.open_sums(gold, named, wheels).sums_m
    monkeypatch.setattr(metrics, 'MOST_GROUPS', 8)
    grouped = metric_sums.open_sums(gold, named, wheels).sums_m
    assert (len(single), len(grouped)) == (90, 8)
    np.testing.assert_allclose(grouped.sum(0), single.sum(0), rtol=1e-12)


def test_without_usable_labels_nothing_is_kept(small):
    assert metric_sums.open_sums([], [], small).kept == 0
    assert metric_sums.basic_sums([''], [['sad']], small).kept == 0
    assert metric_sums.sentiment_sums([0.0], ['positive']).kept == 0
    assert metric_sums.accuracy_sums([''], [['sad']]).kept == 0
    assert metric_sums.multilabel_sums([[]], [['sad']]).kept == 0
