"""Sound files to samples, and samples to the log-mel that the audio tower reads."""

import functools
import itertools
import math
import os

import av
import numpy as np
import scipy.fft

from mer_jax.data.media.container import MediaError, open_container, reading
from mer_jax.data.media.tracks import sound_track

RATE = 16_000  # samples a second of every sound
LONGEST = 300 * RATE  # samples; later ones are dropped, as in Qwen2.5-Omni's extractor
SLOWEST = 1000  # samples a second of a sound file: resampling fewer would need too much memory
FFT, HOP = 400, 160  # samples: 25 ms windows every 10 ms
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)


def read_audio(path: str | os.PathLike) -> np.ndarray | None:
    """The first sound track of a file as f[samples], mono at 16 kHz; None if it has no track.

    Each channel is resampled by itself, then they are averaged: FFmpeg's own down-mix would be √2
    louder. Decoding stops after LONGEST samples. The length in a header is ignored: a sound is as
    long as its samples, which may be none. MediaError for a track that cannot be decoded.
    """
    with reading(path) as file, open_container(file) as container:
        stream = sound_track(container)
        if stream is None:
            return None
        if stream.rate < SLOWEST:
            raise MediaError(f'{stream.rate} samples a second; at least {SLOWEST} are needed')
        # Packed, because PyAV makes arrays of at most eight planes.
        resampler = av.AudioResampler(format='flt', layout=stream.layout, rate=RATE)
        parts, count = [np.zeros(0, np.float32)], 0
        for frame in itertools.chain(container.decode(stream), [None]):
            mixed = [
                part.to_ndarray().reshape(-1, part.layout.nb_channels).mean(1)
                for part in resampler.resample(frame)
            ]
            parts += mixed
            count += sum(map(len, mixed))
            if count >= LONGEST:
                break
        sound = np.concatenate(parts)[:LONGEST]
        if not np.isfinite(sound).all():
            raise MediaError('the sound track holds values that are not finite')
        return sound


@functools.cache
def mel_bank(bands: int) -> np.ndarray:
    """Slaney's mel filters f[201, bands] from 0 to 8000 Hz, each of the same area.

    The scale is linear up to 1000 Hz (3 mel for 200 Hz), logarithmic above (27 mel for a factor of
    6.4).
    """
    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = np.linspace(0, top, bands + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles.astype(np.float32)


def log_mel(samples: np.ndarray, bands: int = 128) -> np.ndarray:
    """Whisper's log-mel of a 16 kHz sound: f[⌈samples / 160⌉, bands], without frames of padding.

    Samples after LONGEST are dropped. As in Whisper's feature extractor, silence pads the sound up
    to that length, and both edges of the padded sound are mirrored. The floor lies 8 decades below
    the loudest value, which may be in one of the two windows that begin after the last frame and
    still overlap the sound.
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
