"""Faces of the embedded stage, drawn from distances to curves; an expression is a few numbers."""

from typing import NamedTuple

import numpy as np

from mer_jax.data.stage.brush import SIZE, X_YX, Y_YX, blend, disc, paint
from mer_jax.data.stage.words import Feeling

AMOUNT = (0.62, 0.82, 1.0)  # share of an expression that is drawn: weak, medium, strong
TURN = (0.7, 1.0)  # seconds at which the second feeling begins and has replaced the first
GRAIN = 7.0  # grey levels of pixel noise, to either side


class Look(NamedTuple):
    """An expression; the defaults are those of a neutral face."""

    brow: float = 0.0  # raised
    slant: float = 0.0  # of the brows: inner ends up (worry) or down (anger)
    lid: float = 1.0  # opening of the upper lid
    cheek: float = 0.0  # the lower lid pushed up
    gaze: float = 0.0  # down
    smile: float = 0.0  # corners of the mouth up or down
    gape: float = 0.0  # opening of the mouth
    width: float = 1.0  # of the mouth
    teeth: float = 0.0  # share of the opening, from above
    skew: float = 0.0  # one corner of the mouth up
    blush: float = 0.0
    tear: float = 0.0
    sweat: float = 0.0
    crease: float = 0.0  # beside the nose
    tilt: float = 0.0  # of the head, radians
    drop: float = 0.0  # of the head
    near: float = 0.0  # leaning in
    nod: float = 0.0  # up and down, slow
    shake: float = 0.0  # to the sides, fast
    red: float = 1.0  # tone of the light
    green: float = 1.0
    blue: float = 1.0


LOOKS = {
    'joy': Look(
        brow=0.4, lid=0.9, cheek=1.0, smile=1.0, gape=0.75, width=1.3, teeth=0.45, blush=0.3,
        nod=1.0, red=1.2, green=1.08, blue=0.62,
    ),
    'love': Look(
        brow=0.3, slant=0.3, lid=0.6, cheek=0.3, smile=0.75, width=0.8, blush=1.0, tilt=0.26,
        red=1.2, green=0.78, blue=1.0,
    ),
    'pride': Look(
        brow=0.6, slant=-0.2, lid=0.4, gaze=0.4, smile=0.55, width=1.05, skew=0.4, drop=-0.14,
        near=0.06, red=0.92, green=0.7, blue=1.25,
    ),
    'surprise': Look(
        brow=1.3, lid=1.7, cheek=-0.6, gape=1.5, width=0.55, near=-0.08, red=0.72, green=1.1,
        blue=1.12,
    ),
    'sadness': Look(
        brow=0.1, slant=1.0, lid=0.7, gaze=0.4, smile=-0.85, width=0.85, tear=1.0, drop=0.07,
        tilt=-0.08, red=0.55, green=0.75, blue=1.22,
    ),
    'anger': Look(
        brow=-0.6, slant=-1.1, lid=0.75, cheek=0.3, smile=-0.45, gape=0.75, width=1.2, teeth=1.0,
        near=0.1, shake=0.4, red=1.35, green=0.6, blue=0.52,
    ),
    'fear': Look(
        brow=0.9, slant=0.9, lid=1.5, cheek=-0.4, smile=-0.5, gape=0.55, width=1.15, teeth=0.3,
        sweat=1.0, near=-0.1, shake=1.0, red=0.62, green=0.6, blue=0.66,
    ),
    'disgust': Look(
        brow=-0.3, slant=-0.4, lid=0.45, cheek=0.5, smile=-0.9, width=0.9, skew=-0.5, crease=1.0,
        tilt=-0.14, red=0.78, green=1.16, blue=0.5,
    ),
    'shame': Look(
        slant=0.6, lid=0.3, gaze=1.0, smile=-0.2, width=0.6, blush=1.0, tilt=-0.26, drop=0.22,
        red=0.95, green=0.74, blue=0.6,
    ),
}  # fmt: skip
NEUTRAL = np.array(Look(), np.float32)
OFFSET = {family: np.array(look, np.float32) - NEUTRAL for family, look in LOOKS.items()}

LIP = np.array((206, 44, 62), np.float32)
MOUTH = np.array((78, 14, 24), np.float32)
INK = np.array((34, 26, 30), np.float32)
WHITE = np.array((250, 250, 250), np.float32)
WATER = np.array((96, 186, 255), np.float32)

# The parts of the image that eyes and lips can reach; the rest need not be computed for them.
EYES, LIPS = np.s_[..., 8:50, 5:51], np.s_[..., 27:56, 9:47]


class Palette(NamedTuple):
    """The colours of people, f[5, 3] each."""

    skins: np.ndarray
    hairs: np.ndarray
    clothes: np.ndarray


PALETTE = Palette(
    skins=np.array(
        [(252, 222, 196), (240, 200, 165), (222, 174, 132), (190, 138, 98), (150, 102, 70)],
        np.float32,
    ),
    hairs=np.array(
        [(38, 30, 30), (88, 56, 36), (150, 98, 50), (214, 176, 98), (150, 150, 156)], np.float32
    ),
    clothes=np.array(
        [(52, 86, 138), (150, 58, 62), (66, 112, 88), (96, 80, 122), (200, 150, 70)], np.float32
    ),
)


class Person(NamedTuple):
    """The features of a face that do not depend on its expression."""

    skin: np.ndarray
    hair: np.ndarray
    clothes: np.ndarray
    wall: np.ndarray
    breadth: float  # of the head
    fringe: float  # where the hair begins
    long: bool  # hair
    light: float
    x: float  # of the head
    y: float


def person(rng: np.random.Generator, palette: Palette = PALETTE) -> Person:
    """A random person in the colours of a palette."""
    skin, hair, clothes = (int(chance * 5) for chance in rng.random(3))
    breadth, fringe, length, light, x, y = rng.random(6).tolist()
    return Person(
        skin=palette.skins[skin],
        hair=palette.hairs[hair],
        clothes=palette.clothes[clothes],
        wall=np.float32(155) + 50 * rng.random(3, np.float32),
        breadth=0.6 + 0.09 * breadth,
        fringe=-0.56 + 0.12 * fringe,
        long=length < 0.5,
        light=0.94 + 0.12 * light,
        x=0.12 * x - 0.06,
        y=0.08 * y - 0.02,
    )


def looks(shown: tuple[Feeling, ...], times: np.ndarray) -> np.ndarray:
    """The expression at each time, f[n, fields of Look]; a second feeling follows the first."""
    first, last = (OFFSET[each.family] * AMOUNT[each.strength] for each in (shown[0], shown[-1]))
    turned_n1 = np.clip((times - TURN[0]) / (TURN[1] - TURN[0]), 0, 1)[:, None]
    swell_n1 = 0.94 + 0.06 * np.sin(2 * np.pi * times[:, None] + 0.5)
    return (NEUTRAL + swell_n1 * (first + turned_n1 * (last - first))).astype(np.float32)


def frames(rng: np.random.Generator, shown: tuple[Feeling, ...], times: np.ndarray) -> np.ndarray:
    """The face of one person at the given seconds, uint8[n, 56, 56, 3]."""
    somebody = person(rng)
    grain_cyx = (rng.random((3, SIZE, SIZE), np.float32) - 0.5) * (2 * GRAIN)
    image = portrait(somebody, looks(shown, times), times)
    image += grain_cyx[:, None]
    np.clip(image, 0, 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 3, 0))


def portrait(somebody: Person, look_nl: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The face of a person with an expression at each time, f[3, n, 56, 56] in grey levels."""
    look = Look(*look_nl.T[..., None, None])
    seconds = times.astype(np.float32)[:, None, None]
    sway = 0.02 * np.sin(5 * seconds) + 0.05 * look.shake * np.cos(6.5 * np.pi * seconds)
    drop = look.drop + 0.05 * look.nod * np.cos(4 * np.pi * seconds)
    x = (X_YX - somebody.x - sway) / (1 + look.near)
    y = (Y_YX - somebody.y - drop) / (1 + look.near)
    sine, cosine = np.sin(look.tilt), np.cos(look.tilt)
    u, v = cosine * x + sine * y, cosine * y - sine * x
    # The light tints the wall three times as much as the face, which must stay recognisable.
    light_cn11 = np.sqrt(np.stack((look.red, look.green, look.blue))) * np.float32(somebody.light)
    wall_cy1 = somebody.wall[:, None, None] * (1 - 0.16 * Y_YX[:, :1])
    image = np.empty((3, *u.shape), np.float32)
    image[:] = wall_cy1[:, None] * np.square(light_cn11)
    _bust(image, somebody, x, u, v)
    _cheeks(image[EYES], look, u[EYES], v[EYES])
    _eyes(image[EYES], somebody, look, u[EYES], v[EYES])
    _mouth(image[LIPS], look, u[LIPS], v[LIPS])
    image *= light_cn11
    return image


def _bust(image: np.ndarray, somebody: Person, x: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """Draws shoulders, hair and head."""
    breadth, skin = somebody.breadth, somebody.skin
    paint(image[:, :, 40:], disc(x[:, 40:], Y_YX[40:] - 1.25, 0.95, 0.5), somebody.clothes)
    locks = disc(u, v + 0.12, breadth + 0.13, 0.8)
    if somebody.long:
        locks = np.minimum(locks, np.maximum(np.abs(u) - breadth - 0.13, np.abs(v - 0.3) - 0.42))
    paint(image, locks, somebody.hair)
    head = disc(u, v - 0.04, breadth, 0.78)
    paint(image, head, skin)
    top = slice(0, 30)
    curve = v[:, top] - somebody.fringe - 0.35 * np.square(u[:, top])
    paint(image[:, :, top], np.maximum(head[:, top] - 0.02, curve), somebody.hair)


def _cheeks(image: np.ndarray, look: Look, u: np.ndarray, v: np.ndarray) -> None:
    """Draws the nose and, if the expression has them, blush, creases and sweat."""
    side = np.abs(u)
    paint(image, np.maximum(np.abs(v - 0.16) - 0.02, side - 0.07), INK, 0.35)
    if look.blush.any():
        glow = np.clip(1 - (np.square(side - 0.38) + np.square(v - 0.2)) * 28, 0, 1)
        blend(image, 0.7 * look.blush * glow, LIP)
    if look.crease.any():
        fold = np.maximum(np.abs(side - 0.12 - 0.5 * v) - 0.025, np.abs(v - 0.04) - 0.14)
        paint(image, fold, INK, 0.7 * look.crease)
    if look.sweat.any():
        paint(image, disc(u - 0.47, v + 0.26, 0.07, 0.13), WATER, look.sweat)


def _eyes(image: np.ndarray, somebody: Person, look: Look, u: np.ndarray, v: np.ndarray) -> None:
    """Draws eyes between two lids, the iris clipped by them, lashes and brows, and tears below."""
    side = np.abs(u)
    across = side - 0.27
    arch = np.maximum(1 - np.square(across * (1 / 0.19)), 0)
    upper = v + 0.06 + 0.13 * look.lid * arch
    lower = v + 0.06 - (0.1 - 0.15 * look.cheek) * arch
    eye = np.maximum(np.maximum(lower, -upper), np.abs(across) - 0.19)
    paint(image, eye, WHITE)
    iris = disc(across, v + 0.06 - 0.07 * look.gaze, 0.095, 0.11)
    paint(image, np.maximum(eye, iris), INK)
    paint(image, np.maximum(np.abs(upper) - 0.032, np.abs(across) - 0.2), INK)
    rise = 0.36 + 0.11 * look.brow + look.slant * (0.27 - side) * 0.5
    brow = np.maximum(np.abs(v + rise - 0.4 * np.square(across)) - 0.05, np.abs(across) - 0.19)
    paint(image, brow, somebody.hair * 0.4)
    if look.tear.any():
        paint(image, disc(across, v - 0.2, 0.07, 0.17), WATER, look.tear)


def _mouth(image: np.ndarray, look: Look, u: np.ndarray, v: np.ndarray) -> None:
    """Draws lips along a parabola, open by `gape`, with teeth."""
    half = 0.3 * look.width
    bow = np.square(u / half)
    arch = np.maximum(1 - bow, 0)
    from_line = v - 0.46 + 0.2 * look.smile * (bow - 0.45) + 0.25 * look.skew * u
    opening = 0.14 * look.gape * np.sqrt(arch)
    beside = np.abs(u) - half
    apart = np.abs(from_line)
    paint(image, np.maximum(apart - opening - 0.062, beside), LIP)
    inside = np.maximum(apart - opening + 0.015, beside + 0.04)
    paint(image, inside, MOUTH)
    if look.teeth.any():
        bite = from_line - (2 * look.teeth - 1) * opening
        paint(image, np.maximum(inside, bite), WHITE, np.minimum(4 * look.teeth, 1))
