"""The kind of a media file: a picture, a film or a sound, by its content."""

import contextlib
import os

from PIL import UnidentifiedImageError

from mer_jax.data.media.container import (
    MediaError,
    is_still,
    open_container,
    open_picture,
    reading,
)
from mer_jax.data.media.tracks import film_track, sound_track


def kind_of_file(path: str | os.PathLike) -> str:
    """'image', 'video' or 'audio', by the content of a file and not by its name.

    An animated picture is an image. MediaError for a file of no such kind.
    """
    with reading(path) as file:
        if is_still(file):
            return 'image'
        with contextlib.suppress(UnidentifiedImageError), open_picture(file):
            return 'image'
        with open_container(file) as container:
            if film_track(container):
                return 'video'
            if sound_track(container):
                return 'audio'
        raise MediaError('holds neither a picture nor sound')
