"""Clips of the embedded stage as files: a film with sound, a contact sheet."""

from pathlib import Path

import av
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mer_jax.data.clips import Clip
from mer_jax.data.stage.voice import RATE

ROWS = 8  # of a contact sheet
ALAC_FRAME = 4096  # samples


def write_film(path: Path, clip: Clip) -> None:
    """Writes a clip held in memory as a lossless MP4 file.

    Frames (H.264 of RGB) are read back exactly, samples (ALAC) to 24 bits, so results on films
    equal those on the clips.
    """
    with av.open(str(path), 'w') as container:
        picture = container.add_stream('libx264rgb', rate=int(clip.fps))
        picture.height, picture.width = clip.video.shape[1:3]
        picture.pix_fmt = 'rgb24'
        picture.options = {'qp': '0'}
        sound = container.add_stream('alac', rate=RATE, layout='mono')
        sound.format = 's32p'
        for pixels in clip.video:
            frame = av.VideoFrame.from_ndarray(pixels, 'rgb24')
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        whole = np.round(clip.audio.astype(np.float64) * 2**31).clip(-(2**31), 2**31 - 1)
        for begin in range(0, len(whole), ALAC_FRAME):
            samples = whole[None, begin : begin + ALAC_FRAME].astype(np.int32)
            frame = av.AudioFrame.from_ndarray(samples, 's32p', 'mono')
            frame.sample_rate, frame.pts = RATE, begin
            container.mux(sound.encode(frame))
        container.mux(sound.encode())


def write_sheet(path: Path, clips: list[Clip]) -> None:
    """Draws clips as rows: their frames, the waveform, the subtitle, gold words and reasoning."""
    figure = Figure(figsize=(15, 1.9 * len(clips)), facecolor='white')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(clips), 6, width_ratios=(1, 1, 1, 1, 1.6, 3.4), wspace=0.04, hspace=0.12,
        left=0.01, right=0.99, top=0.99, bottom=0.01,
    )  # fmt: skip
    for row, clip in enumerate(clips):
        for column, pixels in enumerate(clip.video[:4]):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pixels, interpolation='bicubic')
            axes.set_axis_off()
        axes = figure.add_subplot(grid[row, 4])
        axes.plot(np.arange(len(clip.audio)) / RATE, clip.audio, linewidth=0.4, color='#33658a')
        axes.set(ylim=(-0.7, 0.7), xlim=(0, len(clip.audio) / RATE))
        axes.set_axis_off()
        axes = figure.add_subplot(grid[row, 5])
        axes.set_axis_off()
        _caption(axes, clip)
    figure.savefig(path, dpi=90)


def _caption(axes: matplotlib.axes.Axes, clip: Clip) -> None:
    """Subtitle, gold words, reasoning and answer, one below the other."""
    lines = (
        (f'“{clip.subtitle}”', '#111111', 'normal'),
        (f'crowd: {", ".join(clip.words)}', '#2a7f3f', 'bold'),
        (clip.reasoning, '#666666', 'normal'),
        (f'answer: {", ".join(clip.answer)}', '#a03050', 'bold'),
    )
    for line, (text, colour, weight) in enumerate(lines):
        axes.text(
            0.03, 0.88 - 0.25 * line, text, color=colour, weight=weight, fontsize=9,
            wrap=True, verticalalignment='center', transform=axes.transAxes,
        )  # fmt: skip
