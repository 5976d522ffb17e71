"""Features that frozen towers computed from media files, kept on disk for later epochs."""

import dataclasses
import hashlib
import logging
import os
import pathlib
import threading
import zlib

import numpy as np
import safetensors
import safetensors.numpy

from mer_jax.data.clips import Clip
from mer_jax.data.fingerprint import file_stat
from mer_jax.data.prompts import Prompt
from mer_jax.errors import one_line
from mer_jax.storage.objects import local_copy, make_folder, write_whole
from mer_jax.storage.paths import is_remote, naming, path_of

UNREADABLE = (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError)

log = logging.getLogger(__name__)


class FeatureCache:
    """Prompts with the features of their media, one file each, named by a hash of their origin.

    The hash covers the clip and `identity`, which must name everything else that the features
    depend on: the weights of the towers and the settings of prompts. A media file whose size or
    time has changed counts as another file. An entry holds a checksum of its arrays; a damaged one
    is named, counted, and written again once its features are computed.
    """

    def __init__(self, folder: str | os.PathLike, identity: str):
        self.folder, self.identity = path_of(folder), identity
        self.damaged: set[str] = set()  # ids of clips
        self.refused = False  # whether an entry could not be written
        make_folder(self.folder)

    def path(self, clip: Clip) -> pathlib.Path | None:
        """The cache file of a clip; None if it has no media, or media in arrays."""
        if not clip.media or any(isinstance(medium, np.ndarray) for medium in clip.media):
            return None
        about = [file_stat(file) for file in clip.media]
        texts = (clip.subtitle, clip.question) if clip.question else (clip.subtitle,)
        name = hashlib.sha256(repr((self.identity, about, *texts)).encode()).hexdigest()
        return self.folder / f'{name[:32]}.safetensors'

    def load(self, clip: Clip) -> Prompt | None:
        """The prompt of a clip with its features; None if it is not kept or cannot be read."""
        try:
            path = self.path(clip)
            if path is None:
                return None
            with naming(path):
                if not path.exists():
                    return None
                return prompt_of(clip, load_arrays(path))
        except UNREADABLE as error:
            self.damaged.add(clip.id)
            told = 'clip %s: its features are computed again (%d so far): %s'
            log.warning(told, clip.id, len(self.damaged), one_line(error))
            return None

    def save(self, clip: Clip, prompt: Prompt, feature_rd: np.ndarray) -> None:
        """Keeps the prompt of a clip and the features of its media tokens, in their order."""
        path = self.path(clip)
        if path is None:
            return
        held = {
            'token': prompt.token,
            'position': np.ascontiguousarray(prompt.position),
            'shown': prompt.place >= 0,
            'ends': np.array([prompt.start, prompt.next_position]),
            'feature': np.ascontiguousarray(feature_rd),
        }
        held['sum'] = sum_of(held)
        if is_remote(path):
            write_whole(path, safetensors.numpy.save(held))
            return
        draft = path.with_suffix(f'.{os.getpid()}.{threading.get_ident()}.tmp')
        try:
            safetensors.numpy.save_file(held, draft)
            os.replace(draft, path)
        except (OSError, safetensors.SafetensorError) as error:
            draft.unlink(missing_ok=True)
            if not self.refused:
                log.warning('%s: features are not kept (%s)', self.folder, one_line(error))
            self.refused = True


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an entry; ValueError if they do not agree with its checksum."""
    with local_copy(path) as file:  # `load`, of bytes, does not know bfloat16
        held = safetensors.numpy.load_file(file)
    kept = held.pop('sum', None)
    if kept is None:
        raise ValueError(f'{path}: has no checksum, so an earlier version wrote it')
    if kept != sum_of(held):
        raise ValueError(f'{path}: is damaged, its content does not agree with its checksum')
    return held


def sum_of(held: dict[str, np.ndarray]) -> np.ndarray:
    """The checksum u32[1] of the names, types, shapes and contents of arrays."""
    number = 0
    for name, array in sorted(held.items()):
        number = zlib.crc32(repr((name, array.dtype.name, array.shape)).encode(), number)
        number = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), number)
    return np.array([number], np.uint32)


def prompt_of(clip: Clip, held: dict[str, np.ndarray]) -> Prompt:
    """The prompt of a clip, from the arrays of its entry."""
    start, next_position = held['ends'].tolist()
    shown = held['shown']
    return dataclasses.replace(
        EMPTY,
        id=clip.id,
        token=held['token'],
        position=held['position'],
        start=start,
        next_position=next_position,
        place=np.where(shown, np.cumsum(shown) - 1, -1).astype(np.int32),
        feature=held['feature'],
    )


EMPTY = Prompt(
    id='',
    token=np.zeros(0, np.int32),
    position=np.zeros((3, 0), np.int32),
    start=0,
    next_position=0,
    patch=np.zeros((0, 0, 0), np.float32),
    patch_mask=np.zeros((0, 0), bool),
    patch_row_col=np.zeros((0, 0, 2), np.int32),
    sound=np.zeros((0, 0, 0), np.float32),
    sound_length=np.zeros(0, np.int32),
    sound_pair=np.zeros((0, 2), np.int32),
    place=np.zeros(0, np.int32),
)
