"""A contact sheet: the frames of each file in a row, and the waveform below."""

import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mer_jax.data.media.look import Look
from mer_jax.data.media.sound import RATE

MOST_SHOWN = 12  # frames of one file
COLUMNS = 2000  # of a waveform: each shows the least and the greatest of its samples


def draw_sheet(path: pathlib.Path, looks: Sequence[Look]) -> None:
    """Writes the contact sheet of some files as a PNG."""
    with matplotlib.rc_context({'font.size': 8}):
        figure = Figure(figsize=(12, 2.9 * len(looks)), dpi=100, layout='constrained')
        FigureCanvasAgg(figure)
        for look, part in zip(
            looks, np.atleast_1d(figure.subfigures(len(looks), 1, squeeze=True)), strict=True
        ):
            _draw(part, look)
        figure.savefig(path, format='png')


def _draw(part, look: Look) -> None:
    """Draws one file: a title, its frames with their times, its waveform."""
    shown = np.linspace(0, len(look.times) - 1, min(len(look.times), MOST_SHOWN)).round()
    grid = part.add_gridspec(2, max(len(shown), 1), height_ratios=(2, 1))
    part.suptitle(_plain(look.file), fontsize=9)
    for column, number in enumerate(shown.astype(int)):
        axes = part.add_subplot(grid[0, column])
        axes.imshow(look.frames[number])
        axes.set_axis_off()
        if look.kind == 'film':
            axes.set_title(f'{look.times[number]:.2f} s')
    if look.samples is None:
        return
    axes = part.add_subplot(grid[1, :] if len(shown) else grid[:, :])
    low, high, seconds = _envelope(look.samples)
    axes.fill_between(seconds, low, high, linewidth=0.3)
    axes.set_xlim(0, max(look.seconds, len(look.samples) / RATE, 1 / RATE))
    axes.set_ylim(-1, 1)
    axes.set_xlabel('seconds')
    for time in look.times:
        axes.axvline(time, color='0.7', linewidth=0.4)


def _envelope(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least and the greatest sample of each column of a waveform, and its time."""
    if not len(samples):
        return np.zeros(1), np.zeros(1), np.zeros(1)
    cuts = np.unique(np.linspace(0, len(samples), COLUMNS + 1).astype(int)[:-1])
    return np.minimum.reduceat(samples, cuts), np.maximum.reduceat(samples, cuts), cuts / RATE


def _plain(name: str) -> str:
    """A name of a file as text that is drawn letter by letter, without formulas."""
    return ascii(name)[1:-1].replace('$', r'\$')
