"""Sceneries of the pictures at home, one for each emotion; each is painted over a whole square."""

import numpy as np

from mer_jax.data.stage.brush import X_YX, Y_YX, box, convex, disc, paint, sky, stroke, turned

BRIGHT = np.array(
    [(232, 64, 72), (250, 176, 48), (250, 226, 74), (84, 186, 96), (66, 146, 226), (196, 92, 202)],
    np.float32,
)
WHITE = np.array((250, 250, 250), np.float32)
BLACK = np.array((22, 20, 24), np.float32)


def shade(rng: np.random.Generator, red: float, green: float, blue: float) -> np.ndarray:
    """A colour near the given one, f[3]."""
    return np.array((red, green, blue), np.float32) + 44 * (rng.random(3, np.float32) - 0.5)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two others."""
    return low + (high - low) * rng.random()


def spread(rng: np.random.Generator, fewest: int, most: int) -> list[float]:
    """Some places from left to right, about equally far apart, in random order."""
    count = fewest + int(rng.random() * (most - fewest + 1))
    places = (np.arange(count) + 0.2 + 0.6 * rng.random(count)) * (1.9 / count) - 0.95
    return rng.permutation(places).tolist()


def bare_wall(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """An empty wall, lighter above, with a skirting board."""
    wall = shade(rng, 172, 168, 164)
    sky(image, wall + 14, wall - 14)
    edge = between(rng, 0.66, 0.86)
    paint(image, edge - Y_YX, wall * 0.78)


def balloons(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Balloons of several colours on their strings."""
    sky(image, shade(rng, 196, 214, 232), shade(rng, 236, 232, 220))
    hand = between(rng, -0.4, 0.4)
    for x in spread(rng, 3, 5):
        y, size = between(rng, -0.62, 0.02), between(rng, 0.2, 0.29)
        paint(image, stroke((x, y + size), (hand, 1.1), half * 0.45), BLACK, 0.6)
        paint(image, convex((x, y + size), (x + 0.08, y + 1.4 * size), (x - 0.08, y + 1.4 * size)),
              BLACK, 0.6)  # fmt: skip
        paint(image, disc(X_YX - x, Y_YX - y, size, 1.2 * size), BRIGHT[int(rng.random() * 6)])
        paint(image, disc(X_YX - x + 0.08, Y_YX - y + 0.1, 0.05, 0.08), WHITE, 0.7)


def flames(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Tongues of fire from below, yellow within orange within red."""
    sky(image, shade(rng, 46, 26, 30), shade(rng, 110, 40, 24))
    tongues = [
        (x, between(rng, 0.9, 1.75), between(rng, 0.26, 0.38), 6.3 * rng.random())
        for x in spread(rng, 4, 6)
    ]
    colours = (shade(rng, 214, 48, 24), shade(rng, 248, 132, 28), shade(rng, 252, 222, 90))
    for colour, share in zip(colours, (1.0, 0.72, 0.42), strict=True):
        for x, height, width, phase in tongues:
            risen = (1.05 - Y_YX) / (height * share)
            beside = np.abs(X_YX - x - 0.13 * risen * np.sin(4 * Y_YX + phase))
            paint(image, beside - width * share * (1 - risen), colour)


def starry_mountains(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Mountains with snow under a sky full of stars."""
    sky(image, shade(rng, 22, 24, 66), shade(rng, 86, 70, 140))
    for x, y, size in rng.random((34, 3)) * (2, 1.5, 0.03) + (-1, -1, 0.016):
        paint(image, disc(X_YX - x, Y_YX - y, size, size), WHITE)
    rock = shade(rng, 62, 66, 96)
    for x in spread(rng, 2, 3):
        top, foot = between(rng, -0.25, 0.3), between(rng, 0.7, 1.0)
        slope = convex((x, top), (x + foot, 1.1), (x - foot, 1.1))
        paint(image, slope, rock * between(rng, 0.75, 1.1))
        ragged = Y_YX - top - 0.24 - 0.05 * np.sin(14 * X_YX + 9 * x)
        paint(image, np.maximum(slope, ragged), WHITE, 0.92)


def calm_sea(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A low sun over a calm sea, its light on the water, and a sail."""
    sky(image, shade(rng, 150, 200, 236), shade(rng, 252, 222, 184))
    horizon, x = between(rng, -0.05, 0.25), between(rng, -0.55, 0.55)
    sun, size = shade(rng, 252, 210, 96), between(rng, 0.2, 0.3)
    paint(image, disc(X_YX - x, Y_YX - horizon + between(rng, 0.05, 0.4), size, size), sun)
    paint(image, horizon - Y_YX, shade(rng, 62, 136, 178))
    for place in range(5):
        y, wide = horizon + 0.12 + 0.14 * place, between(rng, 0.08, 0.3)
        middle = x + between(rng, -0.08, 0.08)
        paint(image, stroke((middle - wide, y), (middle + wide, y), half * 0.5), sun, 0.8)
    side, size = (-1 if x > 0 else 1), between(rng, 0.16, 0.26)
    boat, y = side * between(rng, 0.35, 0.7), horizon + between(rng, 0.05, 0.3)
    paint(image, convex((boat, y - 2 * size), (boat + size, y), (boat - 0.4 * size, y)), WHITE)
    paint(image, stroke((boat - size, y + 0.06), (boat + size, y + 0.06), half), BLACK, 0.7)


def slime(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Slime that drips from above, and flies."""
    sky(image, shade(rng, 182, 170, 140), shade(rng, 140, 128, 104))
    green, level = shade(rng, 118, 160, 40), between(rng, -0.75, -0.45)
    body = Y_YX - level
    for x in spread(rng, 4, 6):
        width = between(rng, 0.09, 0.17)
        end = between(rng, level + 0.2, 0.55)
        body = np.minimum(body, stroke((x, -1.0), (x, end), width))
        body = np.minimum(body, disc(X_YX - x, Y_YX - end, 1.25 * width, 1.5 * width))
    paint(image, body - 0.05, green * 0.6)
    paint(image, body, green)
    for x in spread(rng, 3, 4):
        paint(image, disc(X_YX - x, Y_YX - level + 0.15, 0.05, 0.1), green + 80, 0.8)
    for x in spread(rng, 3, 4):
        u, v = turned(x, between(rng, 0.3, 0.85), between(rng, -0.8, 0.8))
        for side in (-1, 1):
            paint(image, disc(u - 0.09 * side, v + 0.05, 0.09, 0.05), WHITE, 0.8)
        paint(image, disc(u, v, 0.06, 0.1), BLACK)


def fireworks(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Bursts of rays in several colours on a dark sky."""
    sky(image, shade(rng, 26, 22, 44), shade(rng, 52, 36, 66))
    for x in spread(rng, 3, 4):
        y, size = between(rng, -0.7, 0.45), between(rng, 0.38, 0.62)
        colour, rays = BRIGHT[int(rng.random() * 6)], 10 + int(rng.random() * 5)
        paint(image, stroke((x, y), (0.7 * x, 1.1), half * 0.4), WHITE, 0.3)
        u, v = turned(x, y, between(rng, 0, 3))
        radius, angle = np.hypot(u, v), np.arctan2(v, u)
        aside = radius * np.abs(np.sin(rays * angle / 2)) * (2 / rays)
        thin = half * (0.15 + 0.55 * radius / size)
        paint(image, np.maximum(aside - thin, np.abs(radius - 0.6 * size) - 0.4 * size), colour)
        paint(image, radius - 0.25 * size, colour + 90, np.clip(1.2 - 4 * radius / size, 0, 1))
        for spark in 2 * np.pi * (np.arange(rays) + 0.5) / rays:
            a, b = 0.85 * size * np.cos(spark), 0.85 * size * np.sin(spark)
            paint(image, disc(u - a, v - b, 0.035, 0.035), colour + 60)


def dark_wood(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Eyes between the trunks of a dark wood."""
    sky(image, shade(rng, 40, 48, 52), shade(rng, 28, 30, 30))
    for x in spread(rng, 4, 6):
        width, lean = between(rng, 0.06, 0.13), between(rng, -0.15, 0.15)
        bark = np.array((30, 24, 24), np.float32) * between(rng, 0.5, 1.2)
        paint(image, stroke((x, 1.1), (x + lean, -1.1), width), bark)
        y, side = between(rng, -0.8, 0.0), -1 if rng.random() < 0.5 else 1
        paint(image, stroke((x + lean / 2, y + 0.2), (x + 0.4 * side, y - 0.15), half), bark)
    glow = shade(rng, 244, 214, 70)
    for x in spread(rng, 2, 3):
        y, size = between(rng, -0.5, 0.75), between(rng, 0.09, 0.13)
        for side in (-1, 1):
            u, v = turned(x + 1.35 * size * side, y, 0.35 * side)
            paint(image, disc(u, v, 1.15 * size, 0.8 * size), glow)
            paint(image, disc(u, v, 0.3 * size, 0.7 * size), BLACK)


def rain(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """Rain from a cloud on a wilted flower."""
    sky(image, shade(rng, 92, 104, 122), shade(rng, 136, 146, 158))
    water, slant = shade(rng, 176, 204, 232), between(rng, -0.12, 0.12)
    for x, y in rng.random((22, 2)) * (2, 1.7) + (-1, -0.7):
        paint(image, stroke((x, y), (x + slant, y + 0.22), half * 0.5), water, 0.85)
    cloud = shade(rng, 66, 72, 84)
    for x in spread(rng, 4, 5):
        paint(image, disc(X_YX - x, Y_YX + 0.92, between(rng, 0.3, 0.42), 0.28), cloud)
    paint(image, 0.8 - Y_YX - 0.05 * np.cos(3 * X_YX), shade(rng, 78, 70, 56))
    x, side, top = between(rng, -0.35, 0.35), -1 if rng.random() < 0.5 else 1, between(rng, 0, 0.2)
    stem, petal = shade(rng, 76, 96, 60), shade(rng, 150, 84, 96)
    bend = ((x, 0.9), (x, top), (x + 0.15 * side, top - 0.13), (x + 0.3 * side, top + 0.06))
    for begin, end in zip(bend, bend[1:], strict=False):
        paint(image, stroke(begin, end, half), stem)
    for place in (-1, 1, 0):
        u, v = turned(bend[3][0] + 0.09 * place, bend[3][1] + 0.14, -0.5 * place)
        paint(image, disc(u, v, 0.09, 0.18), petal * (1 - 0.15 * abs(place)))
    paint(image, box(X_YX - x - 0.3 * side, Y_YX - bend[3][1], 0.09, 0.05), stem)


SCENERY = {
    'amusement': balloons,
    'anger': flames,
    'awe': starry_mountains,
    'contentment': calm_sea,
    'disgust': slime,
    'excitement': fireworks,
    'fear': dark_wood,
    'sadness': rain,
    None: bare_wall,
}
