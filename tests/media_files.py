"""Films and sounds written by tests, and the reading of them that several tests share."""

import itertools
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from mer_jax.data.media.container import MediaError
from mer_jax.data.media.video import read_video

BEEP = 1.0  # seconds into a sound at which its tone begins


def write_film(path, frames=40, fps=8, sound=False):
    """A film of 96 x 64 pixels, frame i of grey 10 + 5 i, black at the upper left; with a tone."""
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '10'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        if sound:
            track = container.add_stream('aac', rate=44_100, layout='stereo')
        for i in range(frames):
            grey = np.full((64, 96, 3), 10 + 5 * i, np.uint8)
            grey[:16, :16] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format='rgb24')))
        container.mux(stream.encode())
        if sound:
            tone = 0.5 * np.sin(np.arange(44_100 * frames // fps) * (2 * np.pi * 440 / 44_100))
            tone_cn = np.stack([tone, tone]).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone_cn, format='fltp', layout='stereo')
            frame.sample_rate, frame.pts = 44_100, 0
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


def write_slides(path, times):
    """A film in which frame i, of grey 8 i, is shown from times[i] ms on, the last for 1 ms."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=1000)
        stream.width, stream.height, stream.pix_fmt = 32, 32, 'yuv420p'
        for i, (start, stop) in enumerate(itertools.pairwise([*times, times[-1] + 1])):
            grey = np.full((32, 32, 3), 8 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format='rgb24')
            frame.pts, frame.duration, frame.time_base = start, stop - start, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def slide_numbers(frames):
    """The numbers of the frames of `write_slides`, from their grey."""
    return (frames.mean((1, 2, 3)) / 8).round().astype(int).tolist()


def write_wave(path, samples_nc, rate):
    """A WAV file of 16-bit samples, one column a channel."""
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(samples_nc.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples_nc.astype('<i2').tobytes())
    return path


def write_bytes(path, data):
    """A file of these bytes."""
    path.write_bytes(data)
    return path


def noise(samples=16_000):
    """16-bit samples of white noise in one column."""
    return np.random.default_rng(0).integers(-9000, 9000, (samples, 1))


def read_at_two(path):
    """The frames of a film at two a second, and their rate."""
    return read_video(path, 2.0, 768)


def refusal(read, path):
    """The message with which a file is refused, which must name the file."""
    with pytest.raises(MediaError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def numbered(number, height=64, width=128):
    """A picture that shows a number from 0 to 255 as eight stripes, black or white."""
    bits = number >> np.arange(8) & 1
    stripes = np.repeat(bits, width // 8).astype(np.uint8) * 255
    return np.broadcast_to(stripes[None, :, None], (height, width, 3)).copy()


def numbers(frames):
    """The numbers that frames of `numbered` show."""
    stripes = frames.shape[2] // 8
    lit = frames[:, :, stripes // 2 :: stripes].mean((1, 3)) > 127
    return (lit << np.arange(8)).sum(1).tolist()


def encode_numbered(container, codec, count, rate=25, options=None, first=0, size=(64, 128)):
    """The stream of numbered frames in a container, and its packets."""
    stream = container.add_stream(codec, rate=rate, options=options or {})
    (stream.height, stream.width), stream.pix_fmt = size, 'yuv420p'
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(numbered(first + number, *size), format='rgb24')
        frame.pts, frame.time_base = number, 1 / Fraction(rate)
        packets += stream.encode(frame)
    return stream, packets + stream.encode()


def write_numbered(path, codec, count, **asked):
    """A film of numbered frames."""
    with av.open(str(path), 'w') as container:
        container.mux(encode_numbered(container, codec, count, **asked)[1])
    return path


def tone(rate, seconds=3.0, channels=1, beep=BEEP, hertz=440):
    """Silence and then a tone: f[channels, samples]."""
    time = np.arange(round(rate * seconds)) / rate
    wave = np.where(time >= beep, 0.5 * np.sin(2 * np.pi * hertz * time), 0)
    return np.tile(wave.astype(np.float32), (channels, 1))


def sound_packets(stream, samples_cn, start=0.0):
    """The packets of a sound that begins at `start` seconds."""
    context, rate = stream.codec_context, stream.rate
    layout = stream.layout.name
    size = 1024 if context.frame_size in (0, None) else context.frame_size
    resampler = av.AudioResampler(context.format.name, layout, rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(samples_cn, 'fltp', layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    frames = resampler.resample(frame) + resampler.resample(None)
    return [packet for frame in [*frames, None] for packet in stream.encode(frame)]


def write_both(
    path, codec='aac', rate=16_000, late=0.0, film_late=0.0, film='libx264', drop=lambda at: False
):
    """A film of 3 s whose sound, with its beep, begins `late` seconds after time 0."""
    with av.open(str(path), 'w') as container:
        pictures = container.add_stream(film, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 128, 64, 'yuv420p'
        heard = container.add_stream(codec, rate=rate, layout='mono')
        heard.bit_rate = 64_000
        packets = []
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(numbered(number), format='rgb24')
            frame.pts, frame.time_base = number + round(film_late * 25), Fraction(1, 25)
            packets += pictures.encode(frame)
        packets += pictures.encode()
        for packet in sound_packets(heard, tone(rate), late):
            if not drop(float(packet.pts * packet.time_base) - late):
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path
