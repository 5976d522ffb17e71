"""Films, sounds and pictures of the kinds that people report, in many containers and codecs."""

import io
import struct
import wave
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import (
    BEEP,
    encode_numbered,
    numbered,
    numbers,
    refusal,
    sound_packets,
    tone,
    write_both,
)
from PIL import Image

from mer_jax.data.media.look import look_at
from mer_jax.data.media.pictures import read_image
from mer_jax.data.media.sound import read_sound
from mer_jax.data.media.video import read_film

FILMS = {  # file: codec, pixels, options
    'ten_bits.mkv': ('libx264', 'yuv420p10le', {}),
    'full.mp4': ('libx264', 'yuv444p', {}),
    'ten_bits.mov': ('libx265', 'yuv420p10le', {'x265-params': 'log-level=none'}),
    'fields.ts': ('mpeg2video', 'yuv420p', {'flags': '+ilme+ildct'}),
    'fields.mp4': ('libx264', 'yuv420p', {'flags': '+ilme+ildct', 'x264-params': 'tff=1'}),
    'hidden.mkv': ('libvpx-vp9', 'yuv420p', {'auto-alt-ref': '1', 'lag-in-frames': '16'}),
    'hidden.webm': ('libvpx', 'yuv420p', {'auto-alt-ref': '1', 'lag-in-frames': '16'}),
    'grey.mkv': ('ffv1', 'gray', {}),
    'alpha.mov': ('png', 'rgba', {}),
    'a.mov': ('prores', 'yuv422p10le', {}),
    'b.avi': ('huffyuv', 'yuv422p', {}),
    'c.avi': ('rawvideo', 'yuv420p', {}),
    'd.mov': ('qtrle', 'rgb24', {}),
    'e.avi': ('msmpeg4v2', 'yuv420p', {}),
    'f.asf': ('wmv1', 'yuv420p', {}),
    'g.avi': ('cinepak', 'rgb24', {}),
    'h.mov': ('svq1', 'yuv410p', {}),
    'i.avi': ('zmbv', 'bgr0', {}),
    'j.3gp': ('h263', 'yuv420p', {}),
    'k.mpg': ('mpeg1video', 'yuv420p', {}),
    'l.flv': ('flv', 'yuv420p', {}),
    'm.ivf': ('libvpx', 'yuv420p', {}),
    'n.ogv': ('libvpx', 'yuv420p', {}),
}
QUICK = {'deadline': 'realtime', 'cpu-used': '8'}
SOUNDS = {  # file: codec, rate, layout
    'a.mp2': ('mp2', 44_100, 'stereo'),
    'b.wav': ('pcm_s24le', 48_000, 'stereo'),
    'c.wav': ('pcm_u8', 8000, 'mono'),
    'd.wav': ('adpcm_ima_wav', 22_050, 'mono'),
    'e.au': ('pcm_mulaw', 8000, 'mono'),
    'f.aiff': ('pcm_s24be', 44_100, 'stereo'),
    'g.m4a': ('alac', 44_100, 'stereo'),
    'h.eac3': ('eac3', 48_000, '5.1'),
    'i.ogg': ('flac', 96_000, 'mono'),
    'j.webm': ('libopus', 48_000, 'stereo'),
    'k.wma': ('wmav2', 44_100, 'mono'),
    'l.caf': ('pcm_alaw', 8000, 'mono'),
    'm.mkv': ('wavpack', 44_100, 'mono'),
    'n.amr': ('libopencore_amrnb', 8000, 'mono'),
    'o.flv': ('aac', 44_100, 'mono'),
    'p.mp4': ('libmp3lame', 44_100, 'mono'),
}


@pytest.mark.parametrize('name', FILMS)
def test_frames_are_picked_by_time_in_any_codec(tmp_path, name):
    codec, pixels, options = FILMS[name]
    size = (96, 128) if codec == 'h263' else (64, 128)
    with av.open(str(tmp_path / name), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        (stream.height, stream.width), stream.pix_fmt = size, pixels
        packets = []
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format='rgb24')
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += stream.encode(frame)
        container.mux(packets + stream.encode())
    film = read_film(tmp_path / name, 2.0)
    assert (numbers(film.frames), film.seconds, film.size) == ([0, 12, 25, 37], 2.0, size)
    assert film.lost == ()


@pytest.mark.parametrize('name', SOUNDS)
def test_a_beep_is_heard_at_its_time_in_any_codec(tmp_path, name):
    codec, rate, layout = SOUNDS[name]
    with av.open(str(tmp_path / name), 'w') as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec in ('mp2', 'eac3', 'wmav2'):
            stream.bit_rate = 128_000
        container.mux(sound_packets(stream, tone(rate, 3.0, stream.layout.nb_channels)))
    look = look_at(str(tmp_path / name), 2.0)
    assert look.kind == 'sound' and look.seconds == pytest.approx(3.0, abs=0.06)
    assert look.first_sound == pytest.approx(BEEP, abs=0.06)


@pytest.mark.parametrize(
    'name, codec',
    [
        ('a.nut', 'mpeg4'),
        ('b.mkv', 'mpeg4'),
        ('c.ts', 'mpeg4'),
        ('d.avi', 'msmpeg4v2'),
        ('e.flv', 'flv'),
        ('f.webm', 'libvpx'),
        ('g.mkv', 'libvpx-vp9'),
    ],
)
def test_differences_before_the_first_key_frame_are_no_pictures(tmp_path, name, codec):
    with av.open(str(tmp_path / name), 'w') as container:
        fast = QUICK if codec.startswith('libvpx') else {}
        _, packets = encode_numbered(container, codec, 72, options={'g': '24'} | fast)
        container.mux(packets[10:])
        key = next(n for n, packet in enumerate(packets[10:], 10) if packet.is_keyframe)
    film = read_film(tmp_path / name, 2.0)
    assert numbers(film.frames)[0] == key > 10
    assert set(numbers(film.frames)) <= set(range(key, 72))
    assert 'are missing at the start' in film.lost[0]


def test_a_film_without_a_key_frame_is_read_with_a_note(tmp_path):
    with av.open(str(tmp_path / 'a.mkv'), 'w') as container:
        _, packets = encode_numbered(container, 'mpeg4', 30, options={'g': '48'})
        container.mux(packets[5:])
    film = read_film(tmp_path / 'a.mkv', 2.0)
    assert len(film.frames) == 4
    assert film.lost == ('no frame is complete without others: the first ones may be wrong',)


@pytest.mark.parametrize('name, codec', [('a.ts', 'libx264'), ('a.mpg', 'mpeg2video')])
def test_short_films_that_are_joined_follow_each_other(tmp_path, name, codec):
    data = b''
    for part, size in enumerate([(64, 128), (96, 192)]):
        path = tmp_path / f'{part}{name}'
        with av.open(str(path), 'w') as container:
            packets = encode_numbered(container, codec, 25, first=25 * part, size=size)[1]
            container.mux(packets)
        data += path.read_bytes()
    (tmp_path / name).write_bytes(data)
    film = read_film(tmp_path / name, 2.0)
    assert film.seconds == pytest.approx(2.0, abs=0.05)
    assert all(abs(n - 25 * i / 2) <= 1 for i, n in enumerate(numbers(film.frames)))
    assert '25 frames of another size are scaled' in film.changed[-1]


@pytest.mark.parametrize(
    'name, film, sound, rate',
    [
        ('a.mov', 'libx264', 'aac', 16_000),
        ('b.mkv', 'mpeg4', 'libopus', 48_000),
        ('c.flv', 'libx264', 'aac', 44_100),
        ('d.wmv', 'wmv2', 'wmav2', 44_100),
        ('e.mpg', 'mpeg2video', 'mp2', 48_000),
        ('f.nut', 'mpeg4', 'ac3', 48_000),
    ],
)
@pytest.mark.parametrize('late, film_late', [(0.5, 0.0), (0.0, 0.48), (100.0, 100.0)])
def test_sound_is_aligned_with_the_film_in_any_container(
    tmp_path, name, film, sound, rate, late, film_late
):
    path = write_both(tmp_path / name, sound, rate, late, film_late, film)
    look = look_at(str(path), 2.0)
    assert numbers(read_film(path, 2.0).frames) == [0, 12, 25, 37, 50, 62]
    assert look.first_sound == pytest.approx(BEEP + late - film_late, abs=0.04)


def encoded_sound(folder, name, codec, rate, layout='mono'):
    """A sound of 1.5 s as bytes."""
    with av.open(str(folder / name), 'w') as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000
        container.mux(sound_packets(stream, tone(rate, 1.5, stream.layout.nb_channels)))
    return (folder / name).read_bytes()


def test_sounds_that_are_joined_padded_or_changed_in_mid_stream_are_read(tmp_path):
    mp3 = encoded_sound(tmp_path, '0.mp3', 'libmp3lame', 44_100)
    ac3 = encoded_sound(tmp_path, '0.ac3', 'ac3', 48_000)
    aac = encoded_sound(tmp_path, '0.aac', 'aac', 44_100)
    mp2 = encoded_sound(tmp_path, '0.mp2', 'mp2', 44_100)
    flac = encoded_sound(tmp_path, '0.flac', 'flac', 48_000)
    ogg = encoded_sound(tmp_path, '0.ogg', 'libopus', 48_000)
    for name, data, seconds in (
        ('a.mp3', mp3 + encoded_sound(tmp_path, '1.mp3', 'libmp3lame', 22_050), 3.0),
        ('b.ac3', ac3 + encoded_sound(tmp_path, '1.ac3', 'ac3', 48_000, 'stereo'), 3.0),
        ('c.mp2', mp2 + encoded_sound(tmp_path, '1.mp2', 'mp2', 48_000), 3.0),
        ('d.flac', flac * 2, 3.0),
        ('e.flac', flac + bytes(5000), 1.5),
        ('f.aac', aac + bytes(5000), 1.5),
        ('g.aac', bytes(3000) + aac, 1.5),
        ('h.ogg', ogg + bytes(3000), 1.5),
        ('i.mp3', mp3 + b'TAG' + bytes(125), 1.5),
    ):
        (tmp_path / name).write_bytes(data)
        samples = read_sound(tmp_path / name).samples
        assert len(samples) / 16_000 == pytest.approx(seconds, abs=0.1), name
        assert np.argmax(np.abs(samples) > 0.1) / 16_000 == pytest.approx(BEEP, abs=0.06), name


def test_a_wav_file_is_as_long_as_its_samples_whatever_its_header_says(tmp_path):
    file = io.BytesIO()
    with wave.open(file, 'wb') as whole:
        whole.setnchannels(1)
        whole.setsampwidth(2)
        whole.setframerate(16_000)
        whole.writeframes((tone(16_000)[0] * 30_000).astype('<i2').tobytes())
    data = file.getvalue()
    more = b'LIST' + struct.pack('<I', 10) + b'INFOxxxxxx'
    for name, changed in (
        ('stream', data[:40] + b'\xff' * 4 + data[44:]),
        ('none', data[:4] + bytes(4) + data[8:40] + bytes(4) + data[44:]),
        ('odd', data[:-1]),
        ('chunk', data[:12] + more + data[12:]),
    ):
        path = tmp_path / f'{name}.wav'
        path.write_bytes(changed)
        assert len(read_sound(path).samples) == pytest.approx(48_000, abs=1), name


def test_a_picture_with_one_side_far_longer_than_the_other_is_refused_by_name(tmp_path):
    Image.new('L', (900, 4)).save(tmp_path / 'a.png')
    assert 'one side is over 200 times' in refusal(
        lambda path: look_at(path, 2.0), tmp_path / 'a.png'
    )


def test_pictures_of_odd_depths_and_headers_keep_their_values(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    rows = b''.join(b'\0' + (row.astype('>u2') * 257).astype('>u2').tobytes() for row in pixels)
    deep = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 60, 40, 16, 2, 0, 0, 0))
    deep += chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    image = Image.fromarray(pixels)
    for name, options in (
        ('a.tiff', {'compression': 'tiff_lzw'}),
        ('b.webp', {'lossless': True}),
        ('c.bmp', {}),
    ):
        image.save(tmp_path / name, **options)
        np.testing.assert_array_equal(read_image(tmp_path / name), pixels, err_msg=name)
        assert look_at(str(tmp_path / name), 2.0).notes == ()
    for name, data, wanted in (
        ('d.png', deep, pixels[..., 0].tolist()),
        ('e.pbm', b'P1\n# c\n2 1\n1 0\n', [[0, 255]]),
        ('f.pgm', b'P2 2 2 4095\n0 4095 2048 1024\n', [[0, 255], [128, 64]]),
        ('g.ppm', b'P6 1 1 65535\n' + struct.pack('>3H', 32768, 0, 65535), [[128]]),
    ):
        (tmp_path / name).write_bytes(data)
        assert read_image(tmp_path / name)[..., 0].tolist() == wanted, name
    for kind in ('webp', 'png', 'tiff', 'avif', 'gif'):  # of several pictures the first is read
        first, *others = [Image.new('RGB', (60, 40), colour) for colour in ('red', 'blue')]
        first.save(tmp_path / f'h.{kind}', save_all=True, append_images=others)
        look = look_at(str(tmp_path / f'h.{kind}'), 2.0)
        assert (look.kind, look.notes) == ('picture', ('the first of several pictures is read',))
        assert np.abs(read_image(tmp_path / f'h.{kind}')[0, 0] - [255, 0, 0]).max() < 4, kind
    first.save(tmp_path / 'i.jpg')
    assert look_at(str(tmp_path / 'i.jpg'), 2.0).notes == ()
    (tmp_path / 'j.mjpeg').write_bytes(2 * (tmp_path / 'i.jpg').read_bytes())
    assert look_at(str(tmp_path / 'j.mjpeg'), 2.0).notes == look.notes
