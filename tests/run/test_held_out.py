"""Evaluation on held-out clips: means with their standard errors."""

import pytest

from mer_jax.evaluation.answers import MODES
from mer_jax.methods.mer_r1_answers import SCORES
from mer_jax.run.held_out import summary


def test_scores_are_means_over_clips_with_their_standard_errors():
    # clips x (fast, slow) x (recall, precision, f, form, tokens)
    fast = [[1, 0.5, 0.6, 1, 5], [0, 0, 0, 1, 7], [0.5, 1, 0.6, 0, 9]]
    slow = [[1, 1, 1, 1, 20], [1, 1, 1, 1, 20], [1, 1, 1, 1, 20]]
    rows = [
        {mode: dict(zip(SCORES, one, strict=True)) for mode, one in zip(MODES, both, strict=True)}
        for both in zip(fast, slow, strict=True)
    ]
    figures = summary(rows, SCORES)
    assert figures['clips'] == 3
    assert figures['fast']['recall'] == pytest.approx(0.5)
    # sample standard deviation 0.5, over sqrt(3)
    assert figures['fast']['recall_se'] == pytest.approx(0.5 / 3**0.5)
    assert figures['fast']['f'] == pytest.approx(0.4)
    assert figures['fast']['form'] == pytest.approx(2 / 3)
    assert figures['fast']['tokens'] == pytest.approx(7)
    assert figures['slow']['f'] == 1 and figures['slow']['f_se'] == 0
    assert set(figures['slow']) == {
        'recall', 'recall_se', 'precision', 'precision_se', 'f', 'f_se', 'form', 'tokens'
    }  # fmt: skip
