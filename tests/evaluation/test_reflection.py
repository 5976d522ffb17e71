"""The reflection about given texts on a small run; its calibration and ranking by hand."""

import numpy as np
import pytest
import small

from mer_jax.evaluation.reflection import binned, outranks, reflect
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.emo_r3_defaults import emo_r3
from mer_jax.run.setting import open_checkpoint


def test_probabilities_go_into_bins_of_equal_width_and_empty_ones_are_left_out():
    found = binned([0.05, 0.15, 0.15, 0.95, 1.0], [0, 1, 0, 1, 1])
    assert found['count'].tolist() == [1, 2, 2]
    np.testing.assert_allclose(found['sure'], [0.05, 0.15, 0.975])
    np.testing.assert_allclose(found['right'], [0, 0.5, 1])


@pytest.mark.parametrize(
    ('true', 'false', 'area'), [([2, 3], [1], 1), ([1], [1], 0.5), ([1, 4], [2, 3], 0.5)]
)
def test_the_share_of_pairs_in_the_right_order_by_hand(true, false, area):
    assert outranks(true, false) == area


@pytest.mark.slow
def test_a_text_is_judged_by_itself_and_one_without_steps_is_not_asked_about(tmp_path):
    small.write_run(small.shrink(emo_r3()), tmp_path / 'run')
    setting, policy = open_checkpoint(str(tmp_path / 'run'))
    test = choose_clips(setting.config).test
    clips = [test[i] for i in range(3)]
    texts = [[clip.reasoning, 'joy'] for clip in clips]
    seen = reflect(setting, policy, clips, texts, size=2)
    assert seen.label.shape == (3, 2, 8) and seen.asked.tolist() == [[True, False]] * 3
    np.testing.assert_allclose(seen.label.sum(-1), 1, rtol=1e-5)
    assert np.ptp(seen.yes[:, 0]) > 0
    alone = reflect(setting, policy, clips[2:], [row[::-1] for row in texts[2:]], size=2)
    np.testing.assert_allclose(alone.yes[:, 1], seen.yes[2:, 0], atol=1e-5)
    np.testing.assert_allclose(alone.label[:, 1], seen.label[2:, 0], atol=1e-5)


def test_a_method_without_scored_reflection_is_refused(config):
    class Sampled:
        config = emo_r3()

    Sampled.config.learn.reflection.by = 'sample'
    with pytest.raises(ValueError, match='must be emo_r3 with learn.reflection.by=score'):
        reflect(Sampled(), None, [], [])
