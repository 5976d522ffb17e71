"""Splits of image sets: published lists and folders, lists of a user, images in two splits."""

import json
import re

import pytest
from benchmark_folders import put

from mer_jax.data.benchmarks import BENCHMARKS, read_splits


def row(name, label):
    return [label, name, f'image/{label}/{name}.jpg', f'annotation/{label}/{name}.json']


def put_list(folder, file, *rows):
    """An EmoSet list and its images."""
    put(folder, file, data=json.dumps(rows))
    put(folder, *(path for _, _, path, _ in rows))


def ids(found):
    return None if found is None else [clip.id for clip in found.clips]


@pytest.fixture
def emoset(tmp_path):
    """A folder of EmoSet with three splits."""
    folder = tmp_path / 'EmoSet-118K'
    put_list(folder, 'train.json', row('awe_1', 'awe'), row('fear_2', 'fear'))
    put_list(folder, 'val.json', row('awe_3', 'awe'))
    put_list(folder, 'test.json', row('awe_4', 'awe'))
    return folder


def splits(place, key='emoset'):
    return read_splits(BENCHMARKS[key], str(place))


def test_emoset_is_read_by_its_own_lists(emoset, tmp_path):
    found = splits(tmp_path)
    assert ids(found.train) == ['awe_1', 'fear_2'] and found.shared == 0
    assert ids(found.validation) == ['awe_3'] and ids(found.test) == ['awe_4']
    (emoset / 'val.json').unlink()
    assert splits(tmp_path).validation is None


def test_a_test_split_alone_is_not_trained_on(emoset, tmp_path):
    (emoset / 'train.json').unlink()
    with pytest.raises(ValueError, match=r'never trained on; add .* emoset:FILE\.json'):
        splits(tmp_path)
    (emoset / 'test.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'EmoSet-118K: expected train\.json'):
        splits(tmp_path)


ROWS = [
    {'image': 'image/awe/awe_1.jpg', 'problem': '<image>What?', 'label': 'good', 'answer': 'Awe'},
    {'image': 'image/fear/fear_2.jpg', 'emotion': 'fear', 'id': 'second'},
    {'image': 'image/awe/awe_9.jpg', 'label': 1},
]  # fmt: skip


@pytest.mark.parametrize('file', ['list.json', 'list.jsonl', 'list.csv'])
@pytest.mark.parametrize('beside', [False, True])
def test_a_list_of_objects_replaces_the_training_split(emoset, tmp_path, file, beside):
    place = (tmp_path if beside else emoset) / file
    if file.endswith('csv'):
        lines = [','.join(str(row.get(key, '')) for key in KEYS) for row in ROWS[:2]]
        place.write_text('\n'.join([','.join(KEYS), *lines, 'image/awe/awe_9.jpg,,,awe,,']))
    elif file.endswith('jsonl'):
        place.write_text('\n'.join(map(json.dumps, ROWS)) + '\n\n')
    else:
        place.write_text(json.dumps(ROWS))
    found = splits(place)
    assert ids(found.train) == ['image/awe/awe_1.jpg', 'second']
    assert found.train.absent == ['image/awe/awe_9.jpg']
    first, second = found.train.clips
    assert (first.words, first.question) == (('awe',), 'What?')  # its answer, not its coarse label
    assert (second.words, second.question) == (('fear',), '')
    assert first.image == str(emoset / 'image/awe/awe_1.jpg')
    assert ids(found.validation) == ['awe_3'] and ids(found.test) == ['awe_4']


KEYS = ('image', 'problem', 'label', 'answer', 'emotion', 'id')


def test_a_list_alone_has_no_other_split(tmp_path):
    put(tmp_path, 'list.json', data=json.dumps(ROWS[:1]))
    put(tmp_path, 'image/awe/awe_1.jpg')
    found = splits(tmp_path / 'list.json')
    assert ids(found.train) == ['image/awe/awe_1.jpg']
    assert found.test is None and found.validation is None


def test_training_images_that_a_later_split_holds_are_left_out(emoset):
    rows = [{'image': f'image/awe/awe_{n}.jpg', 'answer': 'awe'} for n in (1, 3, 4)]
    (emoset / 'mine.json').write_text(json.dumps(rows))
    found = splits(emoset / 'mine.json')
    assert ids(found.train) == ['image/awe/awe_1.jpg'] and found.shared == 2
    assert ids(found.validation) == ['awe_3'] and ids(found.test) == ['awe_4']


@pytest.mark.parametrize(
    ('text', 'rule'),
    [
        ('{"image": "a.jpg"}', r'list\.jsonl:1: .* must hold a gold word in answer or emotion'),
        ('{"image": "a.jpg", "answer": 9}', 'the label 9 must be a word, or an index from 0 to 7'),
        ('{"answer": "awe"}', r'list\.jsonl:1: None must be a name'),
        ('{"image": {"bytes": ""}, "answer": "awe"}', 'must be a name in printable characters'),
        ('{"image": "../a.jpg", "answer": "awe"}', 'must stay below the folder'),
        ('{"image": "a.jpg", "answer": "awe", "problem": 3}', 'problem=3 must be a string'),
        ('\n"awe"', r'list\.jsonl:2: \'awe\' must be \[emotion, id, image, annotation\], or an'),
        ('{"image":', r'list\.jsonl:1: each line must be one JSON value'),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_named(tmp_path, text, rule):
    (tmp_path / 'list.jsonl').write_text(text)
    with pytest.raises(ValueError, match=rule):
        splits(tmp_path / 'list.jsonl')


def test_a_table_of_another_kind_is_refused_with_a_way_out(tmp_path):
    (tmp_path / 'list.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError, match=r'list\.parquet: must be .*\.jsonl.* as JSON lines'):
        splits(tmp_path / 'list.parquet')
    (tmp_path / 'list.csv').write_text('picture,label\na.jpg,awe\n')
    with pytest.raises(ValueError, match=re.escape('needs the column image')):
        splits(tmp_path / 'list.csv')


def test_folders_of_splits_are_read_and_files_of_one_name_kept_apart(tmp_path):
    inner = ('train/joy/1.jpg', 'train/love/2.jpg', 'val/joy/1.jpg', 'test/joy/1.jpg')
    put(tmp_path / 'Emotion6', *inner, 'images/joy/9.jpg')
    found = splits(tmp_path, 'emotion6')
    assert ids(found.train) == ['train/joy/1.jpg', 'train/love/2.jpg']
    assert found.train.unlisted == ['love'] and found.train.clips[1].words == ('love',)
    assert ids(found.validation) == ['validation/joy/1.jpg'] and ids(found.test) == ['joy/1.jpg']


def test_a_folder_that_nobody_split_is_one_split(tmp_path):
    put(tmp_path / 'WEBEmo', 'cheerfullness/a.jpg', 'zest/b.jpg', 'notes/c.txt')
    found = splits(tmp_path, 'webemo')
    assert ids(found.train) == ['cheerfullness/a.jpg', 'zest/b.jpg']
    assert [clip.words for clip in found.train.clips] == [('cheerfulness',), ('zest',)]
    assert found.validation is None and found.test is None
