"""Fusion of predictions by hand, and its interval against the best single file."""

import json

import pytest

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.evaluation.fusion import Said, fuse, main, read_answers

TREE = 'level1,level2,level3\njoyful,happy,glad\njoyful,proud,\nsad,lonely,\nsad,ashamed,guilty\n'


@pytest.fixture
def wheels(tmp_path):
    path = tmp_path / 'small.csv'
    path.write_text(TREE)
    return load_wheels((str(path),))


def said(*answers, confidence=()):
    """One item answered by several files."""
    tables = [{'small': table} if table else {} for table in confidence] or [{}] * len(answers)
    return [{'x': Said(list(words), table)} for words, table in zip(answers, tables, strict=True)]


def fused(wheels, files, way, share=0.5, most=0):
    return fuse(files, way, share, most, wheels)['x']


def test_a_vote_keeps_words_that_half_of_the_files_name(wheels):
    files = said(['glad', 'guilty'], ['glad'], ['lonely', 'glad'], [])
    assert fused(wheels, files, 'vote') == {'glad': 1.0}
    assert list(fused(wheels, files, 'vote', share=0.3)) == ['glad', 'guilty', 'lonely']


def test_without_a_majority_the_most_supported_words_are_kept(wheels):
    files = said(['glad'], ['lonely'], ['guilty'])
    assert list(fused(wheels, files, 'vote')) == ['glad', 'lonely', 'guilty']
    assert list(fused(wheels, files, 'vote', most=1)) == ['glad']


def test_words_of_one_category_support_each_other(wheels):
    files = said(['glad'], ['proud'], ['lonely'], ['zwolp'])
    assert fused(wheels, files, 'wheel') == {'glad': 0.5, 'proud': 0.5}


def test_confidence_weighs_votes(wheels):
    sure, unsure = {'joyful': 0.9, 'sad': 0.1}, {'joyful': 0.2, 'sad': 0.3}
    files = said(['glad'], ['lonely'], ['lonely'], confidence=[sure, unsure, unsure])
    support = fused(wheels, files, 'confidence')
    assert support == {'glad': pytest.approx(0.9 / 1.5)}
    equal = said(['glad'], ['lonely'], ['lonely'], confidence=[{}, {}, {}])
    assert fused(wheels, equal, 'confidence') == fused(wheels, equal, 'vote')


def test_confidence_of_words_themselves_counts(wheels):
    files = [
        {'x': Said(['glad'], {'coherence': {'glad': 0.8}})},
        {'x': Said(['awe'], {'coherence': {'awe': 0.2}})},
    ]
    assert list(fused(wheels, files, 'confidence')) == ['glad']


@pytest.fixture
def files(tmp_path):
    """Gold labels of 40 items, and three files right on 32 of them each."""
    names = [f'c{i}' for i in range(40)]
    (tmp_path / 'gold.csv').write_text('name,openset\n' + ''.join(f'{n},[happy]\n' for n in names))
    paths = []
    for k in range(3):
        path = tmp_path / f'p{k}.jsonl'
        words = ['sad' if i % 15 // 3 == k else 'happy' for i in range(40)]
        rows = [{'name': n, 'answer': w} for n, w in zip(names, words, strict=True)]
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        paths.append(str(path))
    return tmp_path, paths


def test_the_fusion_is_compared_with_the_best_file(files, capsys):
    folder, paths = files
    flags = ['--labels', str(folder / 'gold.csv'), '--out', str(folder / 'fused.csv')]
    main([*paths, *flags, '--json'])
    found = json.loads(capsys.readouterr().out)
    best = max(score['F'] for score in found['files'].values())
    assert found['fused']['F'] == 1.0 and found['files'][found['best']]['F'] == best < 1
    low, high = found['difference']['ci']['F']
    assert 0 < low < found['difference']['F'] < high and found['difference']['n'] == 40
    assert read_answers(folder / 'fused.csv')['c0'].words == ['happy']
    main([*paths, *flags])
    assert (
        'paired over 40 items; the best file was chosen on these labels' in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['a.jsonl', '--out', 'x.csv'], 'needs at least two'),
        (['a.jsonl', 'b.jsonl'], 'name --out FILE'),
        (['a.jsonl', 'b.jsonl', '--out', 'x.csv', '--share', '0'], '--share=0.0: must be above 0'),
    ],
)
def test_flags_that_cannot_be_used_are_named(flags, said, capsys):
    with pytest.raises(SystemExit):
        main(flags)
    assert said in capsys.readouterr().err
