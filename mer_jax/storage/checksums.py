"""Contents of many files by size and checksum, local and in buckets, without reading them whole."""

import concurrent.futures
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterable, Mapping

from mer_jax.storage.paths import file_system, is_remote, naming

END = 1 << 20  # bytes at the beginning, and at the end, of a file that are hashed
THREADS = 32
FEW = 8  # objects of a folder up to which each is asked for; more are listed together
SETTLED = 2_000_000_000  # nanoseconds after which a change to a file shows in its times


@dataclasses.dataclass(frozen=True)
class Content:
    """The content of a file, as far as it is known without reading all of it."""

    size: int
    checksum: str  # 'sha256:…' of both ends of a file, that of a bucket, or ''
    version: str = ''  # times or generation: while they stay, so does the checksum; '' if unsettled

    def is_that_of(self, other: 'Content') -> bool:
        """Whether both files hold the same, as far as checksums of one kind can tell."""
        kinds = {one.checksum.partition(':')[0] for one in (self, other)}
        comparable = len(kinds) == 1
        return self.size == other.size and (not comparable or self.checksum == other.checksum)

    def __str__(self) -> str:
        return f'{self.size:,} bytes, {self.checksum or "no checksum"}'


def contents_of_files(
    paths: Iterable[str], known: Mapping[str, Content] | None = None
) -> dict[str, Content | None]:
    """The content of each file, None if it is missing.

    `known` are contents found earlier: files whose size and times are still the same are not read.
    Objects of a bucket are listed folder by folder, a request for 1,000 of them.
    """
    paths, known = list(dict.fromkeys(paths)), known or {}
    local = [path for path in paths if not is_remote(path)]
    remote = [path for path in paths if is_remote(path)]
    folders: dict[str, list[str]] = {}
    for path in remote:
        folders.setdefault(path.rpartition('/')[0], []).append(path)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        found = dict(
            zip(local, pool.map(lambda path: _local(path, known.get(path)), local), strict=True)
        )
        for part in pool.map(lambda item: _listed(*item), folders.items()):
            found |= part
    return found


def _local(path: str, known: Content | None) -> Content | None:
    """The content of a local file; None if it cannot be read."""
    try:
        stat = os.stat(path)
        version = f'{stat.st_mtime_ns} {stat.st_ctime_ns}'
        if known and (known.size, known.version) == (stat.st_size, version):
            return known
        digest = digest_of_ends(path, stat.st_size)
    except OSError:
        return None
    settled = time.time_ns() - stat.st_ctime_ns > SETTLED
    return Content(stat.st_size, f'sha256:{digest}', version if settled else '')


def digest_of_ends(path: str, size: int) -> str:
    """A hash of the beginning and the end of a file: 16 hexadecimal digits."""
    with open(path, 'rb') as file:
        held = hashlib.sha256(file.read(END))
        file.seek(max(END, size - END))
        held.update(file.read(END))
    return held.hexdigest()[:16]


def _listed(folder: str, paths: list[str]) -> dict[str, Content | None]:
    """The contents of objects of one folder of a bucket."""
    files, scheme = file_system(folder), folder.partition('://')[0]
    if len(paths) <= FEW:
        return {path: _asked(files, path) for path in paths}
    try:
        with naming(folder):
            listed = files.ls(folder, detail=True)
    except FileNotFoundError:
        listed = []
    found = {f'{scheme}://{info["name"]}': info for info in listed if info['type'] == 'file'}
    return {path: _of_object(found[path]) if path in found else None for path in paths}


def _asked(files, path: str) -> Content | None:
    """The content of one object."""
    try:
        with naming(path):
            return _of_object(files.info(path))
    except FileNotFoundError:
        return None


def _of_object(info: Mapping) -> Content:
    """The content of an object as its bucket describes it."""
    names = ('crc32c', 'crc32c'), ('md5Hash', 'md5'), ('ETag', 'etag')
    checksums = [f'{kind}:{info[name]}' for name, kind in names if info.get(name)]
    version = info.get('generation') or info.get('ETag') or ''
    return Content(info['size'], checksums[0] if checksums else '', str(version))
