"""Curves are drawn where their values say, with round numbers at the axes."""

import re

import numpy as np
import pytest

from mer_jax.run.curves import curve_colors, draw_curves, smooth, ticks_between


@pytest.mark.parametrize(
    ('low', 'high', 'least', 'wanted'),
    [
        (0.0, 1.0, 0.0, [0, 0.25, 0.5, 0.75, 1]),
        (-0.3, 6.3, 1.0, [0, 2, 4, 6]),
        (0.95, 1.05, 1.0, [1]),
        (-3e-5, 2e-5, 0.0, [-2e-5, 0, 2e-5]),
        (1190, 2810, 1.0, [1500, 2000, 2500]),
    ],
)
def test_ticks_are_round_numbers_at_equal_distances(low, high, least, wanted):
    assert ticks_between(low, high, least) == wanted


def test_no_axis_has_more_than_five_ticks_or_less_than_two():
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(size=200), np.exp(rng.normal(size=200) * 9), strict=True):
        assert 2 <= len(ticks_between(low, low + width)) <= 5


def test_a_curve_lies_between_its_ticks():
    steps, values = np.arange(1, 5), np.array([0.0, 1.0, 0.5, 1.0])
    text = draw_curves([np.stack([steps, values])])
    raw = re.search('d="M([^"]*)" style="fill: none; stroke: var[(]--slow[)]', text)[1]
    x, y = np.array([place.split() for place in raw.split('L')], float).T
    assert np.allclose(np.diff(x), np.diff(x)[0], atol=0.11) and (np.diff(x) > 0).all()
    mark = {t: float(at) for at, t in re.findall('y="([0-9.]+)"[^>]*end">([0-9.]+)<', text)}
    low, high = mark['0'], mark['1']  # text lies a third of its height below its line
    wanted = low - 0.35 * 9.5 + values * (high - low)
    assert np.allclose(y, wanted, atol=0.11)


def test_one_update_and_a_figure_that_never_changes_are_drawn():
    one = draw_curves([np.array([[7.0], [0.25]])])
    assert '>7</text>' in one and '>0.25</text>' in one and 'nan' not in one
    flat = draw_curves([np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])])
    assert '>0</text>' in flat and 'nan' not in flat


def test_curves_of_one_chart_have_colours_of_their_own_and_a_long_one_is_thinned():
    long = np.stack([np.arange(5000.0), np.sin(np.arange(5000.0))])
    text = draw_curves([long, long + 1])
    assert [text.count(f'--{name}') for name in curve_colors(2)] == [2, 2]
    assert len(text) < 40_000


def test_smoothing_keeps_a_level_and_the_length():
    assert np.allclose(smooth(np.full(40, 3.0)), 3.0)
    assert smooth(np.arange(3.0)).tolist() == [0, 1, 2]
