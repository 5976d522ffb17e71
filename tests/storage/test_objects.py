"""Files that grow, are written whole or are copied, in a folder and in a bucket."""

import os

import pytest

from mer_jax.storage import objects
from mer_jax.storage.objects import (
    append,
    contents,
    copy_file,
    create_whole,
    local_copy,
    local_folder,
    move_folder,
    read_range,
    remove_folder,
    size_of,
    upload_folder,
    upload_lines,
    uploading_lines,
    version_of,
    write_whole,
)
from mer_jax.storage.paths import StorageError, is_remote


@pytest.fixture(params=['local', 'bucket'])
def folder(request):
    """A folder of the test's own, local or in a bucket."""
    name = {'local': 'tmp_path', 'bucket': 'bucket'}[request.param]
    return request.getfixturevalue(name)


def test_a_file_is_written_whole_and_replaced(folder):
    write_whole(folder / 'a', 'one')
    write_whole(folder / 'a', b'two')
    assert (folder / 'a').read_bytes() == b'two'
    assert [path.name for path in folder.iterdir()] == ['a']


def test_a_file_is_created_once(folder):
    assert create_whole(folder / 'a', 'one')
    assert not create_whole(folder / 'a', 'two')
    assert (folder / 'a').read_bytes() == b'one'
    assert [path.name for path in folder.iterdir()] == ['a']


def test_a_file_is_created_on_a_file_system_without_links(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError

    monkeypatch.setattr(os, 'link', link)
    assert create_whole(tmp_path / 'a', 'one') and not create_whole(tmp_path / 'a', 'two')
    assert (tmp_path / 'a').read_text() == 'one'


def test_lines_are_appended_and_read_back_at_once(folder):
    write_whole(folder / 'a', 'one\n')
    append(folder / 'a', 'two\n')
    append(folder / 'a', 'thrée\n')
    assert contents(folder / 'a').decode() == 'one\ntwo\nthrée\n'
    upload_lines()
    assert (folder / 'a').read_bytes().decode() == 'one\ntwo\nthrée\n'


def test_many_lines_are_few_uploads(bucket_server, bucket):
    for number in range(20):
        append(bucket / 'a', f'{number}\n')
    upload_lines()
    upload_lines()
    assert sum(request.startswith('POST') for request in bucket_server.requests) == 1
    assert (bucket / 'a').read_bytes().count(b'\n') == 20


def test_lines_are_uploaded_after_some_seconds(bucket, monkeypatch):
    monkeypatch.setattr(objects, 'UPLOAD_SECONDS', 0)
    append(bucket / 'a', 'one\n')
    append(bucket / 'a', 'two\n')
    assert (bucket / 'a').read_bytes() == b'one\ntwo\n'


def test_a_file_that_is_written_anew_forgets_its_lines(bucket):
    append(bucket / 'a', 'one\n')
    write_whole(bucket / 'a', '')
    append(bucket / 'a', 'two\n')
    upload_lines()
    assert (bucket / 'a').read_bytes() == b'two\n'


@pytest.mark.parametrize(('error', 'uploaded'), [(KeyError, True), (StorageError, False)])
def test_an_error_uploads_lines_unless_it_is_one_of_the_bucket(bucket, error, uploaded):
    with pytest.raises(error), uploading_lines():
        append(bucket / 'a', 'one\n')
        raise error('it')
    assert (bucket / 'a').exists() == uploaded
    assert contents(bucket / 'a') == b'one\n'
    upload_lines()


def test_ranges_and_sizes(folder):
    write_whole(folder / 'a', b'0123456789')
    assert size_of(folder / 'a') == 10
    assert read_range(folder / 'a', 2, 5) == b'234'
    assert read_range(folder / 'a', 8, 20) == b'89'
    assert read_range(folder / 'a', 4, 4) == b''


def test_another_content_is_another_version(folder):
    write_whole(folder / 'a', 'one')
    first = version_of(folder / 'a')
    assert version_of(folder / 'a') == first
    write_whole(folder / 'a', 'two')
    assert version_of(folder / 'a') != first
    with pytest.raises(FileNotFoundError):
        version_of(folder / 'none')


def test_a_local_copy_is_removed_and_a_local_file_is_itself(folder):
    write_whole(folder / 'a.txt', 'text')
    with local_copy(folder / 'a.txt') as file:
        assert os.path.basename(file) == 'a.txt'
        with open(file) as opened:
            assert opened.read() == 'text'
        is_copy = file != folder / 'a.txt'
    assert os.path.exists(file) != is_copy


def test_an_object_too_large_for_the_local_disk_is_named(bucket, monkeypatch):
    monkeypatch.setattr(objects, 'MOST_SCRATCH', 3)
    write_whole(bucket / 'a', 'text')
    with pytest.raises(StorageError, match=f'^{bucket}/a: has 4 bytes, and at most 3 '):
        with local_copy(bucket / 'a'):
            pass


def test_the_small_files_of_a_checkpoint_are_copied_and_its_weights_are_not(bucket):
    for name in ('config.json', 'merges.txt', 'model.safetensors', 'inner/config.json'):
        write_whole(bucket / name, name)
    with local_folder(bucket) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ['config.json', 'merges.txt']
    assert not folder.exists()


def test_files_are_copied_between_folders_and_buckets(bucket, tmp_path):
    write_whole(tmp_path / 'a', 'text')
    copy_file(tmp_path / 'a', bucket / 'b')
    copy_file(bucket / 'b', bucket / 'c')
    copy_file(bucket / 'c', tmp_path / 'd')
    assert (tmp_path / 'd').read_text() == 'text'
    upload_folder(tmp_path, bucket / 'all')
    assert sorted(path.name for path in (bucket / 'all').iterdir()) == ['a', 'd']


def test_a_folder_is_moved_with_all_that_it_holds(folder):
    if not is_remote(folder):
        (folder / 'old' / 'inner').mkdir(parents=True)
    write_whole(folder / 'old' / 'a', 'one')
    write_whole(folder / 'old' / 'inner' / 'a', 'two')
    move_folder(folder / 'old', folder / 'new')
    assert [path.name for path in folder.iterdir()] == ['new']
    assert (folder / 'new' / 'inner' / 'a').read_bytes() == b'two'


def test_a_folder_is_removed_and_may_be_missing(folder):
    write_whole(folder / 'a', 'text')
    remove_folder(folder)
    remove_folder(folder)
    assert not folder.exists()
