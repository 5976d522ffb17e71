"""Which of several tracks is read: as players do, never a still beside a film."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import numbered, numbers

from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.sound import read_audio
from mer_jax.data.media.video import read_film

DEFAULT, NONE = av.stream.Disposition.default, av.stream.Disposition(0)


def write_tracks(path, stills=(), films=(), sounds=(), rate=25):
    """A film of 2 s; each track is described by its disposition.

    Film k begins with number 100 k; sound k is a tone of 200 (k + 1) Hz.
    """
    with av.open(str(path), 'w') as container:
        pictures = [container.add_stream('mjpeg', rate=rate) for _ in stills]
        moving = [container.add_stream('libx264', rate=rate) for _ in films]
        heard = [container.add_stream('aac', rate=16_000, layout='mono') for _ in sounds]
        for stream in (*pictures, *moving):
            stream.width, stream.height, stream.pix_fmt = 128, 64, 'yuv420p'
        for stream in pictures:
            stream.pix_fmt, stream.width, stream.height = 'yuvj420p', 512, 512
        for stream, held in zip(
            (*pictures, *moving, *heard), (*stills, *films, *sounds), strict=True
        ):
            stream.disposition = held
        packets = []
        for stream in pictures:
            packets += encoded(stream, [numbered(255, 512, 512)], rate)
        for k, stream in enumerate(moving):
            packets += encoded(stream, [numbered(100 * k + i) for i in range(2 * rate)], rate)
        for k, stream in enumerate(heard):
            tone = 0.5 * np.sin(np.arange(32_000) * (2 * np.pi * 200 * (k + 1) / 16_000))
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), 'fltp', 'mono')
            frame.sample_rate, frame.pts = 16_000, 0
            packets += [*stream.encode(frame), *stream.encode()]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def encoded(stream, pictures, rate):
    """The packets of pictures in a stream."""
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
        frame.pts, frame.time_base = number, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode()


def pitch(sound):
    """The loudest frequency of a sound, in Hz."""
    return round(np.abs(np.fft.rfft(sound[:16_000])).argmax())


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'mov'])
@pytest.mark.parametrize('default', [0, 1, 2])
def test_of_several_sounds_the_default_one_is_read(tmp_path, kind, default):
    held = [DEFAULT if k == default else NONE for k in range(3)]
    path = write_tracks(tmp_path / f'a.{kind}', films=(DEFAULT,), sounds=held)
    assert pitch(read_audio(path)) == 200 * (default + 1)


@pytest.mark.parametrize('kind', ['mp4', 'mkv'])
@pytest.mark.parametrize('default', [0, 1])
def test_of_several_films_the_default_one_is_read(tmp_path, kind, default):
    held = [DEFAULT if k == default else NONE for k in range(2)]
    film = read_film(write_tracks(tmp_path / f'a.{kind}', films=held), 2.0)
    assert (film.track, numbers(film.frames)[0]) == (default, 100 * default)
    assert film.changed == (f'video track {default} is read; not read: track {1 - default}',)


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'mov'])
@pytest.mark.parametrize('held', [(NONE, DEFAULT), (DEFAULT, NONE), (DEFAULT, DEFAULT)])
def test_a_still_picture_is_no_film_where_there_is_a_film(tmp_path, kind, held):
    path = write_tracks(tmp_path / f'a.{kind}', stills=held[:1], films=held[1:])
    film = read_film(path, 2.0)
    assert (film.track, film.size) == (1, (64, 128))
    assert numbers(film.frames) == [0, 12, 25, 37]


def test_a_still_picture_alone_is_a_film_of_one_frame(tmp_path):
    path = write_tracks(tmp_path / 'a.mp4', stills=(NONE,), sounds=(DEFAULT,))
    assert read_film(path, 2.0).frames.shape == (1, 512, 512, 3)
    assert kind_of_file(path) == 'video'


def test_a_default_track_with_an_unknown_codec_is_passed_over(tmp_path):
    path = write_tracks(tmp_path / 'a.mp4', films=(DEFAULT,), sounds=(NONE, DEFAULT))
    raw = path.read_bytes()
    for name, other in ((b'mp4a', b'zzzz'), (b'esds', b'free')):
        last = raw.rindex(name)
        raw = raw[:last] + other + raw[last + 4 :]
    (tmp_path / 'b.mp4').write_bytes(raw)
    assert pitch(read_audio(path)) == 400
    assert pitch(read_audio(tmp_path / 'b.mp4')) == 200
