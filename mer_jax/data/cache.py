"""What frozen towers make of media files, kept on disk: later epochs neither decode nor look."""

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

log = logging.getLogger(__name__)


class FeatureCache:
    """Prompts with the features of their media, a file each, named after all they depend on.

    `identity` says what the features depend on besides the clip: the weights of the towers and how
    prompts are written. A media file that changes its size or time counts as another file.
    """

    def __init__(self, folder: str | os.PathLike, identity: str):
        self.folder, self.identity = pathlib.Path(folder), identity
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, clip: Clip) -> pathlib.Path | None:
        """Where the prompt of a clip is kept; None for one that is not all files."""
        if not clip.media or any(isinstance(medium, np.ndarray) for medium in clip.media):
            return None
        about = [file_stat(file) for file in clip.media]
        name = hashlib.sha256(repr((self.identity, about, clip.subtitle)).encode()).hexdigest()
        return self.folder / f'{name[:32]}.safetensors'

    def load(self, clip: Clip) -> Prompt | None:
        """The prompt of a clip with its features, None if there is none that can be read."""
        try:
            path = self.path(clip)
            if path is None or not path.exists():
                return None
            held = safetensors.numpy.load_file(path)
            start, next_position = held['ends'].tolist()
        except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
            log.warning('clip %s: its features are computed anew (%s)', clip.id, error)
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
        """Keep the prompt of a clip and the features of its media tokens, in their order."""
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
        draft = path.with_suffix(f'.{os.getpid()}.{threading.get_ident()}.tmp')
        safetensors.numpy.save_file(held, draft)
        os.replace(draft, path)


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
