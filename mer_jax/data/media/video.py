"""Media on the host: files to frames and samples, frames to patches, samples to log-mel."""

import contextlib
import functools
import itertools
import math
import os

import av
import numpy as np
import scipy.fft
from PIL import Image, ImageOps, UnidentifiedImageError

RATE = 16_000  # samples a second of every sound
LONGEST = 300 * RATE  # samples; what lies behind is not heard, as in Qwen2.5-Omni's extractor
MOST_PIXELS = 1 << 26  # of an image or frame: 8192 x 8192
MOST_FRAMES = 1 << 18  # of a film: two hours at 30 frames a second
MOST_SECONDS = 86_400  # of a film: frames far apart would stand beyond all positions
MOST_BYTES = 1 << 31  # of the frames kept of a film
SLOWEST = 1000  # samples a second of a sound file: slower ones would swell beyond bounds
MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])  # of OpenAI's CLIP, per colour
STD = np.float32([0.26862954, 0.26130258, 0.27577711])
FFT, HOP = 400, 160  # samples: 25 ms windows every 10 ms
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)
# No playlists: what they name can be other files, the network, or themselves without end.
CONTAINERS = (
    'aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,gif,ivf,matroska,mov,mp3,mpeg,mpegts,nut,ogg,'
    'w64,wav'
)
IMAGES = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')  # none that starts a program


class MediaError(ValueError):
    """A file or array that cannot be shown or played; the message names it and the reason."""


@contextlib.contextmanager
def _naming(path):
    """Puts the name of the file before a MediaError, and makes one of what a decoder raises."""
    if not os.path.exists(path):
        raise MediaError(f'{path}: there is no such file')
    if not os.path.isfile(path):
        raise MediaError(f'{path}: is no file, but a folder or a device')
    if not os.path.getsize(path):
        raise MediaError(f'{path}: is empty, 0 bytes')
    try:
        yield
    except MediaError as error:
        raise MediaError(f'{path}: {error}') from error
    except UnidentifiedImageError as error:
        raise MediaError(f'{path}: cannot be decoded, it is none of {", ".join(IMAGES)}') from error
    except Image.DecompressionBombError as error:
        raise MediaError(f'{path}: has more than {MOST_PIXELS} pixels, make it smaller') from error
    except av.error.FFmpegError as error:
        raise MediaError(f'{path}: cannot be decoded ({error.strerror})') from error
    except Exception as error:  # parsers of foreign bytes raise anything, KeyError and all
        raise MediaError(f'{path}: cannot be decoded ({error})') from error


def _open(path):
    """An open container, of a kind that reads from this one file and nothing else."""
    options = {
        'format_whitelist': CONTAINERS,
        'protocol_whitelist': 'file',
        'max_pixels': str(MOST_PIXELS),
    }
    try:
        return av.open(os.fspath(path), options=options, metadata_errors='replace')
    except av.error.ArgumentError as error:
        raise MediaError(f'cannot be decoded, it is none of {CONTAINERS}') from error


def _first(streams):
    """The first track among `streams` that is no cover picture, or None."""
    cover = av.stream.Disposition.attached_pic
    stream = next((stream for stream in streams if not stream.disposition & cover), None)
    if stream and stream.codec_context is None:
        raise MediaError(f'the {stream.type} track has a codec that cannot be decoded')
    return stream


def kind_of_file(path):
    """'image', 'video' or 'audio': what a file holds, whatever its name says.

    An animated picture is an image. MediaError where it is none of the three.
    """
    with _naming(path):
        with contextlib.suppress(UnidentifiedImageError), Image.open(path, formats=IMAGES):
            return 'image'
        with _open(path) as container:
            if _first(container.streams.video):
                return 'video'
            if _first(container.streams.audio):
                return 'audio'
        raise MediaError('holds neither a picture nor sound')


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


def _survey(path):
    """When each frame of a film is shown, f[n] seconds (rising from 0), their rate and (H, W).

    Nothing is decoded.
    """
    with _open(path) as container:
        stream = _first(container.streams.video)
        if stream is None:
            heard = ', it has sound only' if container.streams.audio else ''
            raise MediaError(f'has no video track{heard}')
        size = stream.codec_context.height, stream.codec_context.width
        _bound(*size)
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


def _pace(times, lasting, stream):
    """When each frame is shown, f[n] seconds, and their rate; `times` and `lasting` are in ticks.

    The rate is that of the header unless the frames stray from it by half a frame.
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
    # A film that was cut off still promises its whole length in the header.
    if stream.duration and end < 0.9 * stream.duration * tick:
        promised = stream.duration * tick
        raise MediaError(f'is cut off, {end:.2f} s of {promised:.2f} s are there')
    steady = np.abs(shown - np.arange(total) / rate).max() * rate < 0.5
    return shown, rate if steady else float(total / end)


def _bound(height, width):
    if not 0 < height * width <= MOST_PIXELS:  # FFmpeg is told the bound, and shows 0 beyond it
        raise MediaError(f'is empty or has more than {MOST_PIXELS} pixels a frame; make it smaller')


def read_video(path, fps, max_frames, pixels=None, factor=28):
    """The sampled frames of a video file, upright, u8[n, H, W, 3], and how many pass in a second.

    The slots of `sample_frames` are slots of time, so where frames last unequally the one is taken
    that is shown in the middle of the slot, twice if it lasts. Frames are decoded one after the
    other and only wanted ones are kept, already resized to `smart_resize(..., factor, *pixels)` if
    `pixels` = (min, max) is given, so that a long film never stands in memory. MediaError where the
    file is missing, damaged, cut off, of a foreign format, or beyond MOST_PIXELS, MOST_FRAMES,
    MOST_SECONDS or MOST_BYTES.
    """
    with _naming(path):
        shown, rate, size = _survey(path)
    total = len(shown)
    slots = sample_frames(total, rate, fps, max_frames=max_frames)
    wanted = np.searchsorted(shown, (slots + 0.5) / rate, 'right') - 1
    with _naming(path):
        height, width = smart_resize(*size, factor, *pixels) if pixels else size
        if len(wanted) * height * width * 3 > MOST_BYTES:
            raise MediaError(
                f'{len(wanted)} frames of {height} x {width} pixels are more than '
                f'{MOST_BYTES} bytes; lower fps, max_frames or the bound on pixels'
            )
        kept = []
        for frame in _decode(path, wanted):
            if pixels:
                size = smart_resize(*frame.shape[:2], factor, *pixels)
                frame = resize(frame[None], *size)[0]
            kept.append(frame)
        if len(kept) < len(wanted):
            raise MediaError(f'only {len(kept)} of {len(wanted)} frames can be decoded')
        if len({frame.shape for frame in kept}) > 1:
            raise MediaError('the frames change their size')
    return np.stack(kept), len(wanted) / total * rate


def _decode(path, wanted):
    """The frames of a video file whose numbers are `wanted` (rising), one by one, upright."""
    with _open(path) as container:
        stream = _first(container.streams.video)
        stream.thread_type = 'AUTO'
        awaited = iter(wanted.tolist())
        number = next(awaited)
        for index, frame in enumerate(container.decode(stream)):
            if index < number:
                continue
            if frame.is_corrupt:
                raise MediaError(f'frame {index} is damaged')
            _bound(frame.height, frame.width)
            upright = np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90))
            while number == index:
                yield upright
                number = next(awaited, None)
            if number is None:
                return


def read_audio(path):
    """The first sound track of a file as f[samples], mono at 16 kHz; None where there is no track.

    Channels are resampled apart and averaged: a down-mix by FFmpeg would be √2 louder. Decoding
    stops after LONGEST samples. What a header says of the length is not believed: a sound is as
    long as what is there, if that is nothing too. MediaError where it cannot be decoded.
    """
    with _naming(path), _open(path) as container:
        stream = _first(container.streams.audio)
        if stream is None:
            return None
        if stream.rate < SLOWEST:
            raise MediaError(f'{stream.rate} samples a second; {SLOWEST} are the fewest')
        # Packed, for PyAV gives arrays of at most eight planes.
        resampler = av.AudioResampler(format='flt', layout=stream.layout, rate=RATE)
        parts, heard = [np.zeros(0, np.float32)], 0
        for frame in itertools.chain(container.decode(stream), [None]):
            mixed = [
                part.to_ndarray().reshape(-1, part.layout.nb_channels).mean(1)
                for part in resampler.resample(frame)
            ]
            parts += mixed
            heard += sum(map(len, mixed))
            if heard >= LONGEST:
                break
        sound = np.concatenate(parts)[:LONGEST]
        if not np.isfinite(sound).all():
            raise MediaError('the sound track holds values that are not finite')
        return sound


def read_image(path):
    """An image file as u8[H, W, 3], turned as its EXIF tag says, on white where transparent.

    Of an animated one this is the first frame; 16-bit grey is scaled to 8 bits.
    """
    with _naming(path), Image.open(path, formats=IMAGES) as opened:
        _bound(opened.height, opened.width)
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith('I;16'):
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        elif image.mode in 'IF':
            raise MediaError('its 32-bit grey values have no known range; save 8 or 16')
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

    What lies beyond LONGEST samples is left out. As in the feature extractor, silence follows up to
    that length and both edges of it all are mirrored; the floor lies 8 decades below the loudest
    value of the clip, which may stand in one of the two windows that begin after the last frame and
    still reach into the sound.
    """
    samples = np.asarray(samples, np.float32)[:LONGEST]
    count = -(-len(samples) // HOP)
    silence = np.zeros(min(2 * FFT, LONGEST - len(samples)), np.float32)
    followed = np.concatenate([samples, silence])
    beyond = min(count + 2, len(followed) // HOP)
    padded = np.pad(followed, FFT // 2, 'reflect')
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT)[: beyond * HOP : HOP]
    spectrum = scipy.fft.rfft(windows * HANN)
    power = spectrum.real**2 + spectrum.imag**2
    decades = np.log10(np.maximum(power @ mel_bank(bands), 1e-10))
    return (np.maximum(decades[:count], decades.max() - 8) + 4) / 4
