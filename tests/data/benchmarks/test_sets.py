"""The table of benchmarks, and the gaps that reading a folder reports."""

import pytest
from benchmark_folders import put, put_corpora

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.benchmarks.layouts import Corpus, OpenWords, Questions
from mer_jax.evaluation import scoring


def test_every_set_has_a_unique_key_a_task_of_scoring_a_folder_and_a_source():
    titles = [benchmark.title for benchmark in BENCHMARKS.values()]
    assert len(set(titles)) == len(titles) == 25
    for key, benchmark in BENCHMARKS.items():
        assert key == benchmark.key and key.isidentifier()
        assert benchmark.task in ('open', 'basic', 'sentiment', 'multilabel', 'accuracy')
        assert benchmark.folders and benchmark.get and benchmark.metric
        assert all(label == label.lower().strip() for label in benchmark.labels)


def test_the_nine_sets_of_mer_unibench_have_12799_examples_together():
    nine = 'mer2023 mer2024 meld iemocap_four cmu_mosi cmu_mosei sims sims_v2 ov_merd_plus'.split()
    assert sum(BENCHMARKS[key].count for key in nine) == 12_799


def test_a_missing_folder_or_label_file_is_named_with_the_expected_place(tmp_path):
    with pytest.raises(FileNotFoundError, match='MELD was expected in meld-process or meld; get'):
        BENCHMARKS['meld'].read(tmp_path)
    (tmp_path / 'meld-process').mkdir()
    with pytest.raises(FileNotFoundError, match=r'meld-process: expected label\.npz in it'):
        BENCHMARKS['meld'].read(tmp_path)
    (tmp_path / 'Emotion6').mkdir()
    with pytest.raises(FileNotFoundError, match='expected test/anger or images/test/anger'):
        BENCHMARKS['emotion6'].read(tmp_path)


def test_the_first_of_repeated_names_counts_and_unlisted_labels_are_reported(tmp_path):
    rows = '1.mp4 anger\n1.mp4 fear\n2.mp4 boredom\n'
    put(tmp_path, 'MAFW/single/no_caption/set_1/test.txt', data=rows)
    put(tmp_path, 'MAFW/clips/1.mp4')
    found = BENCHMARKS['mafw'].read(tmp_path)
    assert found.gold == {'1': {'emo': 'anger'}, '2': {'emo': 'boredom'}}
    assert found.repeated == ['1'] and found.unlisted == ['boredom']


def test_both_spellings_of_a_published_label_are_listed(tmp_path):
    corpus = {'a': {'emo': 'surprise'}, 'b': {'emo': 'surprised'}, 'c': {'emo': 'bored'}}
    for key in ('mer2023', 'mer2024'):
        put_corpora(tmp_path, f'{key}/label-6way.npz', test1_corpus=corpus)
        assert BENCHMARKS[key].read(tmp_path).unlisted == ['bored']


def test_a_label_that_says_none_is_no_gold(tmp_path):
    words = {'a': {'emo': 'happy'}, 'b': {'emo': 'nan'}, 'c': {'emo': 'None'}}
    put_corpora(tmp_path, 'mer2023/label-6way.npz', test1_corpus=words)
    found = BENCHMARKS['mer2023'].read(tmp_path)
    assert found.gold == {'a': {'emo': 'happy'}} and not found.unlisted
    values = {'a': {'val': -1.5}, 'b': {'val': -10}, 'c': {'val': -10.0}}
    put_corpora(tmp_path, 'cmu_mosi/label.npz', test_corpus=values)
    assert BENCHMARKS['cmu_mosi'].read(tmp_path).gold == {'a': {'val': -1.5}}


@pytest.mark.parametrize('key', BENCHMARKS)
def test_the_gold_of_every_set_has_the_form_that_its_task_of_scoring_reads(key):
    match BENCHMARKS[key].layout:
        case Corpus(field=form):
            pass
        case OpenWords() | Questions(several=True):
            form = 'openset'
        case _:
            form = 'emo'
    assert form in scoring.LABELS[BENCHMARKS[key].task]
