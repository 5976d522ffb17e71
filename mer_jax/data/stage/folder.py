"""The folder into which clips of the embedded stage are written."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(out: Path, clips: int) -> Iterator[None]:
    """Makes a folder for a number of clips; it is removed if writing them fails.

    ValueError if it is in use or there are no clips to write.
    """
    if clips < 1:
        raise ValueError(f'clips={clips}: there must be at least one clip to write')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f'out={str(out)!r} must be a new or an empty folder')
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(out)  # a partial folder would block the next attempt
        raise
