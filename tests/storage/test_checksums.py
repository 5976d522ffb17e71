"""Contents of files: the same wherever they are, other where a byte at an end is."""

import os
import shutil
from types import SimpleNamespace

import pytest

from mer_jax.storage import checksums
from mer_jax.storage.checksums import END, FEW, Content, contents_of_files
from mer_jax.storage.objects import write_whole


@pytest.fixture
def reads(monkeypatch):
    """The paths of the files that were read."""
    paths, plain = [], checksums.digest_of_ends

    def read(path, size):
        paths.append(path)
        return plain(path, size)

    monkeypatch.setattr(checksums, 'digest_of_ends', read)
    return paths


def content(path):
    return contents_of_files([str(path)])[str(path)]


def test_a_copy_and_a_touched_file_have_the_same_content(tmp_path):
    (tmp_path / 'a').write_bytes(os.urandom(3 * END))
    before = content(tmp_path / 'a')
    shutil.copy(tmp_path / 'a', tmp_path / 'b')
    os.utime(tmp_path / 'a', (1, 1))
    assert content(tmp_path / 'b').is_that_of(before) and content(tmp_path / 'a').is_that_of(before)


@pytest.mark.parametrize('size', [1, 5, END, END + 1, 2 * END + 5])
@pytest.mark.parametrize('place', [0, -1])
def test_a_byte_at_either_end_and_the_size_change_it(tmp_path, size, place):
    path = tmp_path / 'a'
    path.write_bytes(bytes(size))
    before = content(path)
    changed = bytearray(size)
    changed[place] = 1
    path.write_bytes(changed)
    assert not content(path).is_that_of(before)
    path.write_bytes(bytes(size + 1))
    assert not content(path).is_that_of(before)


def test_a_missing_file_and_a_folder_have_none(tmp_path):
    assert content(tmp_path / 'gone') is None and content(tmp_path) is None


def test_files_whose_times_are_the_same_are_not_read_again(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(checksums, 'SETTLED', -1)
    paths = [str(tmp_path / name) for name in 'ab']
    for path in paths:
        write_whole(tmp_path / path, 'abc')
    found = contents_of_files(paths)
    assert contents_of_files(paths, found) == found and len(reads) == 2
    # Its modification time is put back, as a copy of a backup does.
    stat = os.stat(paths[0])
    write_whole(tmp_path / paths[0], 'abd')
    os.utime(paths[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not contents_of_files(paths, found)[paths[0]].is_that_of(found[paths[0]])
    assert reads[2:] == paths[:1]


def test_a_file_that_has_just_changed_is_read_again(tmp_path, reads):
    path = str(tmp_path / 'a')
    write_whole(tmp_path / 'a', 'abc')
    found = contents_of_files([path])
    contents_of_files([path], found)
    assert reads == [path, path] and found[path].version == ''


def test_objects_of_a_folder_are_listed_with_one_request(bucket_server, bucket):
    paths = [f'{bucket}/films/{number}.mp4' for number in range(FEW + 5)]
    for number, path in enumerate(paths[1:]):
        write_whole(bucket / 'films' / path.rpartition('/')[2], f'film {number}')
    bucket_server.requests.clear()
    found = contents_of_files(paths)
    assert len(bucket_server.requests) == 1
    assert found[paths[0]] is None and found[paths[1]].size == 6
    assert found[paths[1]].checksum.startswith('crc32c:')
    assert len({one.checksum for one in found.values() if one}) == FEW + 4
    assert contents_of_files(paths[:2]) == {path: found[path] for path in paths[:2]}


@pytest.mark.parametrize(
    ('info', 'checksum'),
    [
        ({'md5Hash': 'abc', 'ETag': 'e'}, 'md5:abc'),
        ({'ETag': 'e'}, 'etag:e'),
        ({'crc32c': 'x', 'md5Hash': 'abc'}, 'crc32c:x'),
        ({}, ''),
    ],
)
def test_an_object_has_the_first_checksum_that_its_bucket_gives(monkeypatch, info, checksum):
    held = SimpleNamespace(info=lambda path: {'size': 3} | info)
    monkeypatch.setattr(checksums, 'file_system', lambda path: held)
    found = contents_of_files(['gs://bucket/a'])
    assert found['gs://bucket/a'].checksum == checksum and found['gs://bucket/a'].size == 3


def test_checksums_of_two_kinds_are_not_compared():
    local, remote = Content(5, 'sha256:a'), Content(5, 'crc32c:b')
    assert local.is_that_of(remote) and not local.is_that_of(Content(6, 'crc32c:b'))
