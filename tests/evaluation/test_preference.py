"""Preferences between two descriptions by log-probability, resumed and scored."""

import json

import numpy as np
import pytest
from benchmark_folders import put

from mer_jax.data.clips import Clip
from mer_jax.data.media.container import MediaError
from mer_jax.evaluation.preference import (
    mean_logp,
    prefer,
    prefer_all,
    read_pairs,
    scored,
)
from mer_jax.run.setting import open_checkpoint

TABLE = """name,a1,a2,preference
v1,He smiles.,He cries.,a1
v2,She sits.,She runs at once.,a2
v1,He waits.,He goes.,same
"""


@pytest.fixture
def pairs(tmp_path):
    put(tmp_path, 'video/v1.mp4', 'video/v2.mp4', 'audio/v1.wav')
    (tmp_path / 'pairs.csv').write_text(TABLE)
    return list(read_pairs(tmp_path / 'pairs.csv', tmp_path))


def by_length(clip, texts):
    """The longer text is likelier with its film, the shorter one without."""
    sign = 1 if clip.video else -1
    return [sign * len(text) / 10 for text in texts]


def test_pairs_find_film_and_sound_by_name(pairs, tmp_path):
    assert [pair.preferred for pair in pairs] == ['a1', 'a2', 'same']
    assert pairs[0].clip.video.endswith('video/v1.mp4')
    assert pairs[0].clip.audio.endswith('audio/v1.wav') and pairs[1].clip.audio is None


@pytest.mark.parametrize(
    ('row', 'said'),
    [('v1,He smiles.,,a1', ':2: a2 is missing'), ('v9,He,She,a1', ':2: name=.v9.: no film')],
)
def test_a_row_that_is_no_pair_is_named(tmp_path, row, said):
    put(tmp_path, 'v1.mp4')
    (tmp_path / 'pairs.csv').write_text(f'name,a1,a2,preference\n{row}\n')
    with pytest.raises(ValueError, match=said):
        list(read_pairs(tmp_path / 'pairs.csv', tmp_path))


def test_the_higher_score_is_preferred_less_the_prior_if_asked(pairs):
    row = prefer(pairs[1], by_length, minus_prior=False)
    assert row['preference'] == row['gold'] == 'a2' and row['scores'] == [0.9, 1.7]
    assert prefer(pairs[1], by_length, minus_prior=True)['scores'] == [1.8, 3.4]


def test_a_second_start_asks_only_for_the_rest(pairs, tmp_path):
    out, asked = tmp_path / 'out.jsonl', []

    def counting(clip, texts):
        asked.append(clip.id)
        if clip.id == 'v2':
            raise MediaError('v2.mp4: is empty')
        return by_length(clip, texts)

    first = prefer_all(pairs, counting, out, False)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(lines[0] + lines[1][:9])  # as a kill leaves it
    assert prefer_all(pairs, counting, out, False) == first
    assert asked == ['v1', 'v2', 'v1', 'v2', 'v1']
    rows = list(map(json.loads, out.read_text().splitlines()))
    assert rows == first and rows[1]['error'] == 'v2.mp4: is empty'
    with pytest.raises(ValueError, match='it is of other pairs'):
        prefer_all(pairs[1:], counting, out, False)


def test_pairs_without_a_preference_do_not_count():
    rows = [
        {'gold': 'a1', 'preference': 'a1'},
        {'gold': 'a2', 'preference': 'a1'},
        {'gold': 'a2', 'preference': 'a2'},
        {'gold': 'same', 'preference': 'a2'},
        {'preference': 'a1'},
    ]
    found = scored(rows)
    # F1 of a1 and of a2 is 2/3 each.
    assert found['n'] == 3 and found['accuracy'] == pytest.approx(2 / 3) == found['waf']
    assert scored(rows[3:]) == {}


@pytest.mark.slow  # compiles a prompt and its branches
def test_scores_are_mean_log_probabilities_of_the_whole_text(omni_folder):
    setting, policy = open_checkpoint(str(omni_folder))
    clip = Clip(id='x', subtitle='I am fine.', question='How does he feel?')
    texts = ('sad and alone', 'happy')
    both = mean_logp(setting, policy, clip, texts)
    np.testing.assert_allclose(
        both, [mean_logp(setting, policy, clip, [t])[0] for t in texts], 1e-4
    )
    assert all(score < 0 for score in both) and both[0] != both[1]
    other = Clip(id='x', subtitle='Go away.', question='How does he feel?')
    assert mean_logp(setting, policy, other, texts) != both
