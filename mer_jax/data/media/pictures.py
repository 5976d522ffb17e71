"""Image files to pixels, and frames to the patches that the vision tower reads."""

import math
import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from mer_jax.data.media.container import MediaError, check_pixels, open_picture, reading

MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])  # of OpenAI's CLIP, per colour
STD = np.float32([0.26862954, 0.26130258, 0.27577711])
JOINED = b'\xff\xd9\xff\xd8'  # the end of a JPEG and the beginning of the next, as in raw MJPEG
ROWS = 256  # of a picture that are converted at a time: large ones have few copies


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image file as u8[H, W, 3], turned as its EXIF tag says, on white where transparent.

    Of an animated image the first frame is read; 16-bit grey is scaled to 8 bits. A HEIC or AVIF
    picture of many tiles is read as a whole.
    """
    with reading(path) as file, open_picture(file) as image:
        check_pixels(image.height, image.width)
        ImageOps.exif_transpose(image, in_place=True)
        deep = image.format == 'PPM' and image.mode == 'I'  # Pillow scales it to 16 bits
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        for top in range(0, image.height, ROWS):
            rows = pixels[top : top + ROWS]
            rows[:] = on_white(image.crop((0, top, image.width, top + len(rows))), deep)
        return pixels


def has_others(path: str | os.PathLike) -> bool:
    """Whether an image file holds pictures behind the one that is read."""
    with reading(path) as file, open_picture(file) as image:
        if image.format == 'JPEG':
            return JOINED in pathlib.Path(file).read_bytes()
        try:
            image.seek(1)
        except EOFError:
            return False
        return True


def on_white(image: Image.Image, deep: bool) -> np.ndarray:
    """A picture as u8[H, W, 3], on white where transparent; `deep`: its integers have 16 bits."""
    if deep or image.mode.startswith('I;16'):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    elif image.mode in 'IF':
        raise MediaError('its 32-bit grey values have no known range; save 8 or 16 bits')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.asarray(image.convert('RGB'))


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The nearest (height, width) in multiples of `factor` whose area lies within the bounds.

    This is the rule of the Qwen2-VL image processor of `transformers`, which rounds halves to even.
    """
    if max(height, width) > 200 * min(height, width):
        raise MediaError(f'{height} x {width} pixels: one side is over 200 times the other')
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if high * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames u8[n, height, width, 3], bicubic with antialias; unchanged if the size is right."""
    if frames.shape[1:3] == (height, width):
        return frames
    size = (width, height)
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
            for frame in frames
        ]
    )


def patches(
    frames: np.ndarray, patch: int, merge: int, temporal: int
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Frames u8[n, H, W, 3] as patches f[t·rows·columns, 3·temporal·patch²], and their grid.

    The grid (t, rows, columns) counts patches; t = ⌈n / temporal⌉, the last frame being repeated if
    n does not divide. Patches come frame by frame, cell by cell (merge x merge patches) in raster
    order, the values of a patch by colour, time, row, column, normalised as CLIP's.
    """
    n, height, width, _ = frames.shape
    if height % (patch * merge) or width % (patch * merge):
        raise MediaError(
            f'frames of {height} x {width} pixels: both sides must be multiples of patch * merge = '
            f'{patch * merge}; give pixels=(min, max) to have them resized'
        )
    t, rows, columns = -(-n // temporal), height // patch, width // patch
    if n < t * temporal:
        frames = np.concatenate([frames, np.repeat(frames[-1:], t * temporal - n, 0)])
    cells = frames.reshape(
        t, temporal, rows // merge, merge, patch, columns // merge, merge, patch, 3
    ).transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    values = cells.reshape(t * rows * columns, 3, -1) * (1 / (255 * STD))[:, None]
    values -= (MEAN / STD)[:, None]
    return values.reshape(t * rows * columns, -1), (t, rows, columns)
