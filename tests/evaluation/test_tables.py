"""Rows of the table of an evaluation."""

from mer_jax.evaluation.tables import cells, figures_of


def test_a_sentiment_set_is_told_by_its_weighted_f1_in_per_cent():
    part = {'kept': 9, 'waf': 0.7, 'accuracy': 0.6, 'ci': {'waf': (0.6, 0.8), 'accuracy': (0, 1)}}
    scored = {'task': 'sentiment', 'fast': part, 'slow': part, 'difference': part}
    assert figures_of(scored) == ['waf']
    assert cells(scored, 'waf') == ['9', *['70.00 [60.00, 80.00]'] * 3]
