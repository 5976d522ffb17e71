"""Media on the host: files to frames and samples, frames to patches, samples to log-mel."""

import contextlib
import functools
import math

import av
import numpy as np
import scipy.fft
from PIL import Image, ImageOps

RATE = 16_000  # samples a second of every sound
MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])  # of OpenAI's CLIP, per colour
STD = np.float32([0.26862954, 0.26130258, 0.27577711])
FFT, HOP = 400, 160  # samples: 25 ms windows every 10 ms
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)


class MediaError(ValueError):
    """A file or array that cannot be shown or played; the message names it and the reason."""


@contextlib.contextmanager
def _naming(path):
    """Turns what PyAV, PIL and the file system raise into a MediaError that names the file."""
    try:
        yield
    except MediaError:
        raise
    except FileNotFoundError as error:
        raise MediaError(f'{path}: there is no such file') from error
    except (av.error.FFmpegError, OSError, ValueError, SyntaxError) as error:
        raise MediaError(f'{path}: cannot be decoded ({error})') from error
    except Image.DecompressionBombError as error:
        raise MediaError(f'{path}: {error}') from error


def sample_frames(total, video_fps, fps, min_frames=4, max_frames=768):
    """The frames to keep of `total` ones: i[n], n even (two frames make a temporal patch).

    The rule of the Qwen2-VL video processor of `transformers` given an `fps`: n is
    total / video_fps · fps between `min_frames` and `max_frames`, and frame i is int(i · total / n)
    out of float32. A video of a single frame gives that frame.
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


def _count_frames(path):
    """How many frames a video file holds and how many pass in a second, without decoding."""
    with av.open(path) as container:
        if not container.streams.video:
            raise MediaError(f'{path}: has no video track')
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = [packet for packet in packets if not packet.is_discard]
        rate = stream.average_rate or stream.guessed_rate
        if not shown or not rate:
            raise MediaError(f'{path}: holds {len(shown)} frames at {rate} frames a second')
        if any(packet.is_corrupt for packet in packets):
            raise MediaError(f'{path}: is damaged or cut off within a frame')
        times = [packet.pts for packet in shown if packet.pts is not None]
        if stream.duration and times:
            # A file that was cut off still promises its whole length in the header.
            found = float((max(times) - min(times)) * stream.time_base + 1 / rate)
            promised = float(stream.duration * stream.time_base)
            if found < 0.9 * promised:
                raise MediaError(f'{path}: is cut off, {found:.2f} s of {promised:.2f} s are there')
        return len(shown), float(rate)


def read_video(path, fps, max_frames, pixels=None, factor=28):
    """The sampled frames of a video file, upright, u8[n, H, W, 3], and how many pass in a second.

    Frames are decoded one after the other and only those of `sample_frames` are kept, already
    resized to `smart_resize(..., factor, *pixels)` if `pixels` = (min, max) is given, so that a
    long film never stands in memory. MediaError where the file is missing, damaged or cut off.
    """
    with _naming(path):
        total, video_fps = _count_frames(path)
    wanted = sample_frames(total, video_fps, fps, max_frames=max_frames)
    kept = []
    with _naming(path):
        for frame in _decode(path, wanted):
            if pixels is not None:
                size = smart_resize(*frame.shape[:2], factor, *pixels)
                frame = resize(frame[None], *size)[0]
            kept.append(frame)
    if len(kept) < len(wanted):
        raise MediaError(f'{path}: only {len(kept)} of {len(wanted)} frames can be decoded')
    if len({frame.shape for frame in kept}) > 1:
        raise MediaError(f'{path}: the frames change their size')
    return np.stack(kept), len(wanted) / total * video_fps


def _decode(path, wanted):
    """The frames of a video file whose numbers are `wanted` (rising), one by one, upright."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = 'AUTO'
        awaited = iter(wanted.tolist())
        number = next(awaited)
        for index, frame in enumerate(container.decode(stream)):
            if index == number:
                if frame.is_corrupt:
                    raise MediaError(f'{path}: frame {index} is damaged')
                yield np.rot90(frame.to_ndarray(format='rgb24'), frame.rotation // 90)
                number = next(awaited, None)
                if number is None:
                    return


def read_audio(path):
    """The first sound track of a file as f[samples], mono at 16 kHz; None where there is no track.

    Channels are resampled apart and averaged: a down-mix by FFmpeg would be √2 louder.
    """
    with _naming(path), av.open(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format='fltp', layout=stream.layout, rate=RATE)
        parts = []
        for frame in container.decode(stream):
            parts += [part.to_ndarray() for part in resampler.resample(frame)]
        parts += [part.to_ndarray() for part in resampler.resample(None)]
        if not sum(part.shape[1] for part in parts):
            raise MediaError(f'{path}: the sound track holds no samples')
        return np.concatenate(parts, 1).mean(0)


def read_image(path):
    """An image file as u8[H, W, 3], turned as its EXIF tag says, on white where transparent."""
    with _naming(path), Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.has_transparency_data:
            image = image.convert('RGBA')
            image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
        return np.asarray(image.convert('RGB'))


def smart_resize(height, width, factor, min_pixels, max_pixels):
    """The nearest (height, width) in multiples of `factor` whose area keeps within the bounds.

    The rule of the `transformers` Qwen2-VL image processor, which rounds halves to even.
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


def resize(frames, height, width):
    """Frames u8[n, height, width, 3], bicubic with antialias; untouched where the size is right."""
    if frames.shape[1:3] == (height, width):
        return frames
    size = (width, height)
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
            for frame in frames
        ]
    )


def patches(frames, patch, merge, temporal):
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


@functools.cache
def mel_bank(bands):
    """Slaney's mel filters f[201, bands] from 0 to 8000 Hz, each of the same area.

    It is linear up to 1000 Hz (3 mel for 200 Hz), logarithmic above (27 mel for a factor 6.4).
    """
    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = np.linspace(0, top, bands + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles.astype(np.float32)


def log_mel(samples, bands=128):
    """Whisper's log-mel of a 16 kHz sound: f[⌈samples / 160⌉, bands], only frames of the sound.

    As in the feature extractor the sound is followed by silence and its left edge is mirrored; the
    floor lies 8 decades below the loudest value of the clip, which may stand in one of the two
    windows that begin after the last frame and still reach into the sound.
    """
    count = -(-len(samples) // HOP)
    followed = np.concatenate([np.asarray(samples, np.float32), np.zeros(2 * FFT, np.float32)])
    padded = np.concatenate([followed[FFT // 2 : 0 : -1], followed])
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT)[: (count + 2) * HOP : HOP]
    spectrum = scipy.fft.rfft(windows * HANN)
    power = spectrum.real**2 + spectrum.imag**2
    decades = np.log10(np.maximum(power @ mel_bank(bands), 1e-10))
    return (np.maximum(decades[:count], decades.max() - 8) + 4) / 4
