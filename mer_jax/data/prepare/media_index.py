"""The media files below a folder, found by path, by name, or by name without its ending."""

import collections
import os
from collections.abc import Sequence
from pathlib import PurePath

from mer_jax.data.benchmarks.files import FILM, PICTURE, SOUND, walk_once

ENDINGS = {
    'video': (*FILM, '.m4v', '.mpg', '.mpeg', '.wmv', '.ts', '.3gp'),
    'audio': (*SOUND, '.aac', '.opus'),
    'image': (*PICTURE, '.gif', '.tif', '.tiff', '.heic', '.avif'),
}
HIDDEN = ('.', '__MACOSX')


def kind_of_name(name: str) -> str | None:
    """'video', 'audio' or 'image', by the ending of a name; None for any other."""
    ending = os.path.splitext(name)[1].lower()
    return next((kind for kind, endings in ENDINGS.items() if ending in endings), None)


class MediaIndex:
    """All media files below a folder; names are compared as they are written."""

    def __init__(self, folder: str | os.PathLike, also: str | os.PathLike = ''):
        self.folder = os.fspath(folder)
        self.also = os.fspath(also)  # a second folder, of which files are found by path alone
        self.files: list[str] = []
        self._by_name = collections.defaultdict(list)
        self._by_stem = collections.defaultdict(list)
        for parent, names in walk_once([self.folder], HIDDEN):
            for name in names:
                if not name.startswith(HIDDEN) and kind_of_name(name):
                    self._add(os.path.join(parent, name))

    def _add(self, path: str) -> None:
        name = os.path.basename(path)
        self.files.append(path)
        self._by_name[name].append(path)
        self._by_stem[os.path.splitext(name)[0]].append(path)

    def find(self, value: str, kinds: Sequence[str], beside: str = '') -> str | None:
        """The path of the file that a cell names, of one of these kinds; None if there is none.

        The cell is a path from the folder or from `beside`, a path on another machine whose last
        parts are the same, or a name with or without its ending. ValueError for an address, and for
        a name that several files have.
        """
        value = value.strip().replace('\\', '/')
        if '://' in value:
            raise ValueError(f'{value!r:.99} is an address: download the file and name its path')
        parts = PurePath(value).parts
        for folder in (beside, self.folder):
            path = os.path.normpath(os.path.join(folder, value))
            if self._holds(path) and kind_of_name(path) in kinds and os.path.isfile(path):
                return path
        name = parts[-1] if parts else ''
        same = self._by_name.get(name) or self._by_stem.get(name, [])
        same = [path for path in same if kind_of_name(path) in kinds]
        return _closest(value, parts, same) if same else None

    def _holds(self, path: str) -> bool:
        """Whether a path is below one of the folders."""
        folders = [os.path.normpath(folder) for folder in (self.folder, self.also) if folder]
        return any(path.startswith(os.path.join(folder, '')) for folder in folders)


def _closest(value: str, parts: Sequence[str], paths: Sequence[str]) -> str:
    """The one of the paths that shares most of the last folders with the parts of a value."""
    wanted = parts[-2::-1]
    scores = []
    for path in paths:
        folders = PurePath(path).parts[-2::-1]
        shared = 0
        while shared < min(len(wanted), len(folders)) and wanted[shared] == folders[shared]:
            shared += 1
        scores.append(shared)
    best = [path for path, score in zip(paths, scores, strict=True) if score == max(scores)]
    if len(best) > 1:
        raise ValueError(
            f'{value!r:.99} may be {best[0]} or {best[1]}: name the path from the folder'
        )
    return best[0]
