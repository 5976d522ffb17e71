"""Pictures of the embedded stage as files: with a manifest, a contact sheet, or as EmoSet."""

import dataclasses
import json
from pathlib import Path

import matplotlib
import tqdm
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mer_jax.data.clips import Clip, write_manifest
from mer_jax.data.stage.folder import new_folder
from mer_jax.data.stage.picture import picture
from mer_jax.data.stage.picture_words import steps

ROWS, COLUMNS = 8, 2  # of a contact sheet
EMOSET = 'EmoSet-118K'  # the folder's name
LISTS = {'train': 'train.json', 'validation': 'val.json', 'test': 'test.json'}


def write_pictures(
    out: Path, clips: int, seed: int, split: str, domain: str = 'home', sheet: bool = False
) -> None:
    """Writes pictures into a new or empty folder: PNG, manifest.jsonl and, if asked, sheet.png."""
    picture(seed, split, 0, domain)  # raises for a bad seed before a folder is made
    with new_folder(out, clips):
        written = []
        for index in tqdm.trange(clips, desc='pictures', unit='picture'):
            clip = picture(seed, split, index, domain)
            path = _save(clip, out / 'clips')
            written.append(dataclasses.replace(clip, image=str(path)))
        write_manifest(out / 'manifest.jsonl', written)
        if sheet:
            first = range(min(clips, ROWS * COLUMNS))
            shown = [picture(seed, split, index, domain) for index in first]
            write_sheet(out / 'sheet.png', shown)


def write_emoset(out: Path, clips: int, seed: int, domain: str = 'home') -> None:
    """Writes pictures of every split, `clips` each, as a folder of EmoSet in a new or empty folder.

    `emoset:OUT` reads it in place of a manifest; it holds gold words and no gold steps.
    """
    picture(seed, 'test', 0, domain)  # raises for a bad seed before a folder is made
    with new_folder(out, clips):
        root = out / EMOSET
        for split, name in LISTS.items():
            rows = []
            for index in tqdm.trange(clips, desc=split, unit='picture'):
                clip = picture(seed, split, index, domain)
                (label,) = clip.words
                image = _save(clip, root / 'image' / label)
                note = root / 'annotation' / label / f'{clip.id}.json'
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(json.dumps({'image_id': clip.id, 'emotion': label}) + '\n')
                paths = [path.relative_to(root).as_posix() for path in (image, note)]
                rows.append([label, clip.id, *paths])
            (root / name).write_text(json.dumps(rows, indent=1) + '\n')


def _save(clip: Clip, folder: Path) -> Path:
    """Writes the picture of a clip as a PNG file in a folder, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{clip.id}.png'
    Image.fromarray(clip.image).save(path)
    return path


def write_sheet(path: Path, clips: list[Clip]) -> None:
    """Draws pictures in two columns, each with its gold word, gold steps and answer."""
    rows = -(-len(clips) // COLUMNS)
    figure = Figure(figsize=(15, 1.9 * rows), facecolor='white')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        rows, 2 * COLUMNS, width_ratios=(2, 1.9) * COLUMNS, wspace=0.03, hspace=0.08,
        left=0.01, right=0.99, top=0.99, bottom=0.01,
    )  # fmt: skip
    for place, clip in enumerate(clips):
        row, column = divmod(place, COLUMNS)
        axes = figure.add_subplot(grid[row, 2 * column])
        axes.imshow(clip.image, interpolation='bicubic')
        axes.set_axis_off()
        axes = figure.add_subplot(grid[row, 2 * column + 1])
        axes.set_axis_off()
        _caption(axes, clip)
    figure.savefig(path, dpi=90)


def _caption(axes: matplotlib.axes.Axes, clip: Clip) -> None:
    """Gold word, gold steps and the annotator's answer, one below the other."""
    lines = (
        (f'crowd: {", ".join(clip.words)}', '#2a7f3f', 'bold'),
        *((step, '#666666', 'normal') for step in steps(clip.reasoning)),
        (f'answer: {", ".join(clip.answer)}', '#a03050', 'bold'),
    )
    for line, (text, colour, weight) in enumerate(lines):
        axes.text(
            0.03, 0.9 - 0.2 * line, text, color=colour, weight=weight, fontsize=9,
            verticalalignment='center', transform=axes.transAxes,
        )  # fmt: skip
