"""The variance of answers: numbers by hand, and samples of a small policy."""

import itertools

import numpy as np
import pytest
import small

from mer_jax.evaluation.variance import (
    Samples,
    agreement,
    best_of,
    decompose,
    reliability,
    sample,
)
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.setting import open_checkpoint


def one_mode(score_ng):
    """Scores f[n, g] as those of one mode and one figure."""
    return np.asarray(score_ng, float)[:, None, :, None]


def test_variance_within_and_between_clips_by_hand():
    found = decompose(one_mode([[0.0, 1.0], [1.0, 1.0]]))
    assert found.mean.item() == 0.75
    assert found.within.item() == 0.25  # (0.5 + 0) / 2
    assert found.between.item() == 0.125 - 0.125  # variance of 0.5 and 1, less 0.25 / 2
    assert found.total.item() == 0.25


def test_the_variance_between_clips_is_unbiased():
    random = np.random.default_rng(0)
    clip_n = random.normal(0, 0.3, (20_000, 1))
    found = decompose(one_mode(clip_n + random.normal(0, 0.5, (20_000, 3))))
    np.testing.assert_allclose(found.between.item(), 0.09, atol=0.01)
    np.testing.assert_allclose(found.within.item(), 0.25, atol=0.01)


@pytest.mark.parametrize('shape', [(1, 2, 4, 3), (4, 2, 1, 3)])
def test_one_clip_or_one_sample_has_no_variance(shape):
    with pytest.raises(ValueError, match='need two of both'):
        decompose(np.zeros(shape))


@pytest.mark.parametrize('k', [1, 2, 3, 5])
def test_the_best_of_k_is_the_mean_over_all_choices_of_k(k):
    score_nmgx = np.random.default_rng(1).random((3, 2, 5, 2))
    chosen = [list(picked) for picked in itertools.combinations(range(5), k)]
    wanted = np.mean([score_nmgx[:, :, picked].max(2) for picked in chosen], 0).mean(0)
    np.testing.assert_allclose(best_of(score_nmgx, k), wanted, rtol=1e-12)


@pytest.mark.parametrize('k', [0, 6])
def test_a_k_outside_the_number_of_samples_is_refused(k):
    with pytest.raises(ValueError, match='from 1 to the 5 samples'):
        best_of(np.zeros((1, 2, 5, 3)), k)


def test_agreement_is_the_share_of_categories_that_both_answers_name():
    named_gwc = np.zeros((3, 1, 4), bool)
    named_gwc[0, 0, [0, 1]] = named_gwc[1, 0, [1, 2]] = True  # 1/3; the third names nothing
    named_nmgwc = np.stack([named_gwc, np.zeros_like(named_gwc)])[None]
    np.testing.assert_allclose(agreement(named_nmgwc), [[1 / 9, 1.0]])


def test_confidence_is_compared_with_gold():
    confidence = np.array([[0.05, 0.95, np.nan], [0.15, 0.85, 0.9]])  # the second wheel has no gold
    gold = np.array([[False, True, True], [False, False, False]])
    samples = Samples(
        gold_nwc=gold[None],
        named_nmgwc=None,
        confidence_nmgwc=np.stack([confidence, confidence / 2])[None, :, None],
        score_nmgx=None,
        tokens_nmg=None,
        text_nmg=None,
    )
    found = reliability(samples, bins=2)
    np.testing.assert_array_equal(found['count'], [[1, 1], [2, 0]])
    np.testing.assert_allclose(found['sure'], [[0.05, 0.95], [0.25, np.nan]])
    np.testing.assert_allclose(found['right'], [[0, 1], [0.5, np.nan]])


@pytest.mark.slow
def test_samples_of_a_clip_do_not_depend_on_its_batch(module_config, tmp_path):
    small.write_run(small.shrink(module_config), tmp_path / 'run')
    setting, policy = open_checkpoint(str(tmp_path / 'run'))
    held_out = choose_clips(setting.config).test
    clips = [held_out[i] for i in range(3)]
    alone, together = (sample(setting, policy, clips, 4, batch=batch) for batch in (1, 4))
    assert (alone.text_nmg == together.text_nmg).all()
    assert alone.score_nmgx.shape == (3, 2, 4, 3)
    assert len(set(alone.text_nmg[0, 1])) > 1
    assert not np.array_equal(alone.text_nmg[0], alone.text_nmg[1])
    np.testing.assert_array_equal(alone.named_nmgwc, together.named_nmgwc)
    exists = (setting.wheels.first_tokens(setting.encode) >= 0).any(-1)
    assert np.isnan(alone.confidence_nmgwc[..., ~exists]).all()


def test_a_single_sample_is_refused():
    with pytest.raises(ValueError, match='size=1'):
        sample(None, None, [None], 1)
