"""Short digests that change when clips or their media files change."""

import hashlib
import zlib
from collections.abc import Sequence

from mer_jax.data.clips import Clip
from mer_jax.storage.objects import read_range, size_of, version_of

HEAD = 1 << 16  # bytes at the beginning of a file
END = 1 << 20  # bytes at each end of a file


def content_of_clips(clips: Sequence[Clip], files: bool = False) -> str:
    """Eight hex digits of ids, texts shown, gold words and sources; with `files`, of files too."""
    crc = 0
    for clip in clips:
        stats = [file_stat(file) for file in clip.media if files and isinstance(file, str)]
        about = clip.id, clip.subtitle, clip.words, stats
        # Clips without a source or a question of their own keep their digest.
        about += (clip.source,) if clip.source else ()
        about += ('question', clip.question) if clip.question else ()
        crc = zlib.crc32(repr(about).encode(), crc)
    return f'{crc:08x}'


def file_stat(file: str) -> tuple[str, int, int | str] | tuple[str]:
    """A path with size and time, or generation, of its file; the path alone if it is missing."""
    try:
        return (file, *version_of(file))
    except OSError:
        return (file,)


def file_content(file: str) -> str | None:
    """Size and hash of the beginning of a file, the same wherever it is; None if it is missing."""
    try:
        head, size = read_range(file, 0, HEAD), size_of(file)
    except OSError:
        return None
    return f'{size}-{hashlib.sha256(head).hexdigest()[:16]}'


def file_ends(file: str) -> str | None:
    """Size and hash of both ends of a file, a MiB each, the same wherever it is; None if missing.

    Films of one encoder may share their first bytes; `file_content` is kept for its short reads.
    """
    try:
        size = size_of(file)
        ends = read_range(file, 0, END) + read_range(file, max(size - END, min(size, END)), size)
    except OSError:
        return None
    return f'{size}-{hashlib.sha256(ends).hexdigest()[:16]}'
