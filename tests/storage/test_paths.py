"""Local paths cost no import, and errors of a bucket are one line with the path and a way out."""

import pathlib
import subprocess
import sys
import types

import aiohttp
import bucket_server as faults
import pytest
from programs import ROOT

from mer_jax.storage import paths
from mer_jax.storage.objects import contents, write_whole
from mer_jax.storage.paths import (
    StorageError,
    check_bucket,
    file_system,
    is_remote,
    naming,
    path_of,
)


@pytest.fixture
def impatient(monkeypatch):
    """Lets gcsfs try again without a pause."""

    async def sleep(_):
        return None

    monkeypatch.setattr('gcsfs.retry.asyncio', types.SimpleNamespace(sleep=sleep))


def raised_by(function, *arguments):
    """The message of the StorageError that a call raises; it must be one line."""
    with pytest.raises(StorageError) as caught:
        function(*arguments)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_local_path_is_a_path_of_python_and_imports_no_client_of_buckets():
    code = (
        'import pathlib, sys; from mer_jax.storage import objects, paths; '
        'path = paths.path_of("a/b"); assert type(path) is type(pathlib.Path()); '
        'objects.contents(path); paths.check_bucket(path); '
        'print([name for name in ("etils", "fsspec", "gcsfs") if name in sys.modules])'
    )
    said = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout == '[]\n', said.stderr


def test_a_path_of_a_bucket_keeps_its_scheme():
    path = path_of('gs://bucket/run') / 'train'
    assert str(path) == 'gs://bucket/run/train' and is_remote(path)
    assert str(paths.absolute(path)) == str(path)
    assert paths.absolute(pathlib.Path('run')).is_absolute()


def test_a_scheme_that_cannot_be_read_is_named():
    said = raised_by(path_of, 'ftp://host/run')
    assert said.startswith('ftp://host/run: ') and 'gs://' in said


def test_a_bucket_without_gcsfs_says_what_to_install(monkeypatch):
    monkeypatch.setattr(paths.importlib.util, 'find_spec', lambda name: None)
    said = raised_by(path_of, 'gs://bucket/run')
    assert 'gs://bucket/run' in said and 'pip install -r requirements-gcs.txt' in said


def test_a_bucket_that_does_not_exist_is_named(bucket_server):
    said = raised_by(check_bucket, path_of('gs://no-such-bucket/run'))
    assert said.startswith("gs://no-such-bucket/run: there is no bucket 'no-such-bucket'")


def test_a_missing_object_is_a_missing_file(bucket):
    with pytest.raises(FileNotFoundError, match=f'^{bucket}/none: there is no such object'):
        with naming(bucket / 'none'):
            (bucket / 'none').read_bytes()
    assert contents(bucket / 'none') == b''


def test_errors_of_local_files_stay_as_they_are_beside_a_bucket(bucket, tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)), naming(bucket):
        (tmp_path / 'none').read_bytes()


@pytest.mark.parametrize('verb', ['GET', 'POST'])
def test_a_missing_right_names_the_path_and_the_role(bucket_server, bucket, verb):
    write_whole(bucket / 'a', 'text')
    with bucket_server.failing(f'^{verb} ', faults.forbidden):
        calls = {'GET': (contents, bucket / 'a'), 'POST': (write_whole, bucket / 'a', 'new')}
        said = raised_by(*calls[verb])
    assert said.startswith(f'{bucket}/a: ') and 'roles/storage.objectAdmin' in said
    assert contents(bucket / 'a') == b'text'


@pytest.mark.parametrize('fault', [faults.dropped, faults.unavailable])
def test_a_server_that_fails_is_asked_six_times_and_then_named(
    bucket_server, bucket, fault, impatient
):
    with bucket_server.failing('^POST ', fault):
        said = raised_by(write_whole, bucket / 'a', 'text')
    assert said.startswith(f'{bucket}/a: the bucket does not answer') and 'resumes' in said
    assert sum(request.startswith('POST') for request in bucket_server.requests) == 6


def test_a_server_that_fails_once_is_asked_again(bucket_server, bucket, impatient):
    left = [faults.dropped, faults.unavailable]
    with bucket_server.failing('^POST ', lambda handler: not left or left.pop()(handler)):
        write_whole(bucket / 'a', 'text')
    assert contents(bucket / 'a') == b'text'


def test_a_silent_server_is_not_waited_for_without_end(
    bucket_server, bucket, impatient, monkeypatch
):
    limits = file_system(bucket).requests_timeout
    assert (limits.sock_connect, limits.sock_read) == (10, 30)
    short = aiohttp.ClientTimeout(sock_read=0.05)
    monkeypatch.setattr(file_system(bucket), 'requests_timeout', short)
    with bucket_server.failing('^POST ', faults.silent(0.2)):
        said = raised_by(write_whole, bucket / 'a', 'text')
    assert 'does not answer' in said


def test_other_errors_pass(bucket):
    with pytest.raises(ValueError, match='^other$'), naming(bucket):
        raise ValueError('other')
