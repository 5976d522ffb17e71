"""Sceneries of the pictures away, other ones for the same emotions."""

import numpy as np

from mer_jax.data.stage.brush import X_YX, Y_YX, box, convex, disc, paint, sky, stroke, turned
from mer_jax.data.stage.scenery_home import BLACK, BRIGHT, WHITE, bare_wall, between, shade, spread


def striped_hat(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A clown's hat with stripes and bobbles, and confetti."""
    sky(image, shade(rng, 240, 226, 200), shade(rng, 220, 236, 226))
    for x, y in rng.random((16, 2)) * 2 - 1:
        paint(image, disc(X_YX - x, Y_YX - y, 0.05, 0.05), BRIGHT[int(rng.random() * 6)])
    x, top, foot = between(rng, -0.25, 0.25), between(rng, -0.7, -0.45), between(rng, 0.45, 0.6)
    first, second = rng.permutation(6)[:2]
    cone = convex((x + between(rng, -0.2, 0.2), top), (x + foot, 0.65), (x - foot, 0.65))
    paint(image, cone - half, BLACK)
    paint(image, cone, BRIGHT[first])
    stripes = 0.09 * np.sin(between(rng, 9, 13) * (Y_YX + 0.5 * (X_YX - x)))
    paint(image, np.maximum(cone, stripes), BRIGHT[second])
    paint(image, disc(X_YX - x, Y_YX - top, 0.17, 0.17), WHITE)
    for place in np.linspace(-1, 1, 5):
        paint(image, disc(X_YX - x - foot * place, Y_YX - 0.68, 0.15, 0.13), WHITE)


def volcano(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A volcano that throws lava."""
    sky(image, shade(rng, 58, 34, 42), shade(rng, 150, 70, 48))
    x, top = between(rng, -0.3, 0.3), between(rng, -0.15, 0.1)
    lava, glow = shade(rng, 228, 62, 26), shade(rng, 252, 170, 52)
    for place in spread(rng, 6, 8):
        end = (x + 0.75 * place, top - between(rng, 0.35, 0.8))
        paint(image, stroke((x, top), end, half * 0.8), lava)
        paint(image, disc(X_YX - end[0], Y_YX - end[1], 0.09, 0.09), glow)
    slope = convex((x - 0.2, top), (x + 0.2, top), (x + 1.0, 1.1), (x - 1.0, 1.1))
    paint(image, slope, shade(rng, 52, 42, 46))
    paint(image, disc(X_YX - x, Y_YX - top, 0.24, 0.1), glow)
    for side in (-1, 0, 1):
        middle = x + side * (0.1 + 0.35 * (Y_YX - top)) + 0.05 * np.sin(9 * Y_YX + side)
        long = Y_YX - top - between(rng, 0.5, 1.1)
        flow = np.maximum(np.abs(X_YX - middle) - 0.07, np.maximum(long, top - Y_YX))
        paint(image, flow, lava)


def waterfall(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A high waterfall between cliffs, and a rainbow."""
    sky(image, shade(rng, 120, 170, 216), shade(rng, 196, 220, 232))
    x, width, top = between(rng, -0.3, 0.3), between(rng, 0.22, 0.34), between(rng, -0.75, -0.5)
    cliff, moss = shade(rng, 84, 82, 92), shade(rng, 70, 112, 84)
    wavy = 0.05 * np.sin(8 * X_YX + 5 * x)
    paint(image, top - Y_YX + wavy, cliff)
    paint(image, np.maximum(top - Y_YX + wavy, Y_YX - top - 0.14), moss)
    for place in spread(rng, 5, 7):
        paint(image, stroke((place, top + 0.3), (place + 0.1, 0.7), half * 0.6), cliff * 0.7)
    fall = np.maximum(np.abs(X_YX - x) - width - 0.08 * (Y_YX - top), top - Y_YX)
    paint(image, fall, shade(rng, 150, 196, 232))
    for place in np.linspace(-0.8, 0.8, 5):
        streak = x + width * place
        paint(image, stroke((streak, top + 0.1 * rng.random()), (streak, 0.7), half * 0.6), WHITE)
    bow = np.hypot(X_YX - x - 0.5, Y_YX - 0.9)
    for place, number in enumerate((0, 2, 4)):
        ring = np.abs(bow - 0.85 + 0.09 * place) - 0.05
        paint(image, ring, BRIGHT[number], 0.65)
    paint(image, 0.72 - Y_YX, shade(rng, 78, 140, 180))
    for place in spread(rng, 5, 6):
        paint(image, disc(X_YX - x - 0.6 * place, Y_YX - 0.72, 0.2, 0.12), WHITE, 0.8)


def warm_tea(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A cup of tea that steams on a table."""
    sky(image, shade(rng, 214, 196, 170), shade(rng, 196, 172, 148))
    paint(image, 0.5 - Y_YX, shade(rng, 146, 98, 62))
    x, top, cup = between(rng, -0.2, 0.2), between(rng, -0.05, 0.1), shade(rng, 214, 226, 228)
    side, wide = -1 if rng.random() < 0.5 else 1, between(rng, 0.4, 0.5)
    paint(image, disc(X_YX - x, Y_YX - 0.72, wide + 0.25, 0.13), cup * 0.85)
    handle = np.abs(disc(X_YX - x - side * (wide + 0.05), Y_YX - top - 0.25, 0.2, 0.2))
    paint(image, handle - 0.055, cup * 0.9)
    bowl = disc(X_YX - x, Y_YX - top, wide, 0.72)
    paint(image, np.maximum(bowl, top - Y_YX), cup)
    paint(image, disc(X_YX - x, Y_YX - top, wide, 0.12), cup * 0.9)
    paint(image, disc(X_YX - x, Y_YX - top, wide - 0.07, 0.08), shade(rng, 156, 92, 40))
    for place in (-0.22, 0.0, 0.22):
        wave = X_YX - x - place - 0.06 * np.sin(9 * Y_YX + 6 * place)
        long = np.abs(Y_YX - top + 0.5) - between(rng, 0.25, 0.35)
        paint(image, np.maximum(np.abs(wave) - half * 0.7, long), WHITE, 0.75)


def mould(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A slice of bread with mould."""
    sky(image, shade(rng, 160, 166, 172), shade(rng, 128, 134, 142))
    u, v = turned(between(rng, -0.12, 0.12), between(rng, -0.08, 0.12), between(rng, -0.4, 0.4))
    crumb = shade(rng, 222, 192, 136)
    slice_ = np.minimum(box(u, v - 0.15, 0.52, 0.5), disc(u, v + 0.32, 0.64, 0.32))
    paint(image, slice_ - 0.09, crumb * 0.6)
    paint(image, slice_, crumb)
    green = shade(rng, 94, 132, 84)
    for _ in range(5 + int(rng.random() * 4)):
        x, y, size = between(rng, -0.5, 0.5), between(rng, -0.5, 0.6), between(rng, 0.1, 0.22)
        spot = disc(u - x, v - y, size, 0.85 * size)
        paint(image, np.maximum(spot, slice_), green + 40, 0.9)
        paint(image, np.maximum(spot + 0.06, slice_), green)
        for a, b in rng.random((3, 2)) - 0.5:
            paint(image, disc(u - x - size * a, v - y - size * b, 0.03, 0.03), green * 0.4)


def big_wheel(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A big wheel with cabins of several colours in the evening."""
    sky(image, shade(rng, 64, 50, 116), shade(rng, 226, 120, 130))
    x, y, size = between(rng, -0.15, 0.15), between(rng, -0.2, -0.02), between(rng, 0.58, 0.7)
    steel, phase = shade(rng, 226, 222, 226), 6.3 * rng.random()
    for side in (-1, 1):
        paint(image, stroke((x, y), (x + 0.45 * side, 1.1), half), steel)
    cabins = 7 + int(rng.random() * 3)
    rims = [
        (x + size * np.cos(angle), y + size * np.sin(angle))
        for angle in phase + 2 * np.pi * np.arange(cabins) / cabins
    ]
    for rim in rims:
        paint(image, stroke((x, y), rim, half * 0.35), steel)
    paint(image, np.abs(np.hypot(X_YX - x, Y_YX - y) - size) - half * 0.6, steel)
    for number, (across, down) in enumerate(rims):
        cabin = disc(X_YX - across, Y_YX - down - 0.05, 0.13, 0.13)
        paint(image, cabin, BRIGHT[number % 6])
        paint(image, box(X_YX - across, Y_YX - down - 0.03, 0.07, 0.03), WHITE, 0.8)
    paint(image, disc(X_YX - x, Y_YX - y, 0.09, 0.09), steel)


def ghost(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A ghost in the night."""
    sky(image, shade(rng, 34, 28, 52), shade(rng, 58, 48, 74))
    x, y, size = between(rng, -0.25, 0.25), between(rng, -0.3, 0), between(rng, 0.42, 0.52)
    side = -1 if x > 0 else 1
    moon = disc(X_YX - 0.72 * side, Y_YX + 0.7, 0.2, 0.2)
    paint(image, np.maximum(moon, -disc(X_YX - 0.62 * side, Y_YX + 0.76, 0.18, 0.18)), WHITE, 0.9)
    hem = Y_YX - y - 0.85 - 0.09 * np.sin(12 * (X_YX - x) + 6.3 * rng.random())
    gown = np.maximum(np.abs(X_YX - x) - size - 0.1 * (Y_YX - y), np.maximum(hem, y - Y_YX))
    body = np.minimum(gown, disc(X_YX - x, Y_YX - y, size, size))
    body = np.minimum(body, stroke((x - size - 0.2, y + 0.2), (x + size + 0.2, y + 0.2), 0.1))
    paint(image, body, shade(rng, 206, 212, 222), 0.93)
    gaze = between(rng, -0.06, 0.06)
    for eye in (-1, 1):
        paint(image, disc(X_YX - x - gaze - 0.17 * eye, Y_YX - y + 0.05, 0.09, 0.14), BLACK)
    paint(image, disc(X_YX - x - gaze, Y_YX - y - 0.28, 0.1, between(rng, 0.1, 0.18)), BLACK)


def broken_heart(rng: np.random.Generator, image: np.ndarray, half: float) -> None:
    """A heart with a crack, and tears."""
    sky(image, shade(rng, 106, 116, 138), shade(rng, 80, 88, 108))
    size = between(rng, 0.85, 1.05)
    u, v = turned(between(rng, -0.2, 0.2), between(rng, -0.15, 0.05), between(rng, -0.25, 0.25))
    u, v = u / size, v / size
    lobes = disc(np.abs(u) - 0.3, v + 0.2, 0.36, 0.36)
    point = np.maximum(np.abs(u) * 0.8 + v * 0.66 - 0.42, -v - 0.14)
    heart, red = np.minimum(lobes, point), shade(rng, 168, 60, 82)
    paint(image, heart - 0.05, red * 0.5)
    paint(image, heart, red)
    zigzag = 0.1 * np.abs((v * 3.2 + 8) % 2 - 1) - 0.05
    crack = np.maximum(np.abs(u - 2 * zigzag) - 0.035 - 0.05 * np.clip(0.6 - v, 0, 1), heart - 0.06)
    paint(image, crack, shade(rng, 84, 92, 112))
    for x in spread(rng, 2, 3):
        y = between(rng, 0.62, 0.82)
        drop = np.minimum(
            disc(X_YX - x, Y_YX - y, 0.075, 0.085),
            convex((x, y - 0.22), (x + 0.065, y - 0.03), (x - 0.065, y - 0.03)),
        )
        paint(image, drop, shade(rng, 150, 196, 236))


SCENERY = {
    'amusement': striped_hat,
    'anger': volcano,
    'awe': waterfall,
    'contentment': warm_tea,
    'disgust': mould,
    'excitement': big_wheel,
    'fear': ghost,
    'sadness': broken_heart,
    None: bare_wall,
}
