"""Rewards and slow-fast calibration by hand, and changes that leave them as they are."""

import numpy as np
import pytest

from mer_jax.methods.mer_r1_rewards import (
    calibrate_categories,
    calibrate_words,
    category_confidence,
    masked_mean,
    reward_terms,
    set_scores,
)

NAN = np.nan


def cells(*wheels):
    """bool[w, c] of wheels written as '1001'."""
    return np.array([[cell == '1' for cell in wheel] for wheel in wheels])


@pytest.mark.parametrize(
    ('named', 'gold', 'recall', 'precision', 'f'),
    [
        (['1100'], ['1100'], 1, 1, 1),
        (['0011'], ['1100'], 0, 0, 0),
        (['1000'], ['1100'], 1 / 2, 1, 2 / 3),
        (['1111'], ['1000'], 1, 1 / 4, 2 / 5),
        (['0110'], ['1110'], 2 / 3, 1, 4 / 5),
        # Means over wheels: f is the mean of both F, not the F of the means.
        (['1000', '1111'], ['1100', '1000'], 3 / 4, 5 / 8, (2 / 3 + 2 / 5) / 2),
        (['1000', '0001', '0110'], ['1000', '0010', '1110'], 5 / 9, 2 / 3, (1 + 0 + 4 / 5) / 3),
    ],
)
def test_scores_are_set_overlaps_averaged_over_wheels(named, gold, recall, precision, f):
    scores = set_scores(cells(*named), cells(*gold))
    np.testing.assert_allclose(scores, (recall, precision, f), rtol=1e-6)


def test_a_wheel_without_gold_is_left_out_of_the_mean():
    alone = set_scores(cells('1000'), cells('1100'))
    beside = set_scores(cells('1000', '1111'), cells('1100', '0000'))
    np.testing.assert_array_equal(alone, beside)
    np.testing.assert_allclose(alone, (1 / 2, 1, 2 / 3), rtol=1e-6)


def test_a_branch_that_names_nothing_earns_nothing():
    assert set_scores(cells('0000', '0000'), cells('1100', '0001')) == (0, 0, 0)


def test_a_wheel_in_which_nothing_is_named_counts_as_a_miss():
    scores = set_scores(cells('1000', '0000'), cells('1000', '0100'))
    np.testing.assert_allclose(scores, (1 / 2, 1 / 2, 1 / 2))


def test_without_any_gold_all_scores_are_zero():
    assert set_scores(cells('1100', '0100'), cells('0000', '0000')) == (0, 0, 0)


def test_the_order_of_categories_changes_nothing():
    rng = np.random.default_rng(0)
    named, gold = rng.random((2, 5, 3, 7)) < 0.4
    order = rng.permutation(7)
    before, after = set_scores(named, gold), set_scores(named[..., order], gold[..., order])
    np.testing.assert_array_equal(before, after)
    assert np.unique(before[2]).size > 3


def test_each_branch_is_compared_with_the_gold_of_its_own_prompt():
    named = np.stack([cells('10'), cells('01'), cells('11')])
    gold = np.stack([cells('10'), cells('01')])
    terms = reward_terms(
        np.stack([named, named]), gold, np.array([[True, False, True], [False, True, True]])
    )
    assert list(terms) == ['recall', 'precision', 'f', 'form']
    np.testing.assert_array_equal(terms['recall'], [[1, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(terms['precision'], [[1, 0, 0.5], [0, 1, 0.5]])
    np.testing.assert_allclose(terms['f'], [[1, 0, 2 / 3], [0, 1, 2 / 3]], rtol=1e-6)
    np.testing.assert_array_equal(terms['form'], [[1, 0, 1], [0, 1, 1]])


def test_a_masked_mean_sees_nothing_behind_the_mask():
    x = np.array([[1.0, NAN, 4.0], [NAN, NAN, NAN], [np.inf, 2.0, 3.0]])
    mask = np.array([[True, False, True], [False, False, False], [False, True, True]])
    np.testing.assert_array_equal(masked_mean(x, mask, -1), [2.5, 0, 2.5])


def test_the_confidence_of_a_category_sums_the_tokens_that_start_its_words():
    chance = np.array([0.4, 0.3, 0.2, 0.1])
    starts = np.array([[[0, 1], [2, -1], [-1, -1]]])
    confidence = category_confidence(np.log(chance), starts)
    np.testing.assert_allclose(confidence, np.log([[0.7, 0.2, 1e-10]]), rtol=1e-5)


# One prompt, two branches, three anchors, two wheels of three categories.
SLOW = np.array(
    [
        [
            [[-1.0, -2, -3], [-4, -5, -6]],
            [[-3.0, -2, -1], [-2, -5, -2]],
            [[NAN, NAN, NAN], [NAN, NAN, NAN]],
        ],
        [[[-1.0, -1, -1], [-1, -1, -1]], [[NAN] * 3] * 2, [[NAN] * 3] * 2],
    ]
)[None]
FAST = np.array(
    [
        [
            [[-2.0, -2, -1], [-5, -1, -6]],
            [[-6.0, -4, -1], [-3, -3, -1]],
            [[0, 0, 0], [0, 0, 0]],
        ],
        [[[-3.0, -5, -1], [-2, -1, -7]], [[0] * 3] * 2, [[0] * 3] * 2],
    ]
)[None]
ANCHOR = np.array([[[4, 9, -1], [6, -1, -1]]])
# Slow − fast, averaged over the anchors that exist.
# branch 0, wheel 0: [(1 + 3) / 2, (0 + 2) / 2, (−2 + 0) / 2] = [2, 1, −1]
#           wheel 1: [(1 + 1) / 2, (−4 − 2) / 2, (0 − 1) / 2] = [1, −3, −½]
# branch 1, wheel 0: [2, 4, 0]; wheel 1: [1, 0, 6]
EVERY = np.ones((2, 3), bool)


def sides(gold, exists=EVERY, slow=SLOW, fast=FAST):
    calibration = calibrate_categories(slow, fast, ANCHOR, cells(*gold)[None], exists)
    return np.array([calibration.recall[0], calibration.precision[0]])


def test_calibration_is_the_mean_over_anchors_then_a_sides_categories_then_wheels():
    recall = [(2 + (1 - 1 / 2) / 2) / 2, (2 + (1 + 6) / 2) / 2]
    precision = [(-(1 - 1) / 2 + 3) / 2, (-(4 + 0) / 2 + 0) / 2]
    np.testing.assert_allclose(sides(['100', '101']), [recall, precision], rtol=1e-6)


def test_calibration_leaves_a_wheel_without_gold_out():
    np.testing.assert_allclose(sides(['100', '000']), [[2, 2], [0, -2]], rtol=1e-6)
    np.testing.assert_array_equal(sides(['000', '000']), np.zeros((2, 2)))


def test_a_side_without_categories_is_zero():
    np.testing.assert_allclose(sides(['111', '000']), [[2 / 3, 2], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize('value', [1e6, NAN])
def test_a_category_that_no_token_starts_is_ignored(value):
    exists = cells('110', '011')
    slow = np.where(exists, SLOW, value)
    recall = [(2 - 1 / 2) / 2, (2 + 6) / 2]
    precision = [(-1 + 3) / 2, (-4 + 0) / 2]
    np.testing.assert_allclose(sides(['101', '001'], exists, slow), [recall, precision], rtol=1e-6)


def test_more_confidence_in_gold_and_less_in_others_is_good_on_both_sides():
    gold = cells('100', '010')
    better = sides(['100', '010'], slow=np.where(gold, -1.0, -9.0), fast=np.full_like(FAST, -5.0))
    np.testing.assert_allclose(better, np.full((2, 2), 4))


def test_a_branch_without_anchors_has_no_calibration():
    nowhere = np.full_like(ANCHOR, -1)
    gold = cells('100', '101')[None]
    for calibration in (
        calibrate_categories(SLOW, FAST, nowhere, gold, EVERY),
        calibrate_words(SLOW[..., 0, 0], FAST[..., 0, 0], nowhere, nowhere > 0),
    ):
        np.testing.assert_array_equal(calibration.recall, [[0, 0]])
        np.testing.assert_array_equal(calibration.precision, [[0, 0]])


def test_word_level_compares_the_words_that_were_named():
    slow = np.array([[[-1.0, -2, -5, NAN], [-1, -2, -3, NAN]]])
    fast = np.array([[[-3.0, -3, -1, 0], [-2, -4, -8, 0]]])
    anchor = np.array([[[3, 5, 8, -1], [3, 5, 8, -1]]])
    right = np.array([[[True, True, False, True], [False, False, False, True]]])
    calibration = calibrate_words(slow, fast, anchor, right)
    # Right words gained 2 and 1 and the wrong one lost 4; then three wrong ones gained 1, 2 and 5.
    np.testing.assert_allclose(calibration.recall, [[3 / 2, 0]])
    np.testing.assert_allclose(calibration.precision, [[4, -8 / 3]], rtol=1e-6)
