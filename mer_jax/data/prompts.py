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
SHORTEST = 2 * HOP + 1  # samples of a sound that becomes a token


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The prompt of one clip, unpadded; its last token is `start`, with which branches begin.

    Media are laid out as in `group.Media`, and `place` as if the prompt were a batch of its own.
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
    feature: np.ndarray | None = None  # f[r, d], in place of media that the towers have seen before


def write_prompt(
    clip: Clip,
    tokenizer,
    layout: Layout,
    question: str,
    *,
    system: str = '',
    fps: float = 2.0,
    audio_in_video: bool = True,
    pixels: tuple[int, int] | None = None,
    max_frames: int = 768,
) -> Prompt:
    """The user turn about a clip and the opening of the answer: media read, text tokenised.

    The turn holds video (with `audio_in_video` its sound inside), images, sound, then the subtitle
    and the question, whichever there are. `system` is the system message; if it is empty, the one
    that the chat template brings, if any. Frames of a video file are sampled at `fps`; an array is
    taken as it is, at `clip.fps`. A video file brings its own sound if the clip names no other and
    it is long enough for a token; a deaf family gets none. `pixels` (min, max) bounds the area of a
    frame, None leaves frames as they are. MediaError for media that cannot be used.
    """
    try:
        pictures, seconds = _look(clip, layout, fps, pixels, max_frames)
        sounds = _listen(clip, layout)
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
    """The prompt whose token ids hold a placeholder for each medium.

    `pictures` are (patches, grid) of `pictures.patches`, with the `seconds` of a temporal patch of
    each (0 in an image), `sounds` log-mels; both in order of appearance. With `together` a video
    holds the next sound.
    """
    grids, lengths = [grid for _, grid in pictures], [len(sound) for sound in sounds]
    token = expand(chat, grids, seconds, lengths, layout, together)
    position = positions(token, grids, seconds, lengths, layout)
    patch, patch_mask, patch_row_col, seen = _arrange(pictures, layout)
    sound, sound_length, sound_pair = _cut(sounds, layout)
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


def _look(clip, layout, fps, pixels, max_frames):
    """Video and images as (patches, grid), and the seconds of a temporal patch (0 in an image)."""
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


def _patches(name, frames, layout, pixels):
    """The patches of frames u8[n, H, W, 3], resized if there are bounds on their pixels."""
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


def _listen(clip, layout):
    """The log-mel of the clip's sound, if any: a list of at most one f[frames, m]."""
    if layout.audio is None:
        others = clip.video is not None or clip.images or clip.subtitle
        if clip.audio is not None and not others:
            raise MediaError(f'it has sound only, and the family {layout.family!r} is deaf')
        return []
    name, sound = 'audio', clip.audio
    if sound is None and clip.video is not None and not isinstance(clip.video, np.ndarray):
        sound = read_audio(clip.video)
        if sound is not None and len(sound) < SHORTEST:
            _tell_silent(clip.id, len(sound))
            return []
    elif sound is not None and not isinstance(sound, np.ndarray):
        name, sound = clip.audio, read_audio(clip.audio)
        if sound is None:
            raise MediaError(f'{name}: has no sound track')
    if sound is None:
        return []
    if sound.dtype != np.float32 or sound.ndim != 1 or not np.isfinite(sound).all():
        raise MediaError(
            f'{name}: samples must be finite float32[samples], not {sound.dtype}{list(sound.shape)}'
        )
    if len(sound) < SHORTEST:
        raise MediaError(f'{name}: has {len(sound)} samples of sound, a token takes {SHORTEST}')
    return [log_mel(sound, layout.bands)]


@functools.cache
def _tell_silent(name, samples):
    """Says once that a film is shown as if it had no sound."""
    told = 'clip %s: is shown without its sound of %d samples, for a token takes %d'
    log.warning(told, name, samples, SHORTEST)


def _arrange(pictures, layout):
    """Patches in window order, frames padded alike, and the row of each cell in the features.

    Returns f[z, p, x], bool[z, p], i[z, p, 2] (row, column) and i[cells], which follows the tokens:
    picture by picture, frame by frame, cells in raster order.
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
def _window_order(rows, columns, side):
    """Where each cell of a frame goes, i[cells], and its patches' rows and columns, i[cells, 4, 2].

    Windows of side x side cells follow in raster order, cells inside a window as well; windows at
    the right and lower border keep their empty places.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    window = row // side * -(-columns // side) + column // side
    slot = window * side * side + row % side * side + column % side
    corner = np.stack([row, column], -1)[:, None] * 2
    return slot, corner + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def _cut(sounds, layout):
    """Log-mels in chunks f[j, f, m], their valid lengths i[j], and frame pairs of tokens i[q, 2].

    A chunk belongs to one sound. The pairs run over the convolved frames (half as many) of a whole
    sound; an odd last one is dropped.
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
