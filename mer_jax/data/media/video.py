"""Video files to frames: which frames to sample, when each is shown, decoding them."""

import math
import os
from collections.abc import Iterator

import av
import numpy as np

from mer_jax.data.media.container import (
    MediaError,
    check_pixels,
    first_track,
    open_container,
    reading,
)
from mer_jax.data.media.pictures import resize, smart_resize

MOST_FRAMES = 1 << 18  # of a film: two hours at 30 frames a second
MOST_SECONDS = 86_400  # of a film: frames far apart would get positions out of range
MOST_BYTES = 1 << 31  # of the sampled frames of a film


def sample_frames(
    total: int, video_fps: float, fps: float, min_frames: int = 4, max_frames: int = 768
) -> np.ndarray:
    """The numbers of the frames to keep of `total` ones: i[n], n even for pairs of frames.

    This is the rule of the Qwen2-VL video processor of `transformers` for a given `fps`: n is
    total / video_fps · fps between `min_frames` and `max_frames`, and frame i is int(i · total / n)
    in float32. A video of a single frame gives that frame.
    """
    if total < 1 or max_frames < 2 or not (video_fps > 0 and fps > 0):
        raise ValueError(
            f'total={total}, max_frames={max_frames}, video_fps={video_fps}, fps={fps}: sampling '
            'needs a frame, room for two and positive rates'
        )
    if total == 1:
        return np.zeros(1, np.int64)
    kept = min(max(total / video_fps * fps, min_frames), max_frames // 2 * 2, total // 2 * 2)
    count = int(kept) // 2 * 2
    return (np.arange(count) * (total / count)).astype(np.float32).astype(np.int64)


def read_video(
    path: str | os.PathLike,
    fps: float,
    max_frames: int,
    pixels: tuple[int, int] | None = None,
    factor: int = 28,
) -> tuple[np.ndarray, float]:
    """The sampled frames of a video file, upright, u8[n, H, W, 3], and their rate per second.

    `sample_frames` gives slots of time; each slot takes the frame shown in its middle, so a frame
    that lasts may be taken twice. Frames are decoded one by one and only sampled ones are kept, so
    a long film never lies in memory as a whole. With `pixels` = (min, max) each is resized to
    `smart_resize(..., factor, *pixels)`. MediaError for a file that is missing, damaged, cut off,
    of another format, or beyond MOST_PIXELS, MOST_FRAMES, MOST_SECONDS or MOST_BYTES.
    """
    with reading(path) as file:
        shown, rate, size = _survey(file)
        total = len(shown)
        slots = sample_frames(total, rate, fps, max_frames=max_frames)
        wanted = np.searchsorted(shown, (slots + 0.5) / rate, 'right') - 1
        height, width = smart_resize(*size, factor, *pixels) if pixels else size
        if len(wanted) * height * width * 3 > MOST_BYTES:
            raise MediaError(
                f'{len(wanted)} frames of {height} x {width} pixels are more than '
                f'{MOST_BYTES} bytes; lower fps, max_frames or the bound on pixels'
            )
        kept = []
        for frame in _decode(file, wanted):
            if pixels:
                size = smart_resize(*frame.shape[:2], factor, *pixels)
                frame = resize(frame[None], *size)[0]
            kept.append(frame)
        if len(kept) < len(wanted):
            raise MediaError(f'only {len(kept)} of {len(wanted)} frames can be decoded')
        if len({frame.shape for frame in kept}) > 1:
            raise MediaError('its frames are not all of one size')
    return np.stack(kept), len(wanted) / total * rate


def _survey(path: str | os.PathLike) -> tuple[np.ndarray, float, tuple[int, int]]:
    """When each frame of a film is shown, f[n] seconds from 0 on, their rate and (H, W).

    Reads packets and decodes none.
    """
    with open_container(path) as container:
        stream = first_track(container.streams.video)
        if stream is None:
            heard = ', it has sound only' if container.streams.audio else ''
            raise MediaError(f'has no video track{heard}')
        size = stream.codec_context.height, stream.codec_context.width
        check_pixels(*size)
        times, last = [], (-math.inf, 0)  # time and duration, in ticks
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise MediaError('is damaged or cut off within a frame')
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
                if packet.pts is not None:
                    last = max(last, (packet.pts, packet.duration or 0))
            if len(times) > MOST_FRAMES:
                raise MediaError(f'has more than {MOST_FRAMES} frames; cut it into clips')
        shown, rate = _pace(times, last[1], stream)
        if len(shown) / rate > MOST_SECONDS:
            raise MediaError(f'lasts {len(shown) / rate:.3g} s, over a day; cut it into clips')
        return shown, rate, size


def _pace(
    times: list[int | None], lasting: int, stream: av.video.stream.VideoStream
) -> tuple[np.ndarray, float]:
    """When each frame is shown, f[n] seconds, and their rate.

    `times` and `lasting`, the duration of the last frame, are in ticks. The rate is that of the
    header unless some frame is half a frame or more away from it.
    """
    total, tick = len(times), float(stream.time_base)
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not times or not rate:
        raise MediaError(f'holds {total} frames at {rate} frames a second')
    if None in times:
        return np.arange(total) / rate, rate
    shown = np.sort(times) * tick
    shown -= shown[0]
    end = shown[-1] + (lasting * tick or shown[-1] / max(total - 1, 1) or 1 / rate)
    # The header of a film that was cut off still gives the whole length.
    if stream.duration and end < 0.9 * stream.duration * tick:
        promised = stream.duration * tick
        raise MediaError(f'is cut off: it holds {end:.2f} s of {promised:.2f} s')
    steady = np.abs(shown - np.arange(total) / rate).max() * rate < 0.5
    return shown, rate if steady else float(total / end)


def _decode(path: str | os.PathLike, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of a video file with the numbers `wanted` (rising), one by one, upright."""
    with open_container(path) as container:
        stream = first_track(container.streams.video)
        stream.thread_type = 'AUTO'
        awaited = iter(wanted.tolist())
        number = next(awaited)
        for index, frame in enumerate(container.decode(stream)):
            if index < number:
                continue
            if frame.is_corrupt:
                raise MediaError(f'frame {index} is damaged')
            check_pixels(frame.height, frame.width)
            upright = np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90))
            while number == index:
                yield upright
                number = next(awaited, None)
            if number is None:
                return
