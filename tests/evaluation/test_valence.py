"""Valence: words, negations and phrases by hand, and its share of known words in published data."""

import csv
import itertools
import json
import os
import pathlib

import pytest

from mer_jax.data.stage.words import FAMILIES, VALENCE
from mer_jax.data.wheels.affectgpt_wheel import published_list
from mer_jax.data.wheels.csv_wheel import FOLDER, read_lexicon, read_rows
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.evaluation.valence import (
    LONGEST,
    is_known,
    pleasantness,
    pleasantness_table,
    valence,
)

FIELD = pathlib.Path(
    os.environ.get('MER_JAX_FIELD_DATA', pathlib.Path(__file__).parents[3] / 'shared' / 'data')
)


@pytest.mark.parametrize(
    ('word', 'value'),
    [
        ('happy', 2),
        ('unhappy', -2),
        ('not happy', -2),
        ('not very happy', -2),
        ("don't care", -2),
        ('don’t care', -2),
        ('not angry', 0),
        ('no fear', 1),
        ('fearless', 2),
        ('not bad', 1),
        ('slightly annoyed', -1),
        ('a little bit sad', -1),
        ('very happy', 2),
        ('great sadness', -2),
        ('great', 2),
        ('strong emotional distress', -2),
        ('under great pressure', -1),
        ('mixed feelings', 0),
        ('at peace', 2),
        ('lost', -1),
        ('lost hope', -2),
        ('lack of confidence', -2),
        ('lack of concern', 0),
        ('low self-esteem', -2),
        ('unwillingness_to_communicate', -1),
        ('hope/optimism', 2),
        ('worried but hopeful', 0),
        ('Joyless', -2),
        ('abhorrently', -2),
        ('comforter', 1),  # the mildest of comfort (2) and comfortably (1)
        ('coercively', -1),  # of coercion (-1) and coercive (-2)
        ('unworried', 1),
        ("isn't worried", 1),
        ('free from worry', 1),
        ('no longer afraid', 1),
        ('anything but happy', -2),
        ('loveless', -2),
        ('painless', 0),
        ('neither happy nor sad', 0),
        ('not only happy but thrilled', 2),
        ('not just sad but furious', -2),
        ('not only not happy but sad', -2),
        ('nothing but joy', 2),
        ('not sad but happy', 2),
        ('not happy but sad', -2),
        ('tears of joy', 2),
        ('crying tears of joy', 2),
        ('crying with happiness', 2),
        ('happy tears', 2),
        ('tears of sadness', -2),
        ('trembling with rage', -2),
        ('tears', -2),
        ('crying', -2),
        ("couldn't be more excited", 2),
        ('jumping for joy', 1),
        ('开心', 2),
        ('非常开心', 2),
        ('不开心', -2),
        ('不太高兴', -2),
        ('有点难过', -1),
        ('不满', -2),
        ('没有恐惧', 0),
        ('惊讶', 0),
        ('他很伤心', -2),
        ('桌子', 0),
        ("couldn't be happier", 2),
        ('non-threatening', 0),
        ('surprise', 0),
        ('neutral', 0),
        ('xyzzy', 0),
        ('', 0),
        ('🙂', 0),
    ],
)
def test_a_word_or_phrase_has_its_pleasantness(word, value):
    assert pleasantness(word) == value


@pytest.mark.parametrize(
    ('words', 'sentiment'),
    [
        ([], 'neutral'),
        (['joyful'], 'positive'),
        (['happy', 'sad'], 'neutral'),
        (['calm', 'serious'], 'neutral'),
        (['calm', 'happy'], 'positive'),
        (['surprised', 'disappointed'], 'negative'),
        (['surprised', 'curious'], 'positive'),
        (['confused', 'curious'], 'neutral'),
        (['nervous', 'excited'], 'neutral'),
        (['sad', 'angry', 'hopeful'], 'negative'),
        (['slightly annoyed', 'happy'], 'positive'),
    ],
)
def test_the_sentiment_of_a_list_is_the_sign_of_its_sum(words, sentiment):
    assert valence(words) == sentiment
    assert valence(reversed(words)) == sentiment


@pytest.mark.parametrize(
    ('text', 'known'),
    [
        ('sad', True),
        ('surprise', True),
        ('惊讶', True),
        ('桌子', False),
        ('不', False),
        ('very zorp', False),
        ('not sad', True),
        ('🙂', False),
    ]
    + [('loveless', True), ('zorpless', False), ('lack of zorp', True), ('', False)],
)
def test_a_neutral_word_is_told_from_an_unknown_one(text, known):
    assert is_known(text) is known


def test_one_string_is_refused():
    with pytest.raises(TypeError, match='one string'):
        valence('happy')


def test_every_word_of_the_stage_has_the_sign_of_its_family():
    for family, words in FAMILIES.items():
        for word in words:
            assert pleasantness(word) * VALENCE[family] > 0 or VALENCE[family] == 0, word


def test_the_categories_of_shipped_wheels_have_the_valence_of_their_taxonomies():
    wheels = load_wheels(['builtin'])
    sides = {name: pleasantness(name) for names in wheels.categories(1)[:4] for name in names}
    good = {'love', 'joy', 'joyful', 'powerful', 'peaceful', 'tenderness', 'trust', 'anticipation'}
    assert {name for name, value in sides.items() if value > 0} == good
    assert {name for name, value in sides.items() if value == 0} == {'surprise'}


def test_of_the_geneva_wheel_pity_alone_has_the_other_sign():
    wheels = load_wheels(['geneva'])
    against = {
        word
        for word, quadrant in zip(wheels.words(), wheels.place_lnw[0, :-1, 0], strict=True)
        if pleasantness(word) * (1, 1, -1, -1)[quadrant] < 0 and 'control' not in word
    }
    assert against == {'pity', 'pities', 'pitied', 'pitiful', 'pitying', 'pityingly'}


def test_each_entry_is_listed_once_with_a_valence_from_minus_2_to_2():
    rows = [cells for _, cells in read_rows(FOLDER / 'valence.csv', ('valence', 'words'))]
    assert {value for value, _ in rows} == {'-2', '-1', '0', '1', '2'}
    entries = [entry.replace('-', ' ') for _, words in rows for entry in words.split()]
    assert sorted(entries) == sorted(set(entries))
    assert max(entry.count(' ') for entry in entries) < LONGEST


def test_all_words_of_the_lexicon_have_a_valence():
    table = pleasantness_table()
    forms = itertools.chain.from_iterable(entry.forms for entry in read_lexicon().values())
    assert all(form.replace('-', ' ') in table for form in forms)


@pytest.mark.slow
def test_a_mass_of_words_takes_linear_time():
    assert pleasantness('great ' * 100_000 + 'sad ' * 100_000) == -2
    assert pleasantness('tears ' * 100_000) == -2
    assert pleasantness('开心' * 100_000) == 2


@pytest.mark.skipif(
    not FIELD.is_dir(),
    reason='the published files are neither in ../shared/data nor in MER_JAX_FIELD_DATA',
)
def test_almost_all_words_of_annotators_and_models_are_known():
    said = [
        word
        for name in ('Chat-UniVi', 'Otter', 'Qwen-Audio')
        for line in (FIELD / 'ovmerd332' / f'{name}.jsonl').read_text().splitlines()
        for word in published_list(json.loads(line)['answer'])
    ]
    with (FIELD / 'ovmerd332' / 'labels.csv').open(newline='') as file:
        said += [word for row in csv.DictReader(file) for word in published_list(row['openset'])]
    table = pleasantness_table()
    known = [
        word.lower() in table
        or pleasantness(word) != 0
        or any(token in table for token in word.lower().split())
        for word in said
    ]
    assert sum(known) / len(known) > 0.995
