"""Files of benchmarks: names stay inside, and label files of odd size or form are refused."""

import pytest
from benchmark_folders import put

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.benchmarks.files import MOST_BYTES, files_by_name, inside


@pytest.mark.parametrize(
    'name', ['../a', '/etc/passwd', '..', 'a/../../b', '..\\a', 'a\0b', ' ', '.']
)
def test_a_name_that_leaves_its_folder_or_is_not_printable_is_refused(name):
    with pytest.raises(ValueError, match=r'^here: .* must'):
        inside(name, 'here')


def test_a_name_within_its_folder_is_normalised():
    assert inside(' a/./b/../c.mp4 ', 'here') == 'a/c.mp4'
    assert inside('..a', 'here') == '..a'


def test_of_two_files_with_one_name_that_of_the_earlier_folder_counts(tmp_path):
    put(tmp_path, 'a/x.mp4', 'b/deep/x.mp4', 'b/y.MP4', 'b/y.txt')
    found = files_by_name(tmp_path, ('b', 'a'), ('.mp4',))
    assert found == {'x': str(tmp_path / 'b/deep/x.mp4'), 'y': str(tmp_path / 'b/y.MP4')}


def test_links_to_folders_are_followed_and_a_loop_of_links_ends(tmp_path):
    put(tmp_path, 'far/films/deep/x.mp4', 'far/single/z.mp4', 'set/a/y.mp4')
    links = {
        'set/b': 'far/films',  # the media lie on another disk
        'set/a/again': 'set/a',  # loops
        'far/films/up': 'set',
        'set/none': 'nowhere',
        'set/a/z.mp4': 'far/single/z.mp4',
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    found = files_by_name(tmp_path, ('set',), ('.mp4',))
    assert found == {
        'x': str(tmp_path / 'set/b/deep/x.mp4'),
        'y': str(tmp_path / 'set/a/y.mp4'),
        'z': str(tmp_path / 'set/a/z.mp4'),
    }
    (tmp_path / 'linked').symlink_to(tmp_path / 'far/films')
    assert files_by_name(tmp_path, ('linked',), ('.mp4',))['x'].startswith(str(tmp_path / 'linked'))


def test_a_label_file_beyond_the_bound_is_not_read(tmp_path):
    put(tmp_path, 'EmoSet/test.json')
    with open(tmp_path / 'EmoSet/test.json', 'wb') as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match=f'{MOST_BYTES + 1} bytes; a label file has at most'):
        BENCHMARKS['emoset'].read(tmp_path)


@pytest.mark.parametrize(
    ('path', 'data', 'key', 'message'),
    [
        (
            'ovmerdplus-process/ovlabel.csv',
            b'id,openset\nx,y\n',
            'ov_merd_plus',
            'needs the column',
        ),
        ('ovmerdplus-process/ovlabel.csv', b'name,openset\n\xff,y\n', 'ov_merd_plus', 'not UTF-8'),
        ('ovmerdplus-process/ovlabel.csv', b'', 'ov_merd_plus', 'needs the column name'),
        (
            'ovmerdplus-process/ovlabel.csv',
            b'name,openset\nx,' + b'a' * 200_000,
            'ov_merd_plus',
            'not a CSV row: field larger than',
        ),
        ('EmoSet/test.json', b'{}', 'emoset', 'a list was expected'),
        ('EmoSet/test.json', b'[' * 100_000, 'emoset', 'not a JSON file'),
        ('EmoSet/test.json', b'[[1, 2]]', 'emoset', r'entry 0: .* must be \[emotion'),
        (
            'MME-Emotion/SA/question/SA.json',
            b'[{"label": 3}]',
            'mme_sa',
            'question 0: .* must have',
        ),
        (
            'MAFW/single/no_caption/set_1/test.txt',
            b'1.mp4\n',
            'mafw',
            'test.txt:1: .* must be a file name and a label',
        ),
        ('meld-process/label.npz', b'no archive', 'meld', 'label.npz'),
    ],
)
def test_a_damaged_label_file_is_named_with_the_rule_it_breaks(tmp_path, path, data, key, message):
    put(tmp_path, path, data=data)
    with pytest.raises(ValueError, match=message) as caught:
        BENCHMARKS[key].read(tmp_path)
    assert str(tmp_path / path) in str(caught.value)
