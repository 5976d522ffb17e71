"""Clips to prompts: pictures in window order, sound in chunks, and the text around them."""

import dataclasses
import functools
import logging

import numpy as np

from mer_jax.data.chat import chat_ids
from mer_jax.data.clips import Clip
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.pictures import patches, read_image, resize, smart_resize
from mer_jax.data.media.sound import HOP, log_mel, read_audio
from mer_jax.data.media.video import read_video
from mer_jax.data.positions import Layout, expand, positions

log = logging.getLogger(__name__)

CELL = 4  # patches of a cell, the square that becomes a token
SHORTEST = 2 * HOP + 1  # samples of the shortest sound that has a token


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The prompt of one clip, unpadded; its last token is held apart as `start`.

    Branches begin with `start`. Media and `place` are those of `group.Media` for a batch of this
    prompt alone.
    """

    id: str  # of the clip
    token: np.ndarray  # i[t]
    position: np.ndarray  # i[3, t]
    start: int
    next_position: int  # of `start`
    patch: np.ndarray  # f[z, p, x]
    patch_mask: np.ndarray  # bool[z, p]
    patch_row_col: np.ndarray  # i[z, p, 2]
    sound: np.ndarray  # f[j, f, m]
    sound_length: np.ndarray  # i[j]
    sound_pair: np.ndarray  # i[q, 2]
    place: np.ndarray  # i[t]
    feature: np.ndarray | None = None  # f[r, d], from a cache, in place of the media


def write_prompt(
    clip: Clip,
    tokenizer,
    layout: Layout,
    question: str,
    *,
    system: str = '',
    fps: float = 2.0,
    audio_in_video: bool = True,
    sound_start: str = 'film',
    pixels: tuple[int, int] | None = None,
    max_frames: int = 768,
) -> Prompt:
    """Reads the media of a clip and tokenises the chat about it, up to the start of the answer.

    The user turn holds the clip's video (with `audio_in_video`, its sound inside), images, sound
    and subtitle, as far as it has them, and the question. `system` is the system message; if it is
    empty, the chat template's own is kept, if it has one. Frames of a video file are sampled at
    `fps`; a video array keeps its frames, at `clip.fps`. A video file gives its own sound if the
    clip names no other and it is long enough for a token; it begins with the film, or with its own
    first sample if `sound_start` is 'sound'. A family that cannot hear gets no sound.
    `pixels` (min, max) bounds the area of a frame; None keeps its size. MediaError for media that
    cannot be used.
    """
    try:
        pictures, seconds = _read_pictures(clip, layout, fps, pixels, max_frames)
        sounds = _read_sound(clip, layout, sound_start)
    except MediaError as error:
        raise MediaError(f'clip {clip.id}: {error}') from error
    together = audio_in_video and clip.video is not None and len(sounds) > 0
    count = {
        'video': clip.video is not None,
        'image': len(clip.images),
        'audio': len(sounds) > 0 and not together,
    }
    kinds = tuple(kind for kind, times in count.items() for _ in range(times))
    text = f'{clip.subtitle}\n{question}' if clip.subtitle else question
    chat = chat_ids(tokenizer, kinds, system, text)
    return fill_prompt(clip.id, chat, pictures, seconds, sounds, layout, together)


def fill_prompt(
    name: str, chat: list[int], pictures, seconds, sounds, layout: Layout, together: bool
) -> Prompt:
    """The prompt of a chat in token ids with one placeholder for each medium.

    `pictures` are the (patches, grid) of `pictures.patches`, `seconds` the length of a temporal
    patch of each (0 for an image), `sounds` log-mels; all are in order of appearance. With
    `together` a video holds the next sound.
    """
    grids, lengths = [grid for _, grid in pictures], [len(sound) for sound in sounds]
    token = expand(chat, grids, seconds, lengths, layout, together)
    position = positions(token, grids, seconds, lengths, layout)
    patch, patch_mask, patch_row_col, seen = _arrange_patches(pictures, layout)
    sound, sound_length, sound_pair = _chunk_sounds(sounds, layout)
    place = np.full(len(token), -1, np.int32)
    place[(token == layout.video) | (token == layout.image)] = seen
    place[token == layout.audio] = patch_mask.size // CELL + np.arange(len(sound_pair))
    return Prompt(
        id=name,
        token=token[:-1],
        position=position[:, :-1],
        start=int(token[-1]),
        next_position=int(position[:, -1].max()),
        patch=patch,
        patch_mask=patch_mask,
        patch_row_col=patch_row_col,
        sound=sound,
        sound_length=sound_length,
        sound_pair=sound_pair,
        place=place[:-1],
    )


def _read_pictures(
    clip: Clip, layout: Layout, fps: float, pixels: tuple[int, int] | None, max_frames: int
) -> tuple[list[tuple[np.ndarray, tuple]], list[float]]:
    """Video and images as (patches, grid), and the seconds of a temporal patch (0 for an image)."""
    pictures, seconds = [], []
    if isinstance(clip.video, np.ndarray):
        if not clip.fps or clip.fps <= 0:
            raise MediaError(f'fps={clip.fps}: a video array needs its frames per second')
        pictures.append(_patches('video', clip.video, layout, pixels))
        seconds.append(layout.temporal_patch / clip.fps)
    elif clip.video is not None:
        factor = layout.patch * layout.merge
        frames, rate = read_video(clip.video, fps, max_frames, pixels, factor)
        pictures.append(_patches(clip.video, frames, layout, None))
        seconds.append(layout.temporal_patch / rate)
    for image in clip.images:
        if isinstance(image, np.ndarray):
            pictures.append(_patches('image', image[None], layout, pixels))
        else:
            pictures.append(_patches(image, read_image(image)[None], layout, pixels))
        seconds.append(0.0)
    return pictures, seconds


def _patches(
    name: str, frames: np.ndarray, layout: Layout, pixels: tuple[int, int] | None
) -> tuple[np.ndarray, tuple]:
    """The patches of frames u8[n, H, W, 3], resized if `pixels` bounds their area."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise MediaError(
            f'{name}: frames must be uint8[n, height, width, 3], not {frames.dtype}'
            f'{list(frames.shape)}'
        )
    try:
        if pixels is not None:
            factor = layout.patch * layout.merge
            size = smart_resize(*frames.shape[1:3], factor, *pixels)
            frames = resize(frames, *size)
        return patches(frames, layout.patch, layout.merge, layout.temporal_patch)
    except MediaError as error:
        raise MediaError(f'{name}: {error}') from error


def _read_sound(clip: Clip, layout: Layout, start: str) -> list[np.ndarray]:
    """The log-mel of the clip's sound in a list, which is empty without sound: [f[frames, m]]."""
    if layout.audio is None:
        others = clip.video is not None or clip.images or clip.subtitle
        if clip.audio is not None and not others:
            raise MediaError(f'it has sound only, which the family {layout.family!r} cannot hear')
        return []
    name, sound = 'audio', clip.audio
    if sound is None and clip.video is not None and not isinstance(clip.video, np.ndarray):
        sound = read_audio(clip.video, start)
        if sound is not None and len(sound) < SHORTEST:
            _warn_of_short_sound(clip.id, len(sound))
            return []
    elif sound is not None and not isinstance(sound, np.ndarray):
        name, sound = clip.audio, read_audio(clip.audio, start)
        if sound is None:
            raise MediaError(f'{name}: has no sound track')
    if sound is None:
        return []
    if sound.dtype != np.float32 or sound.ndim != 1 or not np.isfinite(sound).all():
        raise MediaError(
            f'{name}: samples must be finite float32[samples], not {sound.dtype}{list(sound.shape)}'
        )
    if len(sound) < SHORTEST:
        raise MediaError(f'{name}: has {len(sound)} samples of sound; a token takes {SHORTEST}')
    return [log_mel(sound, layout.bands)]


@functools.cache
def _warn_of_short_sound(name: str, samples: int) -> None:
    """Warns, once a clip, that a film is shown without its sound."""
    log.warning(
        'clip %s: is shown without its sound of %d samples; a token takes %d',
        name,
        samples,
        SHORTEST,
    )


def _arrange_patches(pictures: list, layout: Layout) -> tuple[np.ndarray, ...]:
    """Patches in window order, all frames padded to one size, and the feature row of each cell.

    Returns f[z, p, x], bool[z, p], i[z, p, 2] (row, column) and i[cells] in the order of the
    tokens: picture by picture, frame by frame, cells in raster order.
    """
    side = layout.window
    windows = [
        -(-rows // (2 * side)) * -(-columns // (2 * side)) for _, (_, rows, columns) in pictures
    ]
    z, cells = sum(grid[0] for _, grid in pictures), max(windows, default=0) * side * side
    patch = np.zeros((z, cells, CELL, 3 * layout.temporal_patch * layout.patch**2), np.float32)
    mask = np.zeros((z, cells, CELL), bool)
    row_col = np.zeros((z, cells, CELL, 2), np.int32)
    seen, first = [np.zeros(0, np.int64)], 0
    for values, (t, rows, columns) in pictures:
        slot, places = _window_order(rows // 2, columns // 2, side)
        frames = slice(first, first + t)
        patch[frames, slot] = values.reshape(t, len(slot), CELL, -1)
        mask[frames, slot] = True
        row_col[frames, slot] = places
        seen.append((np.arange(first, first + t)[:, None] * cells + slot).ravel())
        first += t
    flat = cells * CELL
    return (
        patch.reshape(z, flat, patch.shape[-1]),
        mask.reshape(z, flat),
        row_col.reshape(z, flat, 2),
        np.concatenate(seen),
    )


@functools.cache
def _window_order(rows: int, columns: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The slot of each cell of a frame, i[cells], and its patches' (row, column), i[cells, 4, 2].

    Windows of side x side cells come in raster order, and so do the cells of a window. Windows at
    the right and lower border keep slots that stay empty.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    window = row // side * -(-columns // side) + column // side
    slot = window * side * side + row % side * side + column % side
    corner = np.stack([row, column], -1)[:, None] * 2
    return slot, corner + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def _chunk_sounds(sounds: list[np.ndarray], layout: Layout) -> tuple[np.ndarray, ...]:
    """Log-mels in chunks f[j, f, m], their valid lengths i[j], and the frames of tokens i[q, 2].

    A chunk belongs to one sound. A token takes two convolved frames, which are half as many as the
    log-mel frames; pairs run on from chunk to chunk of a sound, and an odd last frame is dropped.
    """
    chunks, lengths, pairs = [], [], [np.zeros((0, 2), np.int32)]
    for sound in sounds:
        heard = []
        for start in range(0, len(sound), layout.chunk):
            chunk = sound[start : start + layout.chunk]
            first = len(chunks) * (layout.chunk // 2)
            heard.append(np.arange(first, first + (len(chunk) + 1) // 2, dtype=np.int32))
            chunks.append(np.pad(chunk, ((0, layout.chunk - len(chunk)), (0, 0))))
            lengths.append(len(chunk))
        whole = np.concatenate(heard)
        pairs.append(whole[: len(whole) // 2 * 2].reshape(-1, 2))
    sound = np.stack(chunks) if chunks else np.zeros((0, layout.chunk, layout.bands), np.float32)
    return sound, np.array(lengths, np.int32), np.concatenate(pairs)
