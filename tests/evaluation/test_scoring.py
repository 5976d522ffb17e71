"""Scores of files equal those of the published evaluation and report the items behind them."""

import itertools
import json
import os
import pathlib

import numpy as np
import pytest

from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.evaluation.label_files import Column, published_words, read_column
from mer_jax.evaluation.scoring import LABELS, Task, compare, score
from mer_jax.score import main, read_flags, run

FIELD = pathlib.Path(
    os.environ.get('MER_JAX_FIELD_DATA', pathlib.Path(__file__).parents[3] / 'shared' / 'data')
)
field = pytest.mark.skipif(
    not (FIELD / 'reference_metrics.json').is_file(),
    reason=f'no published data at {FIELD} (MER_JAX_FIELD_DATA)',
)
TREE = """level1,level2,level3
joyful,happy,glad
joyful,proud,
sad,lonely,left out
sad,ashamed,guilty
"""


@pytest.fixture
def wheel(tmp_path):
    """The path of one wheel of two categories."""
    path = tmp_path / 'small.csv'
    path.write_text(TREE)
    return str(path)


@pytest.fixture
def saved(tmp_path):
    """Writes the rows of a column to a JSONL file of that name."""

    def save(name, key, cells):
        path = tmp_path / name
        lines = [json.dumps({'name': item, key: cell}) for item, cell in cells.items()]
        path.write_text('\n'.join(lines))
        return str(path)

    return save


def scored(capsys, *flags):
    """The JSON object that the command prints."""
    main([*flags, '--json'])
    return json.loads(capsys.readouterr().out)


def refusal(*flags):
    """The message with which the command ends."""
    with pytest.raises(SystemExit) as refused:
        main(list(flags))
    return str(refused.value)


@pytest.fixture(scope='module')
def published():
    """The task of the published wheels."""
    return Task('open', load_wheels((str(FIELD / 'emotion_wheel'),)), read=published_words)


@field
@pytest.mark.parametrize('model', ['Chat-UniVi', 'Qwen-Audio', 'Otter'])
def test_published_predictions_score_as_in_the_published_code(capsys, model):
    reference = json.loads((FIELD / 'reference_metrics.json').read_text())['ovmerd332'][model]
    folder = FIELD / 'ovmerd332'
    files = ['--labels', f'{folder / "labels.csv"}', '--predictions', f'{folder / model}.jsonl']
    for level in (1, 2):
        wheels = ['--wheels', f'{FIELD / "emotion_wheel"}', '--level', f'{level}']
        result = scored(capsys, '--task', 'open', *files, *wheels)
        for letter in 'FPR':
            assert abs(result[letter] - reference[f'level{level}'][letter]) < 1e-12
        for name in ('M1', 'M2', 'M_avg'):
            assert abs(result[name] - reference[name]) < 1e-12
        kept = [levels[f'level{level}']['kept'] for levels in result['wheels'].values()]
        assert list(result['wheels']) == [f'wheel{k}' for k in range(1, 6)]
        assert kept == reference[f'level{level}']['kept']


@field
def test_annotations_score_as_in_the_published_code(published):
    reference = json.loads((FIELD / 'reference_metrics.json').read_text())['mer2025_400']
    path = FIELD / 'mer2025_400.jsonl'
    result = score(
        published, read_column(path, ('openset',)), read_column(path, ('reasoning_emotions',))
    )
    for letter in 'FPR':
        assert abs(result[letter] - reference['level1'][letter]) < 1e-12
    for name in ('M1', 'M2'):
        assert abs(result[name] - reference[name]['F']) < 1e-12
    assert result['kept'] == reference['M1']['kept'] and result['skipped'] == 400 - 398
    for level in (1, 2):
        kept = [levels[f'level{level}']['kept'] for levels in result['wheels'].values()]
        assert kept == reference[f'level{level}']['kept']


@field
def test_published_lists_are_cut_as_in_the_published_code():
    for case in json.loads((FIELD / 'reference_metrics.json').read_text())['string_to_list']:
        cut = [word.lower().strip() for word in case.get('out', [])]
        assert published_words(case['in']) == cut, case


def test_an_open_score_by_hand(capsys, saved, wheel):
    labels = saved('a.jsonl', 'openset', {'a': ['glad'], 'b': '[sad, happy]', 'c': 'odd', 'd': ''})
    said = saved('b.jsonl', 'answer', {'d': 'sad', 'b': 'guilty', 'a': ['happy', 'SAD'], 'e': ''})
    flags = ['--task', 'open', '--wheels', wheel, '--labels', labels, '--predictions', said]
    result = scored(capsys, *flags)
    f = 2 * 0.75 * 0.75 / 1.5  # P of a is 1/2, of b 1; R of a 1, of b 1/2
    assert (result['F'], result['P'], result['R']) == (f, 0.75, 0.75)
    about = ('n', 'kept', 'skipped', 'missing', 'unlabelled', 'extra', 'unmapped')
    assert [result[name] for name in about] == [4, 2, 2, 1, 1, 1, 0]
    assert list(result['wheels']) == ['small'] and set(result['wheels']['small']) == {
        'level1',
        'level2',
    }
    assert result['wheels']['small']['level1'] == {'F': f, 'P': 0.75, 'R': 0.75, 'kept': 2}
    narrow = result['wheels']['small']['level2']
    assert (narrow['P'], narrow['R']) == (0.25, 0.5)  # happy; guilty is not lonely
    assert scored(capsys, *flags, '--level', '2')['P'] == 0.25
    letters = {f'small.level{level}.{letter}' for level in (1, 2) for letter in 'FPR'}
    assert set(result['ci']) == {'F', 'P', 'R', 'M1', 'M2', 'M_avg'} | letters
    assert all(0 <= low <= high <= 1 for low, high in result['ci'].values())


def test_a_basic_score_by_hand(capsys, saved, wheel):
    labels = saved('a.jsonl', 'emo', {'a': 'glad', 'b': 'Sad', 'c': 'neutral'})
    said = saved('b.jsonl', 'answer', {'a': '[happy, lonely]', 'b': '[sad]', 'c': 'happy'})
    flags = ('--task', 'basic', '--wheels', wheel, '--labels', labels, '--predictions', said)
    result = scored(capsys, *flags)
    f1 = 2 * 1 * 0.75 / 1.75
    assert (result['hit'], result['m_score'], result['f1']) == (1, 0.75, f1)
    assert (result['n'], result['kept'], result['skipped']) == (3, 2, 1)
    assert set(result['ci']) == {'hit', 'm_score', 'f1'}


def test_labels_that_are_numbers_need_names(capsys, tmp_path, saved, wheel):
    corpus = {'a': {'emo': np.int64(1), 'val': 0}, 'b': {'emo': 0, 'val': 0}}
    np.savez(tmp_path / 'label.npz', test_corpus=corpus)
    said = saved('b.jsonl', 'answer', {'a': 'happy', 'b': 'happy'})
    flags = ['--task', 'basic', '--wheels', wheel, '--labels', str(tmp_path / 'label.npz')]
    flags += ['--predictions', said]
    assert "'emo' of 'a': 1 is a number, and 0 emotions are named" in refusal(*flags)
    assert '1 is a number, and 1 emotions are named' in refusal(*flags, '--emotions', 'sad')
    result = scored(capsys, *flags, '--emotions', 'sad,Glad')
    assert (result['hit'], result['kept']) == (0.5, 2)


def test_unknown_words_have_no_sentiment(capsys, saved):
    labels = saved('gold.jsonl', 'val', {'a': 1, 'b': -1, 'c': 1})
    said = saved('said.jsonl', 'answer', {'a': '[zorp, blib]', 'b': '[sad]', 'c': '[]'})
    found = scored(capsys, '--task', 'sentiment', '--labels', labels, '--predictions', said)
    assert found['unmapped'] == 2 and found['unmapped_words'] == {'zorp, blib': 1}


def test_a_list_of_one_emotion_is_that_emotion(capsys, saved):
    said = saved('said.jsonl', 'answer', {'a': '[happy]', 'b': '[sad]'})
    for task in ('basic', 'accuracy'):
        flags = ('--task', task, '--predictions', said, '--labels')
        one = scored(capsys, *flags, saved('one.jsonl', 'emo', {'a': ['happy'], 'b': 'sad'}))
        assert one['kept'] == 2 and one['skipped'] == 0
        two = saved('two.jsonl', 'emo', {'a': ['happy', 'sad'], 'b': 'sad'})
        assert '2 labels where one is scored' in refusal(*flags, two)


def test_a_number_that_is_too_large_is_named(saved):
    labels = saved('gold.jsonl', 'val', {'a': 10**400})
    said = saved('said.jsonl', 'answer', {'a': 'sad'})
    flags = ('--task', 'sentiment', '--labels', labels, '--predictions', said)
    assert 'is no number' in refusal(*flags)


def test_the_sentiment_is_read_from_words_or_from_a_column_of_its_own(capsys, saved):
    values = {'a': 1.5, 'b': '-0.4', 'c': 0, 'd': float('nan'), 'e': -2, 'f': 3.0}
    values |= {'g': '', 'h': None}
    labels = saved('a.jsonl', 'val', values)
    lists = {'a': '[happy, proud]', 'b': ['sad'], 'c': 'happy', 'd': 'sad', 'e': 'glad', 'f': ''}
    lists |= {'g': 'sad', 'h': 'happy'}
    named = {'a': 'Positive', 'b': '[negative]', 'c': '', 'd': '', 'e': 'positive', 'f': 'mixed'}
    named |= {'g': 'positive', 'h': 'positive'}
    flags = ('--task', 'sentiment', '--labels', labels, '--predictions')
    for key, cells in (('answer', lists), ('sentiment', named)):
        result = scored(capsys, *flags, saved(f'{key}.jsonl', key, cells))
        # Right: a and b; wrong: e and f. F1 is 1/2 for both classes.
        assert (result['waf'], result['accuracy']) == (0.5, 0.5)
        counts = [result[name] for name in ('n', 'kept', 'skipped', 'missing', 'unmapped')]
        assert counts == [8, 4, 4, 0, 1]
        assert set(result['ci']) == {'waf', 'accuracy'}


def test_one_class_and_several_labels_by_hand(capsys, saved):
    labels = saved('a.jsonl', 'emo', {'a': 'awe', 'b': 'Fear', 'c': 'awe', 'd': ''})
    said = saved('b.jsonl', 'answer', {'a': 'Awe', 'b': 'awe', 'c': '[awe, fear]', 'd': 'awe'})
    files = ('--labels', labels, '--predictions', said)
    one = scored(capsys, '--task', 'accuracy', *files)
    assert (one['accuracy'], one['uar'], one['kept']) == (1 / 3, 0.25, 3)
    several = scored(capsys, '--task', 'multilabel', *files)
    assert several['recall'] == 2 / 3 and several['precision'] == 0.5 and several['kept'] == 3
    two = saved('c.jsonl', 'emo', {'a': '[awe, fear]'})
    assert 'where one is scored: score it as multilabel' in refusal(
        '--task', 'accuracy', '--labels', two, '--predictions', said
    )


def test_every_figure_has_an_interval_around_it(capsys, saved):
    said = saved('b.jsonl', 'answer', {f'{k}': ['happy', 'sad', 'odd'][k % 3] for k in range(60)})
    cells = {
        'openset': {f'{k}': ['sad', 'happy'][k % 2] for k in range(60)},
        'val': {f'{k}': [-1, 1][k % 2] for k in range(60)},
    }
    cells['emo'] = cells['openset']
    for task, (key, *_) in LABELS.items():
        labels = saved('a.jsonl', key, cells[key])
        result = scored(capsys, '--task', task, '--labels', labels, '--predictions', said)
        for name, (low, high) in result['ci'].items():
            value = result['wheels'] if '.' in name else result[name]
            for step in name.split('.') if '.' in name else ():
                value = value[step]
            assert low <= value <= high, (task, name)
        numbers = {name for name, value in result.items() if isinstance(value, float)}
        assert numbers == {name for name in result['ci'] if '.' not in name}


def test_two_files_are_compared_over_the_items_that_both_answer(capsys, saved, wheel):
    labels = saved('a.jsonl', 'openset', {f'{k}': ['happy', 'sad'][k % 2] for k in range(40)})
    first = saved('b.jsonl', 'answer', {f'{k}': 'sad' for k in range(38)})
    second = saved('c.jsonl', 'answer', {f'{k}': ['happy', 'sad'][k % 2] for k in range(2, 40)})
    flags = ['--task', 'open', '--wheels', wheel, '--labels', labels, '--predictions']
    result = scored(capsys, *flags, first, second)
    assert (result['first']['P'], result['second']['P']) == (0.5, 1)
    assert result['first']['missing'] == result['second']['missing'] == 2
    difference = result['difference']
    assert (difference['n'], difference['P']) == (36, 0.5)
    low, high = difference['ci']['P']
    assert 0.2 < low < 0.5 < high < 0.8
    same = scored(capsys, *flags, second, second)['difference']
    assert same['F'] == 0 and set(map(tuple, same['ci'].values())) == {(0, 0)}
    apart = saved('d.jsonl', 'answer', {'39': 'sad'})
    assert 'there is nothing to compare' in refusal(*flags, first, apart)
    with pytest.raises(SystemExit):
        read_flags([*flags, first, second, second])
    main([*flags, first, second])
    shown = capsys.readouterr().out
    assert 'second - first, over the 36 items that both answer' in shown
    low, high = (f'{100 * end:6.2f}' for end in difference['ci']['P'])
    assert f'  P            50.00   {low} to {high}\n' in shown


def test_a_comparison_without_usable_labels_is_refused(saved):
    labels = saved('a.jsonl', 'val', {'a': 1, 'b': 0, 'c': -1})
    first = saved('b.jsonl', 'sentiment', {'a': 'positive', 'b': 'neutral'})
    second = saved('c.jsonl', 'sentiment', {'b': 'neutral', 'c': 'negative'})
    flags = ('--task', 'sentiment', '--labels', labels, '--predictions', first, second)
    assert 'none of the 1 labels that are answered can be used for sentiment' in refusal(*flags)


def test_columns_in_memory_are_scored_too(wheel):
    gold = Column('memory', 'openset', {'a': ['glad'], 'b': ['sad']}, 0)
    fast = Column('fast', 'answer', {'a': ['happy'], 'b': ['happy']}, 0)
    slow = Column('slow', 'answer', {'a': ['happy'], 'b': ['lonely']}, 0)
    task = Task('open', load_wheels((wheel,)))
    assert score(task, gold, slow)['F'] == 1
    assert compare(task, gold, fast, slow)['difference']['R'] == 0.5


def test_the_order_of_items_and_of_words_does_not_matter(wheel):
    items = {'a': ['glad', 'sad'], 'b': ['sad'], 'c': ['proud']}
    said = {'c': ['sad', 'happy'], 'a': ['happy'], 'b': ['lonely', 'odd']}
    task = Task('open', load_wheels((wheel,)))
    found = []
    for order in itertools.permutations(items):
        gold = Column('gold', 'openset', {name: items[name][::-1] for name in order}, 0)
        answers = Column('said', 'answer', {name: said[name][::-1] for name in order}, 0)
        result = score(task, gold, answers)
        found.append([result[name] for name in ('F', 'P', 'R', 'M1', 'M2', 'M_avg', 'kept')])
    np.testing.assert_allclose(found, found[:1] * len(found), rtol=1e-12)


def test_unusable_files_and_cells_are_named(saved, wheel):
    labels = saved('a.jsonl', 'openset', {'clip1': 'happy', 'clip2': 'odd'})
    flags = ['--task', 'open', '--wheels', wheel, '--labels', labels, '--predictions']
    other = saved('b.jsonl', 'answer', {'film1': 'sad'})
    assert 'no name of ' in refusal(*flags, other) and "'film1'" in refusal(*flags, other)
    unusable = saved('c.jsonl', 'answer', {'clip2': 'sad'})
    assert 'none of the 1 labels that are answered can be used' in refusal(*flags, unusable)
    nested = saved('d.jsonl', 'answer', {'clip1': {'sad': 1}})
    assert "d.jsonl: 'answer' of 'clip1': a dict where words should be" in refusal(*flags, nested)
    values = saved('e.jsonl', 'val', {'clip1': 'good'})
    sentiment = ('--task', 'sentiment', '--labels', values, '--predictions', other)
    assert 'none of' not in refusal(*sentiment)
    said = saved('f.jsonl', 'answer', {'clip1': 'sad'})
    assert "'val' of 'clip1': 'good' is no number" in refusal(*sentiment[:-1], said)
    assert 'openset among its columns (name, val)' in refusal(
        *flags[:4], '--labels', values, *flags[6:], said
    )
    assert '--predictions=none.jsonl: no such file' in refusal(*flags, 'none.jsonl')
    assert "wheel 'nowhere' is not shipped" in refusal(
        '--wheels', 'nowhere', *flags[:2], *flags[4:], said
    )


def test_labels_that_would_run_code_are_refused(tmp_path, saved):
    corpus = {'a': {'emo': FIELD}}  # a path is no plain value
    np.savez(tmp_path / 'a.npz', test_corpus=corpus)
    said = saved('b.jsonl', 'answer', {'a': 'sad'})
    flags = ('--task', 'accuracy', '--labels', str(tmp_path / 'a.npz'), '--predictions', said)
    assert 'a.npz: test_corpus.npy: its pickle cannot be read: it asks for' in refusal(*flags)


def test_shown_words_are_short_and_printable(capsys, saved, wheel):
    labels = saved('a.jsonl', 'openset', {'a': 'happy', 'b': 'sad'})
    said = saved('b.jsonl', 'answer', {'a': 'evil\x1b[2Jword', 'b': '\ud800x' + 'y' * 500})
    flags = ['--task', 'open', '--wheels', wheel, '--labels', labels, '--predictions', said]
    main(flags)
    shown = capsys.readouterr().out
    assert 'open: 2 of 2 labels kept, 0 skipped' in shown and '2 answers name nothing' in shown
    assert all(letter.isprintable() or letter == '\n' for letter in shown)
    assert max(map(len, shown.splitlines())) < 250


def test_a_score_repeats(saved, wheel):
    labels = saved('a.jsonl', 'openset', {f'{k}': ['happy', 'sad'][k % 2] for k in range(40)})
    said = saved('b.jsonl', 'answer', {f'{k}': ['happy', 'sad'][k % 3 % 2] for k in range(40)})
    flags = ['--task', 'open', '--wheels', wheel, '--labels', labels, '--predictions', said]
    assert run(read_flags(flags)) == run(read_flags(flags))


@pytest.mark.parametrize('flag', ['labels', 'predictions'])
def test_a_file_that_does_not_exist_is_named_with_its_flag(tmp_path, flag):
    held = tmp_path / 'held.csv'
    held.write_text('name,label\na,sad\n')
    paths = {'labels': held, 'predictions': held} | {flag: tmp_path / 'gone.csv'}
    flags = [f'--{name}={path}' for name, path in paths.items()]
    with pytest.raises(SystemExit, match=f'--{flag}={tmp_path / "gone.csv"}: no such file; name a'):
        main(['--task=open', *flags])
