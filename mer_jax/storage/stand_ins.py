"""Files that a download leaves in place of the real ones: git-lfs pointers and web pages."""

import pathlib

POINTER = b'version https://git-lfs.github.com/spec/'
PAGES = (b'<!doctype html', b'<html')
BEGIN = 64  # bytes by which either is recognised


def refuse_stand_in(path: pathlib.Path, data: bytes) -> None:
    """Raises ValueError if a file begins with `data` as a git-lfs pointer or a web page does."""
    if data.startswith(POINTER):
        raise ValueError(
            f'{path} is a git-lfs pointer of a few lines, not the file itself: run git lfs pull in '
            'its folder, or download the file again, e.g. with huggingface-cli download'
        )
    if data[:BEGIN].lstrip().lower().startswith(PAGES):
        raise ValueError(
            f'{path} is a web page, not the file itself: download the file again, from the address '
            'with /resolve/ in place of /blob/, or with huggingface-cli download'
        )
