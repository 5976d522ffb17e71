"""Odd, damaged or hostile files: each gives its content, or an error that names it and says why."""

import os

import av
import numpy as np
import pytest
from media_files import noise, read_at_two, refusal, write_bytes, write_film, write_wave
from PIL import Image

from mer_jax.data.media.container import MediaError
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.pictures import read_image
from mer_jax.data.media.sound import read_audio

READERS = (read_at_two, read_audio, read_image, kind_of_file)


def test_missing_files_folders_devices_and_empty_files_are_told_apart(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    empty = write_bytes(tmp_path / 'a.mp4', b'')
    for read in READERS:
        assert 'there is no such file' in refusal(read, tmp_path / 'none.mp4')
        assert 'is a folder or a device' in refusal(read, tmp_path)
        assert 'is a folder or a device' in refusal(read, tmp_path / 'pipe')
        assert 'is a folder or a device' in refusal(read, '/dev/zero')
        assert 'is empty, 0 bytes' in refusal(read, empty)


@pytest.mark.parametrize('name', ['a.txt', 'a.mp4', 'a.wav', 'a.png'])
def test_text_is_refused_under_any_file_name(tmp_path, name):
    path = write_bytes(tmp_path / name, b'What a lovely day. ' * 99)
    for read in READERS:
        assert 'cannot be decoded' in refusal(read, path)


@pytest.mark.parametrize('name', ['a.m3u8', 'a.mp4', 'a.txt'])
def test_a_playlist_is_not_followed(tmp_path, film, name):
    # FFmpeg would wait for ever for a list without an end mark to grow.
    playlist = f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{film}\n'
    for data in (playlist, f'ffconcat version 1.0\nfile {film}\n'):
        path = write_bytes(tmp_path / name, data.encode())
        for read in READERS:
            assert 'cannot be decoded' in refusal(read, path)


def test_a_wrong_file_name_does_not_matter(tmp_path, film):
    renamed = write_bytes(tmp_path / 'a.txt', film.read_bytes())
    np.testing.assert_array_equal(read_at_two(renamed)[0], read_at_two(film)[0])
    np.testing.assert_array_equal(read_audio(renamed), read_audio(film))


def test_the_kind_of_a_file_is_that_of_its_content(tmp_path, film):
    sound = write_wave(tmp_path / 'a.mp4', noise(), 16_000)
    Image.new('RGB', (3, 2)).save(tmp_path / 'a.png')
    picture = write_bytes(tmp_path / 'a.wav', (tmp_path / 'a.png').read_bytes())
    assert [kind_of_file(path) for path in (film, sound, picture)] == ['video', 'audio', 'image']


def test_a_missing_track_is_named(tmp_path):
    assert read_audio(write_film(tmp_path / 'silent.mp4')) is None
    sound = write_wave(tmp_path / 'a.mp4', noise(), 16_000)
    assert 'has no video track, it has sound only' in refusal(read_at_two, sound)


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / 'song.mp3'
    with av.open(str(path), 'w') as container:
        track = container.add_stream('libmp3lame', rate=44_100, layout='mono')
        cover = container.add_stream('mjpeg', rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        tone = av.AudioFrame.from_ndarray(np.ones((1, 9000), np.float32), 'fltp', 'mono')
        tone.sample_rate, tone.pts = 44_100, 0
        container.mux(track.encode(tone))
        container.mux(track.encode())
    with av.open(str(path)) as container:
        assert container.streams.video
    assert 'has no video track' in refusal(read_at_two, path)
    assert kind_of_file(path) == 'audio' and len(read_audio(path)) > 3000


def test_an_unknown_codec_is_named_as_the_reason(tmp_path, film):
    unknown = write_bytes(tmp_path / 'a.mp4', film.read_bytes().replace(b'avc1', b'zzz1'))
    assert 'the video track has a codec that cannot be decoded' in refusal(read_at_two, unknown)
    raw = bytearray(write_wave(tmp_path / 'a.wav', noise(), 16_000).read_bytes())
    raw[20:22] = b'\xee\xee'  # the format tag
    unknown = write_bytes(tmp_path / 'a.wav', bytes(raw))
    assert 'the audio track has a codec that cannot be decoded' in refusal(read_audio, unknown)


def test_a_film_that_is_cut_off_or_damaged_is_refused(tmp_path, film):
    raw = film.read_bytes()
    path = write_bytes(tmp_path / 'a.mp4', raw[: len(raw) // 2])
    assert 'is cut off: it holds 2.' in (message := refusal(read_at_two, path))
    assert message.endswith('s of 5.00 s')
    assert 'cannot be decoded' in refusal(read_audio, path)
    damaged = np.frombuffer(raw, np.uint8).copy()
    damaged[raw.index(b'mdat') + 1000 :: 50] ^= 255
    write_bytes(path, damaged.tobytes())
    refusal(read_at_two, path)
    refusal(read_audio, path)


def test_decoders_print_nothing(tmp_path, film, capfd):
    raw = np.frombuffer(film.read_bytes(), np.uint8).copy()
    raw[4000::50] ^= 255
    path = write_bytes(tmp_path / 'a.mp4', raw.tobytes())
    for read in (read_at_two, read_audio):
        refusal(read, path)
    assert capfd.readouterr() == ('', '')


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.gif', 'a.tif', 'a.webp', 'a.mp4', 'a.wav'])
def test_damage_never_raises_another_error(tmp_path, film, name):
    draw = np.random.default_rng(0)
    read = {'a.mp4': read_at_two, 'a.wav': read_audio}.get(name, read_image)
    if read is read_image:
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / name)
    write_wave(tmp_path / 'a.wav', noise(), 16_000)
    whole = np.fromfile(film if name == 'a.mp4' else tmp_path / name, np.uint8)
    refused = 0
    for _ in range(40):
        damaged = whole.copy()
        reach = draw.choice([60, 400, len(whole)])
        damaged[draw.integers(0, min(reach, len(whole)), 9)] ^= draw.integers(1, 256, 9, np.uint8)
        try:
            read(write_bytes(tmp_path / 'b', damaged.tobytes()))
        except MediaError as error:
            assert str(tmp_path / 'b') in str(error)
            refused += 1
    assert refused
