"""Pictures of the embedded stage, drawn: a face and a scenery side by side, in two styles."""

from typing import NamedTuple

import numpy as np

from mer_jax.data.stage import scenery_away, scenery_home
from mer_jax.data.stage.brush import SIZE
from mer_jax.data.stage.face import PALETTE, Look, Palette, looks, person, portrait
from mer_jax.data.stage.words import Feeling

SECONDS = 2.0  # the moment of the face is drawn from this time


class Style(NamedTuple):
    """How the pictures of a domain are drawn."""

    palette: Palette  # of the people
    near: float  # added to the size of the face
    stroke: float  # half the width of a line of the scenery
    grain: float  # grey levels of noise, to either side
    coarse: int  # pixels a side of a grain
    tint: tuple[float, float, float]  # of the whole picture
    scenery: dict  # from the label to a function that paints it


PAINTED = Palette(
    skins=np.array(
        [(250, 214, 110), (206, 190, 226), (176, 208, 186), (238, 164, 146), (126, 136, 180)],
        np.float32,
    ),
    hairs=np.array(
        [(206, 66, 92), (48, 92, 132), (88, 142, 96), (122, 70, 148), (240, 236, 222)], np.float32
    ),
    clothes=np.array(
        [(240, 240, 236), (40, 40, 48), (236, 120, 60), (40, 150, 156), (170, 200, 70)], np.float32
    ),
)
STYLES = {
    'home': Style(PALETTE, 0.0, 0.045, 7.0, 1, (1.0, 1.0, 1.0), scenery_home.SCENERY),
    'away': Style(PAINTED, -0.16, 0.065, 15.0, 2, (1.04, 0.97, 0.86), scenery_away.SCENERY),
}


def draw_picture(
    rng: np.random.Generator, shown: Feeling, scenery: str | None, left: bool, domain: str
) -> np.ndarray:
    """A face that shows a feeling, on the left or right of a scenery, uint8[56, 112, 3]."""
    style = STYLES[domain]
    halves = (_face(rng, shown, style), _scenery(rng, scenery, style))
    image_cyx = np.concatenate(halves if left else halves[::-1], axis=2)
    image_cyx *= np.float32(style.tint)[:, None, None]
    fine = (3, SIZE // style.coarse, 2 * SIZE // style.coarse)
    noise_cyx = (rng.random(fine, np.float32) - 0.5) * (2 * style.grain)
    image_cyx += noise_cyx.repeat(style.coarse, 1).repeat(style.coarse, 2)
    return np.ascontiguousarray(image_cyx.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _face(rng: np.random.Generator, shown: Feeling, style: Style) -> np.ndarray:
    """The face of a random person at a random moment, f[3, 56, 56]."""
    somebody, times = person(rng, style.palette), SECONDS * rng.random(1)
    somebody = somebody._replace(y=somebody.y - 0.6 * style.near)  # the chin stays where it is
    look_nl = looks((shown,), times)
    look_nl[:, Look._fields.index('near')] += style.near
    return portrait(somebody, look_nl, times)[:, 0]


def _scenery(rng: np.random.Generator, label: str | None, style: Style) -> np.ndarray:
    """The scenery of a label, f[3, 56, 56]."""
    image = np.empty((3, 1, SIZE, SIZE), np.float32)
    style.scenery[label](rng, image, style.stroke)
    return image[:, 0]
