"""Features that frozen towers computed from media files, kept on disk for later epochs."""

import dataclasses
import hashlib
import logging
import os
import pathlib
import threading

import numpy as np
import safetensors
import safetensors.numpy

from mer_jax.data.clips import Clip
from mer_jax.data.fingerprint import file_stat
from mer_jax.data.prompts import Prompt
from mer_jax.storage.objects import make_folder, write_whole
from mer_jax.storage.paths import is_remote, naming, path_of

log = logging.getLogger(__name__)


class FeatureCache:
    """Prompts with the features of their media, one file each, named by a hash of their origin.

    The hash covers the clip and `identity`, which must name everything else that the features
    depend on: the weights of the towers and the settings of prompts. A media file whose size or
    time has changed counts as another file.
    """

    def __init__(self, folder: str | os.PathLike, identity: str):
        self.folder, self.identity = path_of(folder), identity
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
                held = load_arrays(path)
            start, next_position = held['ends'].tolist()
        except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
            log.warning('clip %s: its features are computed again (%s)', clip.id, error)
            return None
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
        if is_remote(path):
            write_whole(path, safetensors.numpy.save(held))
            return
        draft = path.with_suffix(f'.{os.getpid()}.{threading.get_ident()}.tmp')
        safetensors.numpy.save_file(held, draft)
        os.replace(draft, path)


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file."""
    if is_remote(path):
        return safetensors.numpy.load(path.read_bytes())
    return safetensors.numpy.load_file(path)


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
