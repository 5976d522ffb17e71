"""Paths of local files and of buckets, and errors of buckets as messages of one line.

A local path is a `pathlib.Path`. A path with a scheme, such as gs://bucket/run, is an
`etils.epath.Path`, which has the same methods; libraries for buckets are imported with the first
one.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import pathlib
from collections.abc import Iterator

from mer_jax.errors import one_line

SCHEMES = ('gs://', 's3://', 'az://', 'hf://')  # that epath knows
CONNECT_SECONDS, SILENT_SECONDS = 10, 30  # after which a request is tried again
FORBIDDEN = ('Forbidden', 'PERMISSION_DENIED', 'UNAUTHENTICATED', 'Unauthorized')
UNANSWERED = ('UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED')  # of TensorStore, after its retries
CLIENTS = ('aiohttp', 'fsspec', 'gcsfs', 'google', 'requests')  # packages with errors of their own


class StorageError(Exception):
    """A bucket refuses a request or does not answer; the message names the path and the way out.

    It is no OSError, so that code that skips a file that is damaged or missing does not skip it.
    """


def path_of(text: str | os.PathLike) -> pathlib.Path:
    """The path that a text names; StorageError for a scheme that cannot be read here."""
    if not is_remote(text):
        if '://' in os.fspath(text):
            raise StorageError(
                f'{text}: a path must be local or begin with one of {", ".join(SCHEMES)}; copy the '
                'files to a place of either kind'
            )
        return pathlib.Path(text)
    _prepare()
    if str(text).startswith('gs://') and not importlib.util.find_spec('gcsfs'):
        raise StorageError(
            f'{text}: a bucket needs gcsfs, which is not installed; '
            'pip install -r requirements-gcs.txt'
        )
    from etils import epath

    return epath.Path(text)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path lies in a bucket."""
    return os.fspath(path).startswith(SCHEMES)


def absolute(path: pathlib.Path) -> pathlib.Path:
    """A path that does not depend on the working directory; links are not resolved."""
    return path if is_remote(path) else path.absolute()


@functools.cache
def _prepare() -> None:
    """Sets the time limits of the libraries for buckets, before they are first used.

    gcsfs tries a request six times. Listings are not cached: other processes write too.
    """
    os.environ.setdefault('EPATH_USE_TF', '0')  # else epath takes TensorFlow where it finds it
    os.environ.setdefault('TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS', str(CONNECT_SECONDS))
    os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS', str(SILENT_SECONDS))
    os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES', '1')
    if not importlib.util.find_spec('gcsfs'):
        return
    import aiohttp
    import fsspec

    for name in ('gcsfs', 'absl'):  # gcsfs and Orbax log the errors that they raise, with traces
        logging.getLogger(name).setLevel(logging.CRITICAL)
    limits = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
    )
    ours = {'requests_timeout': limits, 'use_listings_cache': False}
    fsspec.config.conf['gcs'] = ours | fsspec.config.conf.get('gcs', {})


def file_system(path: str | os.PathLike):
    """The fsspec file system of a path in a bucket."""
    import fsspec

    _prepare()
    return fsspec.core.url_to_fs(os.fspath(path))[0]


def check_bucket(path: pathlib.Path) -> None:
    """Raises StorageError if the bucket of a path does not exist or cannot be listed."""
    if str(path).startswith('gs://'):
        bucket = str(path).removeprefix('gs://').partition('/')[0]
        with naming(path):
            try:
                file_system(path).call('GET', 'b/{}/o', bucket, maxResults=1)
            except FileNotFoundError:
                raise StorageError(
                    f'{path}: there is no bucket {bucket!r}; create it, or name another'
                ) from None


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Turns errors of a bucket in the block into one that begins with this path.

    FileNotFoundError for a missing object, StorageError for all others. Errors that name a path
    already, and errors of a local path, stay as they are.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        if isinstance(error, FileNotFoundError):
            if error.errno or str(error).startswith(SCHEMES):  # a local file, or named already
                raise
            raise FileNotFoundError(f'{path}: there is no such object or bucket') from error
        if reason := reason_of(error):
            raise StorageError(f'{path}: {reason}') from error
        raise


def reason_of(error: Exception) -> str | None:
    """The reason for an error of a bucket, and a way out; None for any other error."""
    text = one_line(error)
    code = str(vars(error).get('code', ''))
    if code in ('401', '403') or any(word in text for word in FORBIDDEN):
        return (
            'this account has no right to do that in the bucket; grant it '
            'roles/storage.objectAdmin there, log in with gcloud auth application-default login, '
            f'or name another path ({text})'
        )
    of_client = type(error).__module__.partition('.')[0] in CLIENTS
    if of_client or isinstance(error, TimeoutError) or any(word in text for word in UNANSWERED):
        return (
            'the bucket does not answer, after several tries; the same command resumes once it '
            f'does ({text})'
        )
    return None
