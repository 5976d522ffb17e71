"""Curves over steps as SVG, in colours that the page names, and these colours."""

import html
import math

import numpy as np

# Colours of the light page and of the dark one. Pictures name them as CSS variables.
LIGHT = {
    'paper': '#fbfaf7',
    'card': '#ffffff',
    'ink': '#1e2126',
    'dim': '#686d76',
    'rule': '#d6d2c9',
    'fast': '#b3610a',
    'slow': '#2456a6',
    'hit': '#1d7a46',
    'miss': '#b3261e',
    'violet': '#8a3fa0',
}
DARK = {
    'paper': '#14161a',
    'card': '#1c1f25',
    'ink': '#e6e4df',
    'dim': '#989da6',
    'rule': '#3d424b',
    'fast': '#f0a04b',
    'slow': '#7fb0ff',
    'hit': '#6fcf97',
    'miss': '#ff8a80',
    'violet': '#d09be3',
}
CURVES = ('slow', 'violet', 'hit', 'miss', 'fast')  # colours of the curves of one chart, in order
POINTS = 400  # a curve is thinned to so many
TICKS = 5  # of an axis, at most
NARROW, WIDE = 260, 346  # widths of a chart in its own units
FONT, LETTER = 9.5, 5.6  # the height of a text, and about the width of a digit


def css_variables(palette: dict[str, str]) -> str:
    """The colours of a palette as CSS variables."""
    return ' '.join(f'--{name}: {color};' for name, color in palette.items())


def curve_colors(count: int) -> list[str]:
    """The names of the colours of so many curves of one chart."""
    return [CURVES[k % len(CURVES)] for k in range(count)]


def smooth(values: np.ndarray) -> np.ndarray:
    """A centred moving average over a fifteenth of the curve, shorter at its ends: f[n]."""
    window = np.ones(max(1, len(values) // 15))
    weight = np.convolve(np.ones_like(values), window, 'same')
    return np.convolve(values, window, 'same') / weight


def draw_curves(curves: list[np.ndarray], width: int = NARROW) -> str:
    """Curves f[2, n] (steps, values), each raw (faint) and smoothed (strong), as SVG."""
    height, both = round(0.55 * width), np.concatenate(curves, axis=1)
    (first, last), (low, high) = span(both[0]), span(both[1])
    ticks = ticks_between(low, high)
    left = 10 + LETTER * max(len(f'{tick:g}') for tick in ticks)
    right, top, bottom = width - 8, 6, height - 20

    def place(xy: np.ndarray) -> np.ndarray:
        x, y = xy
        across = left + (x - first) / (last - first) * (right - left)
        return np.stack([across, bottom - (y - low) / (high - low) * (bottom - top)])

    marks = [axis_line(f'M{left:.1f} {top}V{bottom}H{right}')]
    for tick in ticks:
        y = place(np.array([first, tick]))[1]
        marks.append(axis_line(f'M{left:.1f} {y:.1f}h-3'))
        marks.append(label(left - 5, y + 0.35 * FONT, tick, 'end'))
    for tick in ticks_between(first, last, least=1.0):
        x = place(np.array([tick, low]))[0]
        marks.append(axis_line(f'M{x:.1f} {bottom}v3'))
        marks.append(label(x, bottom + 5 + FONT, tick, 'middle'))
    for (steps, values), name in zip(curves, curve_colors(len(curves)), strict=True):
        thin = np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))
        for line, style in ((values, 0.3), (smooth(values), 1.0)):
            at = place(np.stack([steps[thin], line[thin]]))
            marks.append(curve(at, name, style))
    return f'<svg viewBox="0 0 {width} {height}" font-size="{FONT}">{"".join(marks)}</svg>'


def span(values: np.ndarray) -> tuple[float, float]:
    """The ends of an axis on which these values lie, with a little room at both."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def ticks_between(low: float, high: float, least: float = 0.0) -> list[float]:
    """At most TICKS round numbers between two numbers, at equal distances of at least `least`."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(least, next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power > rough))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [float(f'{number * step:.12g}') for number in numbers]


def axis_line(path: str) -> str:
    """A line of an axis, or of a tick."""
    return f'<path d="{path}" style="fill: none; stroke: var(--rule)"/>'


def label(x: float, y: float, value: float, anchor: str) -> str:
    """The number of a tick."""
    text = html.escape(f'{value:g}'.replace('-', '\N{MINUS SIGN}'))
    style = f'fill: var(--dim); text-anchor: {anchor}'
    return f'<text x="{x:.1f}" y="{y:.1f}" style="{style}">{text}</text>'


def curve(at: np.ndarray, color: str, opacity: float) -> str:
    """A line through these places f[2, n]; a dot if there is one place."""
    places = [f'{x:.1f} {y:.1f}' for x, y in at.T]
    path = 'M' + 'L'.join(places if len(places) > 1 else places * 2)
    width = 1.6 if opacity == 1 else 0.7
    style = f'fill: none; stroke: var(--{color}); stroke-width: {width}; stroke-opacity: {opacity}'
    return f'<path d="{path}" style="{style}; stroke-linecap: round; stroke-linejoin: round"/>'
