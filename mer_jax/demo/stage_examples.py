"""Held-out clips of the embedded stage as media files, examples on the page."""

import pathlib

from PIL import Image

from mer_jax.data.stage.film import write_film
from mer_jax.data.stage.picture import PICTURES, picture
from mer_jax.data.stage.stage import film

SPLIT, SEED = 'test', 1


def write_examples(folder: pathlib.Path, count: int, stage: str) -> list[tuple[str, str]]:
    """Writes clips of the kind that config.data.stage names; (path, subtitle) of each.

    They are of the split that is never trained on. Films are written where the name is unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for index in range(count):
        if stage in PICTURES:
            clip = picture(SEED, SPLIT, index, stage)
            path = folder / f'{clip.id}.png'
            Image.fromarray(clip.image).save(path)
        else:
            clip = film(SEED, SPLIT, index)
            path = folder / f'{clip.id}.mp4'
            write_film(path, clip)
        found.append((str(path), clip.subtitle))
    return found
