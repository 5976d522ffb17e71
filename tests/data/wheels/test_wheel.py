"""Wheels: the shipped ones, the categories of words and of answers, and the first tokens."""

import csv
import itertools

import numpy as np
import pytest

from mer_jax.data.answer_words import split_answer
from mer_jax.data.stage.words import FAMILIES
from mer_jax.data.wheels.csv_wheel import BUILTIN, FOLDER, read_lexicon, read_wheel, read_wheels
from mer_jax.data.wheels.wheel import load_wheels

DEFAULT = ('parrott', 'feeling', 'ekman')

OWN = """# a wheel of two feelings
level1,level2,level3
Warm,fond,tender
warm,,caring
cold,aloof,uncaring
"""


@pytest.fixture(scope='module')
def wheels():
    return load_wheels()


def write(tmp_path, text):
    """The path of a wheel file of this text."""
    path = tmp_path / 'own.csv'
    path.write_text(text, encoding='utf-8')
    return str(path)


def test_the_shipped_wheels_have_the_categories_of_their_taxonomies(wheels):
    assert wheels.names == DEFAULT
    assert wheels.categories() == (
        ('love', 'joy', 'surprise', 'anger', 'sadness', 'fear'),
        ('mad', 'scared', 'joyful', 'powerful', 'peaceful', 'sad'),
        ('anger', 'disgust', 'fear', 'joy', 'sadness', 'surprise', 'tenderness'),
    )


@pytest.mark.parametrize(
    ('word', 'parrott', 'feeling', 'ekman'),
    [
        ('angry', 'anger', 'mad', 'anger'),
        ('angrily', 'anger', 'mad', 'anger'),
        ('sadness', 'sadness', 'sad', 'sadness'),
        ('joyful', 'joy', 'joyful', 'joy'),
        ('frightened', 'fear', 'scared', 'fear'),
        ('disgusted', 'anger', 'mad', 'disgust'),
        ('tender', 'love', 'peaceful', 'tenderness'),
        ('calm', 'joy', 'peaceful', 'joy'),
        ('surprised', 'surprise', 'powerful', 'surprise'),
        ('startled', 'surprise', 'scared', 'surprise'),
        ('pity', 'sadness', 'peaceful', 'tenderness'),
        ('light hearted', 'joy', 'joyful', 'joy'),
        (' Proud\n', 'joy', 'powerful', 'joy'),
        ('selfish', None, 'mad', None),
        ('neutral', None, None, None),
    ],
)
def test_a_word_has_the_categories_of_the_taxonomies(wheels, word, parrott, feeling, ekman):
    assert wheels.category(word) == (parrott, feeling, ekman)


def test_a_word_is_not_taken_for_its_opposite(wheels):
    for good, bad in [
        ('satisfied', 'dissatisfied'),
        ('fearless', 'fearful'),
        ('happy', 'unhappy'),
        ('trusting', 'distrustful'),
        ('hopeful', 'hopeless'),
        ('pleased', 'displeased'),
        ('secure', 'insecure'),
    ]:
        pairs = zip(wheels.category(good), wheels.category(bad), strict=True)
        assert all(one != other for one, other in pairs), (good, bad)


def test_every_wheel_knows_more_than_two_thousand_lower_case_words(wheels):
    assert ((wheels.place_lnw[:, :-1] >= 0).sum(1) > 2000).all()
    assert all(word == word.lower().strip() for word in wheels.words())


def test_every_wheel_knows_every_word_of_the_stage(wheels):
    missing = [w for w in itertools.chain(*FAMILIES.values()) if None in wheels.category(w)]
    assert missing == []


def test_the_lexicon_has_each_form_once_known_kin_and_no_circle():
    lexicon = read_lexicon()
    forms = [form for entry in lexicon.values() for form in entry.forms]
    assert sorted(forms) == sorted(set(forms))
    for word in lexicon:
        trail = [word]
        while kin := lexicon[trail[-1]].kin:
            assert kin in lexicon and kin not in trail, (word, kin)
            trail.append(kin)


@pytest.mark.parametrize('name', BUILTIN)
def test_all_forms_of_a_word_share_a_category_and_every_wheel_word_has_forms(name):
    lexicon = read_lexicon()
    own = read_wheel(name)
    for entry in lexicon.values():
        wide = {own.place[form][0] for form in entry.forms if form in own.place}
        assert len(wide) <= 1, entry
    known = {form for entry in lexicon.values() for form in entry.forms}
    assert set(own.place) - known <= set(own.categories[0]) | {
        'distraction',  # Plutchik's mild surprise, no form of a word of emotion
        *(name.replace('-', ' ') for name in own.categories[0]),
    }


def test_all_shipped_wheels_together_know_more_than_2500_words():
    wheels = load_wheels(['builtin'])
    assert wheels.names == BUILTIN
    assert len(wheels.words()) > 2500
    assert [len(names) for names in wheels.categories(1)] == [6, 6, 7, 8, 4]
    assert [len(names) for names in wheels.categories(2)] == [25, 36, 27, 24, 20]


@pytest.mark.parametrize(
    ('word', 'places'),
    [
        ('furious', ('rage', 'rage', 'anger', 'rage', 'anger')),
        ('happily', ('cheerfulness', 'cheerful', 'joy', 'joy', 'joy')),
        ('mad', ('rage', 'angry', 'anger', 'anger', 'anger')),
        ('jealousy', ('envy', 'hurt', 'anger', 'anger', 'anger')),
        ('worried', ('nervousness', 'anxious', 'nervousness', 'apprehension', 'fear')),
        ('at peace', ('contentment', 'content', 'joy', 'serenity', 'contentment')),
        ('surprise', ('surprise', 'aware', 'surprise', 'surprise', None)),
        ('focused', (None, None, None, 'interest', 'interest')),
    ],
)
def test_a_word_has_a_narrow_category_too(word, places):
    assert load_wheels(['builtin']).category(word, 2) == places


def test_a_narrow_category_belongs_to_one_wide_category():
    wheels = load_wheels(['builtin'])
    wide_nw, narrow_nw = wheels.place_lnw[:, :-1]
    for wide_n, narrow_n in zip(wide_nw.T, narrow_nw.T, strict=True):
        np.testing.assert_array_equal(wide_n < 0, narrow_n < 0)
        pairs = set(zip(wide_n.tolist(), narrow_n.tolist(), strict=True))
        assert len(pairs) == len({narrow for _, narrow in pairs})


def test_the_digest_depends_on_the_content_alone(tmp_path):
    own = load_wheels([write(tmp_path, OWN)])
    assert own.digest == load_wheels([write(tmp_path, OWN + '# nothing new\n')]).digest
    assert own.digest != load_wheels([write(tmp_path, OWN.replace('fond', 'glad'))]).digest
    assert len(own.digest) == 16


def test_base_gives_the_word_of_a_form_and_synonym_a_word_of_a_wheel():
    tables = read_wheels(['ekman'])
    assert tables.base['angrily'] == 'angry'
    assert tables.synonym['angrily'] == 'anger'
    assert tables.base['livid'] == 'furious'
    assert tables.synonym['livid'] == 'rage'
    assert tables.base['selfishly'] == tables.synonym['selfishly'] == 'selfish'
    assert 'table' not in tables.base


def test_cells_are_the_categories_named_in_each_answer(wheels):
    cell_nwc = wheels.cells([['Sad ', 'angry', 'grey'], [], ['joy', 'joyful']])
    expected_nwc = np.zeros((3, 3, 7), bool)
    expected_nwc[0, 0, [3, 4]] = True
    expected_nwc[0, 1, [0, 5]] = True
    expected_nwc[0, 2, [0, 4]] = True
    expected_nwc[2, [0, 1, 2], [1, 2, 3]] = True
    np.testing.assert_array_equal(cell_nwc, expected_nwc)


def test_cells_agree_with_the_category_of_every_word(wheels):
    words = wheels.words()
    cell_nwc = wheels.cells([[word] for word in words])
    for word, cell_wc in zip(words, cell_nwc, strict=True):
        named = tuple(
            next((c for c, on in zip(names, cell_c, strict=False) if on), None)
            for names, cell_c in zip(wheels.categories(), cell_wc, strict=True)
        )
        assert named == wheels.category(word)


def test_no_answers_and_empty_answers_name_no_category(wheels):
    assert wheels.cells([]).shape == (0, 3, 7)
    assert not wheels.cells([[], ['']]).any()


def test_an_answer_that_is_one_string_is_refused(wheels):
    with pytest.raises(TypeError, match='list of words'):
        wheels.cells(['sad'])


def test_first_tokens_are_those_of_one_category_only(tmp_path):
    wheels = load_wheels([write(tmp_path, 'level1,level2,level3\nhot,hex,cat\nold,oak,\nraw,,\n')])
    ids = {'hot': 1, 'hex': 2, 'cat': 3, 'old': 1, 'oak': 4, 'raw': 5}
    spaced = {'hot': 11, 'hex': 11, 'cat': 13, 'old': 14, 'oak': 13, 'raw': 5}

    def encode(text):
        return [(spaced if text[0] == ' ' else ids).get(text.strip(), 99), 7]

    # 1 begins hot and old, 13 cat and oak: both are left out. 99 begins only other wheels' words.
    token_wcn = wheels.first_tokens(encode)
    assert token_wcn.tolist() == [[[2, 3, 11], [4, 14, -1], [5, -1, -1]]]


def test_a_token_left_out_of_one_wheel_is_kept_in_another(tmp_path):
    own = write(tmp_path, 'level1,level2,level3\nfeeling,anger,sadness\n')
    wheels = load_wheels(['parrott', own])
    letters = {'anger': 1, 'sadness': 1}
    token_wcn = wheels.first_tokens(lambda text: [letters[text]] if text in letters else [])
    assert (token_wcn[0] == -1).all()
    assert token_wcn[1, 0].tolist() == [1]


def test_a_category_without_a_token_of_its_own_is_left_empty(tmp_path):
    wheels = load_wheels([write(tmp_path, OWN)])
    assert wheels.first_tokens(lambda text: [8]).tolist() == [[[-1], [-1]]]
    assert wheels.first_tokens(lambda text: []).tolist() == [[[-1], [-1]]]


def test_first_tokens_of_the_shipped_wheels_never_conflict(wheels):
    token_wcn = wheels.first_tokens(lambda text: [ord(letter) for letter in text[:3]][-1:])
    for w, token_cn in enumerate(token_wcn):
        tokens = token_cn[token_cn >= 0].tolist()
        assert len(tokens) == len(set(tokens))
        for word, c in zip(wheels.words(), wheels.place_lnw[0, :-1, w], strict=True):
            for start in (ord(word[:3][-1]), ord(f' {word}'[:3][-1])):
                assert c < 0 or start not in np.delete(token_cn, c, 0)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('sad, lonely', ['sad', 'lonely']),
        ("['Sad', 'lonely']", ['sad', 'lonely']),
        ('"sad"; “Angry”\nafraid.', ['sad', 'angry', 'afraid']),
        ('悲しい、sad，angry；afraid', ['悲しい', 'sad', 'angry', 'afraid']),
        ('1. sad\r\n2) lonely\n- let  down', ['sad', 'lonely', 'let down']),
        ('sad, Sad , SAD', ['sad']),
        ("light-hearted, don't care", ['light-hearted', "don't care"]),
        (' , ;[] ""', []),
        ('', []),
        ('\ud800, \x00sad', ['sad']),
    ],
)
def test_an_answer_is_split_into_its_words(text, words):
    assert split_answer(text) == words


def test_a_mass_of_punctuation_is_split_in_linear_time():
    assert split_answer('!' * 200_000 + 'sad' + '?' * 200_000) == ['sad']


def test_splitting_an_answer_again_changes_nothing(wheels):
    text = ', '.join(wheels.words())
    assert split_answer(text) == list(wheels.words())


def test_a_wheel_of_your_own_knows_the_forms_and_the_kin_of_its_words(tmp_path):
    wheels = load_wheels([write(tmp_path, OWN), 'ekman'])
    assert wheels.names == ('own', 'ekman')
    assert wheels.categories()[0] == ('warm', 'cold')
    assert wheels.categories(2)[0] == ('fond', 'warm', 'aloof')
    assert wheels.category('caring', 2)[0] == 'warm'
    assert wheels.category('tenderness') == ('warm', 'tenderness')
    assert wheels.category('compassion') == ('warm', 'tenderness')
    assert wheels.category('uncaring') == ('cold', None)
    assert wheels.category('angry') == (None, 'anger')
    assert wheels.cells([['uncaring']]).shape == (1, 2, 7)


def test_a_shipped_wheel_copied_by_a_user_reads_the_same(tmp_path, wheels):
    path = tmp_path / 'own.csv'
    with (FOLDER / 'feeling.csv').open() as file:
        rows = list(csv.reader(line for line in file if not line.startswith('#')))
    with path.open('w', newline='', encoding='utf-8-sig') as file:
        csv.writer(file).writerows(rows)
    copied = load_wheels([str(path)])
    assert all(copied.category(word) == wheels.category(word)[1:2] for word in wheels.words())


def test_an_unknown_wheel_names_the_known_ones():
    with pytest.raises(ValueError, match="'plutchek'.*ekman, feeling, geneva, parrott, plutchik"):
        load_wheels(['plutchek'])


def test_no_wheel_or_the_same_wheel_twice_is_refused():
    for names in ((), ('ekman', 'ekman')):
        with pytest.raises(ValueError, match='at least one wheel'):
            load_wheels(names)


def test_wheels_given_as_one_string_are_refused():
    with pytest.raises(TypeError, match=r"\('ekman',\)"):
        load_wheels('ekman')


def test_a_level_that_wheels_do_not_have_is_refused(wheels):
    for call in (
        wheels.categories,
        lambda n: wheels.cells([], n),
        lambda n: wheels.category('', n),
    ):
        with pytest.raises(ValueError, match='level=3: wheels have level 1 and level 2'):
            call(3)


def test_cells_of_level_2_agree_with_the_category_of_every_word():
    wheels = load_wheels(['builtin'])
    words = wheels.words()
    cell_nwc = wheels.cells([[word] for word in words], level=2)
    assert cell_nwc.shape == (len(words), 5, 36)
    for word, cell_wc in zip(words, cell_nwc, strict=True):
        named = tuple(
            next((c for c, on in zip(names, cell_c, strict=False) if on), None)
            for names, cell_c in zip(wheels.categories(2), cell_wc, strict=True)
        )
        assert named == wheels.category(word, 2)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('level1,level2\njoy,glad\n', 'own.csv:1: .*level1,level2, .*level1,level2,level3'),
        ('', 'own.csv:1: the columns are missing'),
        ('# a\nlevel1,level2,level3\n', 'own.csv: no rows'),
        ('level1,level2,level3\njoy,glad\n', 'own.csv:2: 2 cells .*joy,glad'),
        ('level1,level2,level3\n,glad,merry\n', 'own.csv:2: level1 is empty'),
        (
            '# a\nlevel1,level2,level3\njoy,glad,\nfear,,glad\n',
            "own.csv:4: 'glad' is under 'fear' and, in line 3, under 'joy'",
        ),
    ],
)
def test_a_faulty_wheel_is_refused_by_file_line_and_word(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_wheels([write(tmp_path, text)])


def test_a_wheel_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / 'own.csv'
    path.write_bytes('level1,level2,level3\ncafé,,\n'.encode('latin-1'))
    with pytest.raises(ValueError, match='own.csv: not UTF-8'):
        load_wheels([str(path)])
