"""The published folder of wheels: its quirks by hand, its places and metrics to the digit."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest
from workbook import workbook

from mer_jax.data.formats import xlsx
from mer_jax.data.wheels.affectgpt_wheel import published_list, read_folder
from mer_jax.data.wheels.wheel import load_wheels

FIELD = pathlib.Path(
    os.environ.get('MER_JAX_FIELD_DATA', pathlib.Path(__file__).parents[4] / 'shared' / 'data')
)
needs_field_data = pytest.mark.skipif(
    not (FIELD / 'emotion_wheel').is_dir(),
    reason='the published files are neither in ../shared/data nor in MER_JAX_FIELD_DATA',
)

FORMATS = """name,format
fear,"fear,fears,Scary"
fearless,"fearless,fear"
glad,"glad,gladly"
joy,"joy,don't"
mute,
"""
SYNONYMS = [
    ['word_run1', 'synonym_run1', 'word_run2', 'synonym_run2'],
    ['Scared ', "['fear', 'mute']", 'scared', '[fear'],
    ['joyful', "['glad', 'joy', 'FEARLESS']", 'brave', '[Fearless]'],
    ['sad', '[]', 'joyful', 'glad'],
]
WHEEL1 = [
    ['level1', 'level2', 'level3'],
    ['Joyful', 'Light', 'joy'],
    ['', '', 'merry'],
    ['', 'brave', 'bold'],
    ['scared', 'weak', 'sad'],
]
WHEEL2 = [
    ['level1', 'level2', 'level3'],
    ['sad', 'low', 'twice'],
    ['scared', 'shy', 'twice'],
    ['', 'afraid', 'joyful'],
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder for this test alone."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'mer_jax' / 'wheels'


@pytest.fixture
def folder(tmp_path):
    """A small folder in the published form."""
    path = tmp_path / 'emotion_wheel'
    path.mkdir()
    (path / 'format.csv').write_text(FORMATS, encoding='utf-8')
    sheets = {'synonym': SYNONYMS, 'wheel2': WHEEL2, 'wheel1': WHEEL1}
    for name, rows in sheets.items():
        (path / f'{name}.xlsx').write_bytes(workbook(rows))
    return path


def test_a_form_of_two_bases_takes_the_first_of_the_alphabet(folder):
    wheels = load_wheels([str(folder)])
    assert wheels.base['fear'] == 'fear' and wheels.base['fears'] == 'fear'
    assert wheels.synonym['fear'] == 'scared' and wheels.synonym['fearless'] == 'brave'


def test_a_wheel_takes_the_first_word_that_it_holds_of_the_synonyms_of_all_bases(folder):
    wheels = load_wheels([str(folder)])
    # fear is a form of fear (scared) and of fearless (brave, joyful): brave comes first in wheel 1,
    # which holds it at level 2; wheel 2 lacks it, and joyful comes next.
    assert wheels.category('fear') == ('joyful', 'scared')
    assert wheels.category('fear', 2) == ('brave', 'afraid')
    assert wheels.category('fears') == ('scared', 'scared')


def test_a_word_of_level_1_takes_the_first_level_2_of_the_alphabet(folder):
    wheels = load_wheels([str(folder)])
    assert wheels.category('fears', 2) == ('weak', 'afraid')
    assert wheels.category('glad', 2) == ('brave', 'afraid')


def test_of_two_places_of_a_word_the_last_counts(folder):
    (folder / 'format.csv').write_text('name,format\ntwice,twice\n')
    (folder / 'synonym.xlsx').write_bytes(
        workbook([['word_run1', 'synonym_run1'], ['twice', '[twice]']])
    )
    wheels = load_wheels([str(folder)])
    assert wheels.category('twice') == (None, 'scared')
    assert wheels.category('twice', 2) == (None, 'shy')


def test_an_apostrophe_ends_a_form_and_forms_keep_their_case(folder):
    tables = read_folder(folder)
    assert tables.base['don'] == tables.base['t'] == 'joy'
    assert "don't" not in tables.base and 'scary' not in tables.base
    assert tables.base['Scary'] == 'fear'
    assert tables.base['mute'] == 'mute' and tables.synonym['mute'] == 'scared'


def test_wheels_come_in_the_order_of_their_numbers(folder):
    for number in (10, 3):
        (folder / f'wheel{number}.xlsx').write_bytes(workbook(WHEEL1))
    assert load_wheels([str(folder)]).names == ('wheel1', 'wheel2', 'wheel3', 'wheel10')


def test_a_second_reading_takes_the_kept_table_and_no_file(folder, cache, monkeypatch):
    first = read_folder(folder)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(xlsx, 'read_sheet', None)
    assert read_folder(folder) == first


def test_other_files_make_another_table(folder):
    before = load_wheels([str(folder)])
    (folder / 'wheel1.xlsx').write_bytes(workbook(WHEEL2))
    after = load_wheels([str(folder)])
    assert after.category('fear') == ('scared', 'scared')
    assert before.digest != after.digest


@pytest.mark.parametrize('text', ['', '{', '[1, 2]', '[[["a"]], {}, {}]', '\x00'])
def test_a_damaged_table_is_made_again(folder, cache, text):
    first = read_folder(folder)
    (kept,) = cache.iterdir()
    kept.write_text(text)
    assert read_folder(folder) == first
    assert kept.read_text() != text


def test_a_cache_that_cannot_be_written_is_left_out(folder, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text('a file where the folder should be')
    assert read_folder(folder).base['fear'] == 'fear'


@pytest.mark.parametrize('name', ['format.csv', 'synonym.xlsx', 'wheel1.xlsx'])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    (folder / 'wheel2.xlsx').unlink()
    with pytest.raises(ValueError, match=f'emotion_wheel: {name} is missing'):
        read_folder(folder)


def test_files_of_two_releases_are_refused(folder):
    with (folder / 'format.csv').open('a') as file:
        file.write('newer,newer\n')
    with pytest.raises(ValueError, match="1 names, such as 'newer', are not in synonym.xlsx"):
        read_folder(folder)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('format.csv', b'word,forms\n', 'format.csv: no column name, format, but no rows'),
        ('format.csv', b'word,forms\na,b\n', 'format.csv: no column name, format, but word, forms'),
        ('format.csv', b'name,format\n\xff,a\n', 'format.csv: not UTF-8'),
        ('synonym.xlsx', workbook([['word'], ['a']]), 'synonym.xlsx: no column word_run1, synon'),
        ('wheel2.xlsx', workbook([['level1'], ['a']]), 'wheel2.xlsx: no column level2, level3'),
        ('wheel2.xlsx', b'PK', 'wheel2.xlsx: not an Excel workbook'),
    ],
)
def test_a_file_of_another_form_is_named_with_the_rule_it_breaks(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_folder(folder)


def test_a_folder_must_be_the_only_name(folder):
    with pytest.raises(ValueError, match='emotion_wheel is a folder of wheels and must be'):
        load_wheels(['ekman', str(folder)])


@needs_field_data
def test_all_published_words_have_the_places_of_the_published_code():
    wheels = load_wheels([str(FIELD / 'emotion_wheel')])
    assert len(wheels.base) == 7386
    assert (wheels.place_lnw >= 0).sum(1).tolist() == [[4053, 4400, 3240, 4074, 3055]] * 2
    with (FIELD / 'word_map_sample.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 1500
    for row in rows:
        word = row.pop('word')
        found = {'case1': wheels.base.get(word, ''), 'case2': wheels.synonym.get(word, '')}
        for level in (1, 2):
            for wheel, category in zip(wheels.names, wheels.category(word, level), strict=True):
                found[f'case3_{wheel}_level{level}'] = category or ''
        assert found == row, word


@needs_field_data
@pytest.mark.parametrize('model', ['Chat-UniVi', 'Qwen-Audio', 'Otter'])
def test_cells_give_the_published_metrics(model):
    wheels = load_wheels([str(FIELD / 'emotion_wheel')])
    expected = json.loads((FIELD / 'reference_metrics.json').read_text())['ovmerd332'][model]
    with (FIELD / 'ovmerd332' / 'labels.csv').open(newline='') as file:
        gold = {row['name']: published_list(row['openset']) for row in csv.DictReader(file)}
    lines = (FIELD / 'ovmerd332' / f'{model}.jsonl').read_text().splitlines()
    said = {item['name']: published_list(item['answer']) for item in map(json.loads, lines)}
    for level in (1, 2):
        gold_nwc = wheels.cells(list(gold.values()), level)
        said_nwc = wheels.cells([said[name] for name in gold], level)
        kept_nw = gold_nwc.any(-1)
        hits_nw = (gold_nwc & said_nwc).sum(-1)
        p_w = (hits_nw / np.maximum(said_nwc.sum(-1), 1)).sum(0) / kept_nw.sum(0)
        r_w = (hits_nw / np.maximum(gold_nwc.sum(-1), 1)).sum(0) / kept_nw.sum(0)
        f_w = 2 * p_w * r_w / (p_w + r_w)
        figures = expected[f'level{level}']
        assert kept_nw.sum(0).tolist() == figures['kept']
        for name, x_w in (('P', p_w), ('R', r_w), ('F', f_w)):
            assert x_w.mean() == pytest.approx(figures[name], abs=1e-9)


@needs_field_data
def test_lists_are_cut_as_the_published_code_cuts_them():
    cases = json.loads((FIELD / 'reference_metrics.json').read_text())['string_to_list']
    assert [published_list(case['in']) for case in cases] == [case.get('out', []) for case in cases]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ("['happy', 'sad']", ['happy', 'sad']),
        ('[[Happy], sad]', ['[Happy]', 'sad']),
        ("don't know", ['don', 't know']),
        (' , "" ', []),
        ('[', []),
        ('happy; sad', ['happy; sad']),
    ],
)
def test_a_list_is_cut_at_quotes_and_commas_alone(text, words):
    assert published_list(text) == words
