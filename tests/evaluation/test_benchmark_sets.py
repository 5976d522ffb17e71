"""Sets of clips to answer: those that can be read, and why others cannot."""

import pytest

from mer_jax.data.clips import Clip
from mer_jax.evaluation import benchmark_sets
from mer_jax.evaluation.defaults import mer_unibench

CLIPS = [Clip(name, subtitle='Fine.') for name in 'abcde']
GOLD = {'a': ['sad'], 'b': ['happy']}


def test_the_first_clips_of_a_set_keep_their_gold():
    test = benchmark_sets.first_clips(benchmark_sets.TestSet('key', '', 'open', CLIPS, GOLD, ''), 1)
    assert test.clips == CLIPS[:1] and test.gold == {'a': ['sad']}


def test_a_damaged_set_is_named_and_the_others_are_evaluated(tmp_path):
    folder = tmp_path / 'ovmerdplus-process'
    folder.mkdir()
    (folder / 'ovlabel.csv').write_text('name,openset', encoding='utf-16')
    asked = mer_unibench()
    asked.data.root = str(tmp_path)
    with pytest.raises(ValueError, match='ov_merd_plus is damaged: .*ovlabel.csv.*not UTF-8'):
        benchmark_sets.find_sets(asked)
    (tmp_path / 'manifest.jsonl').write_text('{"id": "a", "subtitle": "Fine.", "words": ["sad"]}\n')
    found, others = benchmark_sets.find_sets(asked)
    assert [test.key for test in found] == ['manifest']
    assert others[0].startswith('ov_merd_plus is damaged') and len(others) == 9


def test_a_manifest_is_scored_by_its_first_words_if_answers_are_one_word_of_a_closed_set(tmp_path):
    line = '{"id": "a", "words": ["Awe ", "joy"], "image": "a.png"}'
    (tmp_path / 'manifest.jsonl').write_text(line)
    asked = mer_unibench()
    asked.data.root = str(tmp_path)
    (closed,), (opened,) = (benchmark_sets.find_sets(asked, closed)[0] for closed in (True, False))
    assert (closed.task, closed.gold) == ('accuracy', {'a': 'awe'})
    assert (opened.task, opened.gold['a']) == ('open', ['awe', 'joy'])
