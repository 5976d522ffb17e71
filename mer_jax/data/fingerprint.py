"""Short digests that change when clips or their media files change."""

import os
import zlib
from collections.abc import Sequence

from mer_jax.data.clips import Clip


def content_of_clips(clips: Sequence[Clip], files: bool = False) -> str:
    """Eight hex digits of ids, texts shown and gold words; with `files`, of media files too."""
    crc = 0
    for clip in clips:
        stats = [file_stat(file) for file in clip.media if files and isinstance(file, str)]
        about = (clip.id, clip.subtitle, clip.words, stats)
        if clip.question:  # without one the digest is that of earlier releases
            about = (*about, clip.question)
        crc = zlib.crc32(repr(about).encode(), crc)
    return f'{crc:08x}'


def file_stat(file: str) -> tuple[str, int, int] | tuple[str]:
    """A path with the size and the time of its file; the path alone if the file is missing."""
    try:
        stat = os.stat(file)
    except OSError:
        return (file,)
    return (file, stat.st_size, stat.st_mtime_ns)
