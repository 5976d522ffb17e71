"""Digests of clips: each part that counts changes them, and nothing else does."""

import dataclasses
import os

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.fingerprint import (
    HEAD,
    content_of_clips,
    file_content,
    file_ends,
    file_stat,
)


@pytest.fixture
def clip(tmp_path):
    """A clip of a film and an image, both files."""
    for name in ('a.mp4', 'a.png'):
        (tmp_path / name).write_text(name)
    media = {'video': str(tmp_path / 'a.mp4'), 'image': str(tmp_path / 'a.png')}
    return Clip('a', **media, subtitle='Oh.', words=('sad',))


def test_the_digest_of_given_clips_stays_the_same_in_every_release():
    clips = [Clip('a', subtitle='Oh.', words=('sad', 'lonely')), Clip('b', words=('happy',))]
    assert content_of_clips([]) == '00000000'
    assert content_of_clips(clips) == content_of_clips(clips, files=True) == '5d32b7da'


@pytest.mark.parametrize(
    'change',
    [
        {'id': 'b'},
        {'subtitle': 'Ah.'},
        {'question': 'Why?'},
        {'words': ('sad', 'lonely')},
        {'source': 'film 7'},
    ],
)
def test_an_id_a_text_a_gold_word_and_a_source_change_the_digest(clip, change):
    changed = dataclasses.replace(clip, **change)
    assert content_of_clips([changed]) != content_of_clips([clip])


def test_the_order_and_the_number_of_clips_change_the_digest(clip):
    other = dataclasses.replace(clip, id='b')
    digests = {content_of_clips(clips) for clips in ([clip], [clip] * 2, [clip, other])}
    assert len(digests | {content_of_clips([other, clip])}) == 4


def test_a_changed_file_counts_only_where_files_are_asked_for(clip):
    before = content_of_clips([clip]), content_of_clips([clip], files=True)
    os.utime(clip.image, (1, 1))
    after = content_of_clips([clip]), content_of_clips([clip], files=True)
    assert before[0] == after[0] and before[1] != after[1]


def test_media_in_arrays_do_not_count(clip):
    array = dataclasses.replace(clip, video=None, image=np.zeros((2, 2, 3), np.uint8))
    bare = dataclasses.replace(clip, video=None, image=None)
    assert content_of_clips([array], files=True) == content_of_clips([bare], files=True)


def test_a_file_is_known_by_its_size_and_time_and_a_missing_one_by_its_path(tmp_path):
    path = tmp_path / 'a.mp4'
    assert file_stat(str(path)) == (str(path),)
    path.write_text('abc')
    os.utime(path, ns=(5, 7))
    assert file_stat(str(path)) == (str(path), 3, 7)


def test_a_copy_of_a_file_has_its_content_and_another_file_has_not(tmp_path):
    film, copy, longer, other = (tmp_path / name for name in ('a.mp4', 'b.mp4', 'c.mp4', 'd.mp4'))
    film.write_bytes(bytes(HEAD + 5))
    copy.write_bytes(bytes(HEAD + 5))
    longer.write_bytes(bytes(HEAD + 6))
    other.write_bytes(b'x' + bytes(HEAD + 4))
    assert file_content(str(film)) == file_content(str(copy))
    assert len({file_content(str(path)) for path in (film, longer, other)}) == 3
    assert file_content(str(tmp_path / 'gone.mp4')) is None


def test_ends_of_a_file_tell_films_with_one_beginning_apart(tmp_path):
    start = bytes(3 << 20)
    for name, data in (('a', start + b'1'), ('b', start + b'2'), ('c', start + b'1')):
        (tmp_path / name).write_bytes(data)
    one, other, same = (file_ends(str(tmp_path / name)) for name in 'abc')
    assert one == same != other and file_ends(str(tmp_path / 'd')) is None
