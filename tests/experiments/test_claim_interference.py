"""Claim (e) judged by lines of interference.py, by hand."""

import fake_claims
import numpy as np
import pytest

from experiments.claim_interference import by_seed, courses, over_seeds, table


def test_the_figures_of_a_seed_are_means_over_its_policies():
    lines = [{'arm': 'full', 'seed': s, 'x': x} for s, x in ((0, 1.0), (0, 3.0), (1, 5.0))]
    assert by_seed(lines, 'full', lambda line: line['x']).tolist() == [2, 5]


def test_the_interval_over_seeds_is_that_of_students_t():
    mean, (low, high) = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert mean == 2 and high - mean == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert low == pytest.approx(2 * mean - high)
    assert over_seeds(np.array([1.0]))[1] == [-np.inf, np.inf]


def test_every_claim_is_judged_for_every_arm():
    lines = fake_claims.interference()
    rows = table(lines).splitlines()[2:]
    assert len(rows) == 3 * 4
    assert sum('confirmed' in row for row in rows if '| e1 |' in row) == 4
    assert all('-0.1000' in row and 'contradicted' in row for row in rows if '| e2 |' in row)
    assert all('+0.2000' in row for row in rows if '| e3 |' in row)
    assert len(courses(lines).axes) == 3
