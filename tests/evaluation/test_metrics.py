"""Figures by hand, and intervals that cover the true value as often as they should."""

import numpy as np
import pytest

from mer_jax.evaluation import metrics


def total(terms):
    """The sums of the terms of all items."""
    return np.array(terms, float).sum(0)


def test_a_share_of_nothing_is_zero():
    assert metrics.ratio(3, 4) == 0.75 and metrics.ratio(3, 0) == 0
    np.testing.assert_array_equal(metrics.ratio([1, 2], [[2], [0]]), [[0.5, 1], [0, 0]])


def test_terms_of_an_item_are_its_precision_and_recall():
    terms = metrics.set_terms([1, 0, 0, 0], [2, 3, 0, 2], [4, 1, 2, 0])
    np.testing.assert_array_equal(terms, [[1, 0.5, 0.25], [1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_f_is_taken_of_mean_precision_and_recall_and_averaged_over_wheels():
    # M1, M2, two wheels at level 1, the same at level 2; three items, the last has no M2.
    a, b = (1, 1.0, 0.5), (1, 0.5, 0.5)
    items = [[a] * 6, [b] * 6, [a, (0, 0, 0), a, b, (1, 0, 0), (0, 0, 0)]]
    figures = metrics.open_figures(total(items), ('x', 'y'))
    p, r = 2.5 / 3, 0.5
    f = 2 * p * r / (p + r)
    assert figures['x.level1.P'] == pytest.approx(p) and figures['M1'] == pytest.approx(f)
    q = 2 / 3
    g = 2 * q * r / (q + r)
    assert figures['y.level1.F'] == pytest.approx(g)
    assert figures['F'] == pytest.approx((f + g) / 2)
    assert figures['P'] == pytest.approx((p + q) / 2) and figures['R'] == 0.5
    m2 = 2 * 0.75 * 0.5 / 1.25
    x2 = 2 * 0.5 * (1 / 3) / (5 / 6)
    assert figures['M2'] == pytest.approx(m2) and figures['x.level2.F'] == pytest.approx(x2)
    assert figures['M_avg'] == pytest.approx((f + m2 + f + g + x2 + m2) / 6)
    narrow = metrics.open_figures(total(items), ('x', 'y'), level=2)
    assert narrow['F'] == pytest.approx((x2 + m2) / 2) and narrow['M1'] == figures['M1']


def test_wrong_words_lower_m_score_and_f1_but_not_hit():
    # kept, hit, m, precision: one of two named is right, and both are candidates.
    one = metrics.basic_figures(np.array([[4.0, 3.0, 1.5, 1.5]]))
    assert one == {'hit': 0.75, 'm_score': 0.375, 'f1': 0.5}
    both = metrics.basic_figures(np.array([[4.0, 3.0, 1.5, 1.5], [2.0, 2.0, 2.0, 2.0]]))
    assert both == {'hit': 0.875, 'm_score': 0.6875, 'f1': 0.75}


def test_waf_weighs_the_f1_of_both_classes_by_their_gold():
    # Of 6 negatives 4 are right, of 2 positives 1.
    figures = metrics.sentiment_figures(np.array([[4.0, 2.0], [1.0, 1.0]]))
    negative, positive = 2 * 4 / (6 + 5), 2 * 1 / (2 + 3)
    assert figures['waf'] == pytest.approx((6 * negative + 2 * positive) / 8)
    assert figures['accuracy'] == 5 / 8


def test_uar_gives_each_gold_class_the_same_weight():
    hit_gold_named = np.array([[3.0, 4.0, 5.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    figures = metrics.accuracy_figures(hit_gold_named)
    assert figures['accuracy'] == 3 / 5 and figures['uar'] == (3 / 4 + 0) / 2
    assert figures['macro_f1'] == pytest.approx((6 / 9 + 0) / 2)


def test_figures_of_labels_are_averaged_over_items_in_total_and_over_labels():
    # gold {a, b}, named {a, x}; gold {b}, named {b}
    items = [[1, 0.5, 0.5, 0.5, 1 / 3, 0], [1, 1, 1, 1, 1, 1]]
    labels = [[1, 1, 1], [1, 2, 1]]  # hit, gold, named of a and of b
    figures = metrics.multilabel_figures(np.concatenate([total(items), np.ravel(labels)]))
    assert figures['precision'] == figures['recall'] == figures['f1'] == 0.75
    assert figures['jaccard'] == pytest.approx(2 / 3) and figures['exact'] == 0.5
    assert figures['micro_f1'] == pytest.approx(2 * 2 / (3 + 2))
    assert figures['macro_f1'] == pytest.approx((1 + 2 / 3) / 2)


def mean(sums):
    """The figure of `rows`: the mean of the values."""
    return {'mean': metrics.ratio(sums[..., 1], sums[..., 0])}


def rows(values):
    """The terms 1 and value of each item."""
    return np.stack([np.ones(len(values)), values], -1)


def test_the_interval_of_a_mean_is_two_standard_errors_to_each_side():
    values = np.random.default_rng(1).uniform(size=400)
    low, high = metrics.intervals(rows(values), mean)['mean']
    error = values.std() / 400**0.5
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_repeat_and_stay_within_the_range():
    hits = rows(np.array([1.0] * 9 + [0.0]))
    once = metrics.intervals(hits, mean)
    assert once == metrics.intervals(hits, mean) and 0 <= once['mean'][0] < once['mean'][1] <= 1
    assert metrics.intervals(rows(np.ones(3)), mean) == {'mean': [1.0, 1.0]}


def test_nineteen_of_twenty_intervals_cover_the_truth():
    draw = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        low, high = metrics.intervals(rows(draw.uniform(size=60) < 0.3), mean)['mean']
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 198


def test_many_items_have_the_same_interval_in_groups_and_one_by_one(monkeypatch):
    values = np.random.default_rng(3).exponential(size=5000)
    group_n = metrics.groups(5000)
    sizes = np.bincount(group_n)
    assert len(sizes) == metrics.MOST_GROUPS and set(sizes) == {4, 5}
    sums_m = np.zeros((len(sizes), 2))
    np.add.at(sums_m, group_n, rows(values))
    grouped = metrics.intervals(sums_m, mean)['mean']
    single = metrics.intervals(rows(values), mean)['mean']
    width = single[1] - single[0]
    np.testing.assert_allclose(grouped, single, atol=0.1 * width)
    assert grouped[1] - grouped[0] == pytest.approx(width, rel=0.1)


def test_the_difference_of_two_that_agree_has_a_narrower_interval_than_either():
    first = np.random.default_rng(4).uniform(size=300)
    low, high = metrics.difference_intervals(rows(first), rows(first + 0.01), mean)['mean']
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)
    one, other = metrics.intervals(rows(first), mean)['mean']
    assert other - one > 0.05
