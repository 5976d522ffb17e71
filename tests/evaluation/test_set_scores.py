"""Scores of a set: fast and slow answers apart, and compared."""

import types

from workbook import workbook

from mer_jax.data.clips import Clip
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.evaluation import benchmark_sets
from mer_jax.evaluation.defaults import mer_unibench
from mer_jax.evaluation.set_scores import score_set
from mer_jax.methods.mer_r1_answers import SCORES

CLIPS = [Clip(name, subtitle='Fine.') for name in 'abcde']
GOLD = {'a': ['sad'], 'b': ['happy']}


def line(name, mode, *words):
    """As much of a line of the predictions file as scoring reads; f is the number of words."""
    return {
        'id': name,
        'mode': mode,
        'words': list(words),
        'scores': dict.fromkeys(SCORES, 0.5) | {'f': len(words)},
    }


def scored(lines, wheels, clips=CLIPS[:2]):
    """The scores of two clips, one sad and one happy."""
    c = mer_unibench()
    c.wheels = wheels
    test = benchmark_sets.TestSet('manifest', 'two clips', 'open', clips, GOLD, '')
    method = types.SimpleNamespace(scored=SCORES, labels=())
    setting = types.SimpleNamespace(wheels=load_wheels(('ekman',)), method=method)
    return score_set(c, setting, test, lines)


def test_fast_and_slow_answers_are_scored_apart_and_compared():
    lines = [line('a', 'fast', 'sad', 'glad'), line('a', 'slow', 'happy')]
    lines += [line('b', 'fast', 'happy'), line('b', 'slow', 'happy')]
    found = scored(lines, ('ekman',))
    assert [found[key]['R'] for key in ('fast', 'slow', 'difference')] == [1, 0.5, -0.5]
    means = found['mean_over_clips']
    assert (means['fast']['f'], means['slow']['f'], means['clips']) == (1.5, 1, 2)


def test_words_are_read_as_published_where_the_wheels_are(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folder = tmp_path / 'emotion_wheel'
    folder.mkdir()
    (folder / 'format.csv').write_text('name,format\nsad,sad\nhappy,happy\n')
    synonyms = [['word_run1', 'synonym_run1'], ['sad', 'sad'], ['happy', 'happy']]
    levels = [['level1', 'level2', 'level3'], ['bad', 'down', 'sad'], ['good', 'up', 'happy']]
    (folder / 'synonym.xlsx').write_bytes(workbook(synonyms))
    (folder / 'wheel1.xlsx').write_bytes(workbook(levels))
    lines = [line(name, mode, '"sad"') for name in 'ab' for mode in ('fast', 'slow')]
    assert scored(lines, ('ekman',))['fast']['R'] == 0.5  # quotes are no part of a word
    assert scored(lines, (str(folder),))['fast']['unmapped'] == 2
