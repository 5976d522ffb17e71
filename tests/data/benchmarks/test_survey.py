"""The command: counts beside the published ones, missing sets, and gold labels for scoring."""

import json

import pytest
from benchmark_folders import put, put_corpora, put_questions

from mer_jax import score
from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.benchmarks.__main__ import main


def test_counts_are_given_beside_the_published_ones(tmp_path, capsys):
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus={'x': {'emo': 0}, 'y': {'emo': 1}})
    put(tmp_path, 'meld-process/subvideo/x.mp4', 'EmoSet/test.json')
    main(['--root', str(tmp_path), '--json'])
    sets = json.loads(capsys.readouterr().out)['benchmarks']
    assert set(sets) == set(BENCHMARKS)
    assert sets['meld']['state'] == 'found' and sets['meld']['expected'] == 2610
    assert (sets['meld']['examples'], sets['meld']['films'], sets['meld']['absent']) == (2, 1, 1)
    assert sets['meld']['notes'] == ['2 examples, 2610 are published', '1 without a media file: y']
    assert sets['emoset']['state'] == 'broken'
    assert sets['dfew']['state'] == 'missing' and 'dfew-dataset' in sets['dfew']['get']


def test_missing_sets_are_listed_with_where_to_get_them(tmp_path, capsys):
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus={'x': {'emo': 0}})
    put(tmp_path, 'meld-process/subvideo/x.mp4')
    main(['--root', str(tmp_path), 'ravdess', 'meld'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('meld            1/2610 examples, 1 labelled, 1 films in ')
    assert lines[-3].startswith('ravdess         missing: RAVDESS, speech was expected in RAVDESS')
    assert lines[-2].strip() == 'get it: https://zenodo.org/record/1188976'
    assert lines[-1] == f'1 of 2 sets found below {tmp_path}'


def test_gold_labels_are_written_in_the_form_that_scoring_reads(tmp_path, capsys):
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus={'x': {'emo': 0}})
    put_corpora(tmp_path, 'sims-process/label.npz', test_corpus={'x': {'val': -0.4}})
    put(tmp_path, 'ovmerdplus-process/ovlabel.csv', data='name,openset\nx,"[sad, 哀]"\n')
    keys = ['meld', 'sims', 'ov_merd_plus']
    main(['--root', str(tmp_path), '--gold', str(tmp_path / 'gold'), *keys])
    written = [json.loads((tmp_path / f'gold/{key}.jsonl').read_text('utf-8')) for key in keys]
    assert written == [
        {'name': 'x', 'emo': 'anger'},
        {'name': 'x', 'val': -0.4},
        {'name': 'x', 'openset': ['sad', '哀']},
    ]


@pytest.mark.parametrize('arguments', [['--root', 'nowhere'], ['--root', '.', 'mnist']])
def test_a_missing_root_and_an_unknown_set_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ('key', 'answers'),
    [
        ('mme_ml_er', {'ML-ER/v/a.mp4': 'sad, fear', 'ML-ER/v/b.mp4': 'happy'}),
        ('mme_sa', {'SA/v/a.mp4': 'negative', 'SA/v/b.mp4': 'positive'}),
    ],
)
def test_right_answers_score_one_against_the_written_gold(tmp_path, capsys, key, answers):
    task = BENCHMARKS[key].layout.task
    questions = [(name.removeprefix(f'{task}/'), answer) for name, answer in answers.items()]
    put_questions(tmp_path / 'MME-Emotion', task, *questions)
    main(['--root', str(tmp_path), '--gold', str(tmp_path), key])
    lines = [json.dumps({'name': name, 'answer': answer}) for name, answer in answers.items()]
    put(tmp_path, 'predictions.jsonl', data='\n'.join(lines))
    capsys.readouterr()
    flags = ['--task', BENCHMARKS[key].task, '--labels', str(tmp_path / f'{key}.jsonl'), '--json']
    score.main([*flags, '--predictions', str(tmp_path / 'predictions.jsonl')])
    scored = json.loads(capsys.readouterr().out)
    assert (scored['n'], scored['kept'], scored['skipped']) == (2, 2, 0)
    figures = [scored[name] for name in scored['ci']]
    assert figures and all(figure == 1 for figure in figures)
