"""Files that are written whole or line by line, and copies of objects, in folders and buckets."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator

from mer_jax.storage.paths import StorageError, file_system, is_remote, naming, path_of

UPLOAD_SECONDS = 10  # between two uploads of an object that grows by lines
MOST_SCRATCH = 1 << 32  # bytes of an object that is copied to the local disk
BESIDE_WEIGHTS = ('.json', '.txt', '.jinja', '.model')  # endings of the small files of a checkpoint


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file completely or not at all."""
    data = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        with naming(path), _lock:
            file_system(path).pipe_file(str(path), data)
            _grown.pop(str(path), None)
        return
    draft = path.with_name(path.name + '.tmp')
    draft.write_bytes(data)
    os.replace(draft, path)


def create_whole(path: pathlib.Path, content: str) -> bool:
    """Writes a file completely if there is none; False if there is one.

    Of several processes that create one file at the same time, one succeeds. In a bucket this needs
    a server with preconditions, which Google's is.
    """
    if not is_remote(path):
        draft = path.with_name(f'{path.name}.{uuid.uuid4().hex}.tmp')
        draft.write_text(content, encoding='utf-8')
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            return _create(path, content)
        finally:
            draft.unlink()
        return True
    with naming(path):
        if path.exists():
            return False
        try:
            file_system(path).pipe_file(str(path), content.encode(), mode='create')
        except Exception as error:  # each client has errors of its own
            if str(vars(error).get('code')) != '412' and not isinstance(error, FileExistsError):
                raise
            return False
    return True


def _create(path: pathlib.Path, content: str) -> bool:
    """Writes a file if there is none; a reader may see it before it is complete."""
    try:
        with path.open('x', encoding='utf-8') as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@dataclasses.dataclass
class _Grown:
    """An object to which this process appends: an object cannot grow, so it is written anew."""

    data: bytes
    sent: float  # when it was read or written last
    due: bool = False  # lines have come since


_grown: dict[str, _Grown] = {}
_lock = threading.RLock()


def append(path: pathlib.Path, text: str) -> None:
    """Appends to a file, at once; to an object of a bucket with the next upload.

    An object is written whole, at most every UPLOAD_SECONDS and by `upload_lines`. Meanwhile the
    text in memory counts: `contents` returns it.
    """
    if not is_remote(path):
        with path.open('a', encoding='utf-8') as file:
            file.write(text)
        return
    with _lock:
        if str(path) not in _grown:
            _grown[str(path)] = _Grown(contents(path), time.monotonic())
        grown = _grown[str(path)]
        grown.data += text.encode()
        grown.due = True
        if time.monotonic() - grown.sent >= UPLOAD_SECONDS:
            _upload(str(path), grown)


def upload_lines() -> None:
    """Uploads all lines that were appended to objects since their last upload."""
    with _lock:
        for path, grown in _grown.items():
            if grown.due:
                _upload(path, grown)
        _grown.clear()


@contextlib.contextmanager
def uploading_lines() -> Iterator[None]:
    """Uploads the lines that the block has appended when it ends, with an error too.

    Not with an error of a bucket: the upload would fail as well, after long.
    """
    try:
        yield
    except StorageError:
        raise
    except BaseException:
        upload_lines()
        raise
    upload_lines()


def _upload(path: str, grown: _Grown) -> None:
    """Writes an object with all its lines."""
    with naming(path):
        file_system(path).pipe_file(path, grown.data)
    grown.sent, grown.due = time.monotonic(), False


def contents(path: pathlib.Path) -> bytes:
    """All bytes of a file that this process may append to; none if there is no file."""
    with _lock, naming(path):
        if str(path) in _grown:
            return _grown[str(path)].data
        return path.read_bytes() if path.exists() else b''


def size_of(path: str | os.PathLike) -> int:
    """The bytes of a file; FileNotFoundError if there is none."""
    if not is_remote(path):
        return os.stat(path).st_size
    with naming(path):
        return file_system(path).size(os.fspath(path))


def read_range(path: str | os.PathLike, begin: int, end: int) -> bytes:
    """The bytes of a file from `begin` to before `end`, fewer if it is shorter."""
    if not is_remote(path):
        with open(path, 'rb') as file:
            file.seek(begin)
            return file.read(end - begin)
    with naming(path):
        return file_system(path).cat_file(os.fspath(path), begin, end) if end > begin else b''


def version_of(path: str | os.PathLike) -> tuple:
    """Size and time of a file, or size and generation of an object: other contents differ in it."""
    if not is_remote(path):
        stat = os.stat(path)
        return stat.st_size, stat.st_mtime_ns
    with naming(path):
        about = file_system(path).info(os.fspath(path))
    return about['size'], str(about.get('generation') or about.get('ETag') or about.get('mtime'))


@contextlib.contextmanager
def local_copy(path: str | os.PathLike) -> Iterator[str | os.PathLike]:
    """A local path of a file: its own, or that of a copy that is removed after the block.

    FileNotFoundError or StorageError if an object cannot be read or exceeds MOST_SCRATCH.
    """
    if not is_remote(path):
        yield path
        return
    size = size_of(path)
    if size > MOST_SCRATCH:
        raise StorageError(
            f'{path}: has {size} bytes, and at most {MOST_SCRATCH} are copied to the local disk; '
            'cut it into smaller files'
        )
    with tempfile.TemporaryDirectory(prefix='mer_jax_') as folder:
        copy = os.path.join(folder, pathlib.PurePath(path).name)
        with naming(path):
            file_system(path).get_file(os.fspath(path), copy)
        yield copy


@contextlib.contextmanager
def local_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A local folder with the small files of a checkpoint, which is removed after the block.

    A folder that is local already is itself, with all its files.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix='mer_jax_') as held:
        with naming(folder):
            for path in sorted(folder.iterdir()):
                if path.suffix in BESIDE_WEIGHTS:
                    copy_file(path, pathlib.Path(held) / path.name)
        yield pathlib.Path(held)


def copy_file(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file, from or to a bucket through memory."""
    if is_remote(source) or is_remote(target):
        with naming(source):
            data = source.read_bytes()
        write_whole(target, data)
    else:
        shutil.copyfile(source, target)


def upload_folder(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Writes all files below a local folder to a bucket."""
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            write_whole(path_of(target / path.relative_to(folder)), path.read_bytes())


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder and those above it; a bucket has none, only names of objects."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def file_names(folder: pathlib.Path) -> list[str]:
    """The names of all files below a folder, relative to it, in order."""
    if not is_remote(folder):
        found = (path for path in folder.rglob('*') if not path.is_dir())
        return sorted(path.relative_to(folder).as_posix() for path in found)
    inside = str(folder).partition('://')[2].rstrip('/') + '/'
    with naming(folder):
        return sorted(name.removeprefix(inside) for name in file_system(folder).find(str(folder)))


def move_folder(source: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a folder; in a bucket its objects are copied, then removed."""
    if not is_remote(source):
        source.rename(target)
        return
    files, inside = file_system(source), str(source).partition('://')[2]
    with naming(source):
        for name in files.find(str(source)):
            files.cp_file(name, f'{target}{name.removeprefix(inside)}')
    remove_folder(source)


def move_file(source: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a file, if it exists; in a bucket it is copied, then removed."""
    if not source.exists():
        return
    if is_remote(source):
        copy_file(source, target)
        remove_file(source)
    else:
        source.rename(target)


def remove_file(path: pathlib.Path) -> None:
    """Removes a file, if it exists."""
    with naming(path):
        path.unlink(missing_ok=True)


def remove_folder(folder: pathlib.Path) -> None:
    """Removes a folder with all that it holds, if it exists."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with naming(folder):
        folder.rmtree(missing_ok=True)
