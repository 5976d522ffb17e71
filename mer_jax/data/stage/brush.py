"""Drawing on square images of the embedded stage: distances to curves, and paint inside them.

Coordinates run from −1 to 1, to the right and downward. A distance is negative inside a shape. An
image is f[3, n, rows, columns]: three planes of colour, and n moments.
"""

import numpy as np

SIZE = 56  # pixels a side

_CENTRE = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
X_YX, Y_YX = np.meshgrid(_CENTRE, _CENTRE)


def paint(
    image: np.ndarray,
    distance: np.ndarray,
    colour: np.ndarray,
    cover: float | np.ndarray = 1.0,
) -> None:
    """Paints a colour where the distance is negative, with an edge one pixel wide."""
    mask = np.clip(0.5 - distance * (SIZE / 2), 0, 1)
    mask *= cover
    blend(image, mask, colour)


def blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Blends a colour into the three planes of the image, weighted by the mask."""
    step = colour[:, None, None, None] - image
    step *= mask
    image += step


def disc(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
    """The approximate distance to an ellipse with half axes a and b."""
    return (np.sqrt(np.square(u * (1 / a)) + np.square(v * (1 / b))) - 1) * min(a, b)


def box(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
    """The distance to an upright rectangle with half sides a and b."""
    return np.maximum(np.abs(u) - a, np.abs(v) - b)


def stroke(begin: tuple[float, float], end: tuple[float, float], half: float) -> np.ndarray:
    """The distance to a straight stroke with round ends, `half` as wide to either side, f[y, x]."""
    across, down = end[0] - begin[0], end[1] - begin[1]
    u, v = X_YX - begin[0], Y_YX - begin[1]
    share = np.clip((u * across + v * down) / max(across**2 + down**2, 1e-9), 0, 1)
    return np.sqrt(np.square(u - share * across) + np.square(v - share * down)) - half


def convex(*corners: tuple[float, float]) -> np.ndarray:
    """The approximate distance to a polygon without dents, corners clockwise as seen, f[y, x]."""
    sides = []
    for (x, y), (next_x, next_y) in zip(corners, corners[1:] + corners[:1], strict=True):
        across, down = next_x - x, next_y - y
        length = max(np.hypot(across, down), 1e-9)
        sides.append(((X_YX - x) * down - (Y_YX - y) * across) / length)
    return np.max(sides, axis=0)


def turned(x: float, y: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates u, v of axes that begin at a point and are turned by an angle, each f[y, x]."""
    sine, cosine = np.sin(angle), np.cos(angle)
    u, v = X_YX - x, Y_YX - y
    return cosine * u + sine * v, cosine * v - sine * u


def sky(image: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> None:
    """Fills the image with a colour above that turns into another below."""
    image[:] = top[:, None, None, None]
    blend(image, (Y_YX + 1) / 2, bottom)
