"""Files that are odd, damaged or hostile: each gives its content, or a reason that names it."""

import os
import struct
import time
import zlib

import av
import numpy as np
import pytest
from PIL import Image
from test_video import numbers, read_at_two, refusal, write_film, write_slides, write_wave

from mer_jax.data.media import video as media
from mer_jax.data.media.video import MediaError, read_audio, read_image

READERS = (read_at_two, read_audio, read_image, media.kind_of_file)
DRAW = np.random.default_rng(0)
NOISE = DRAW.integers(-9000, 9000, (16_000, 1))


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """A film of 5 s with sound."""
    return write_film(tmp_path_factory.mktemp('film') / 'a.mp4', sound=True)


@pytest.fixture
def saved(tmp_path):
    """Writes bytes to a file of that name."""

    def save(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save


def test_what_is_no_file_is_told_apart_from_what_is_empty(tmp_path, saved):
    os.mkfifo(tmp_path / 'pipe')
    for read in READERS:
        assert 'there is no such file' in refusal(read, tmp_path / 'none.mp4')
        assert 'a folder or a device' in refusal(read, tmp_path)
        assert 'a folder or a device' in refusal(read, tmp_path / 'pipe')
        assert 'a folder or a device' in refusal(read, '/dev/zero')
        assert 'is empty, 0 bytes' in refusal(read, saved('a.mp4', b''))


@pytest.mark.parametrize('name', ['a.txt', 'a.mp4', 'a.wav', 'a.png'])
def test_text_is_refused_whatever_its_name(saved, name):
    for read in READERS:
        assert 'cannot be decoded' in refusal(read, saved(name, b'What a lovely day. ' * 99))


@pytest.mark.parametrize('name', ['a.m3u8', 'a.mp4', 'a.txt'])
def test_a_list_of_other_files_is_not_followed(saved, film, name):
    # Without an end mark FFmpeg would wait for more of it for ever.
    playlist = f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{film}\n'
    for data in (playlist, f'ffconcat version 1.0\nfile {film}\n'):
        for read in READERS:
            assert 'cannot be decoded' in refusal(read, saved(name, data.encode()))


def test_a_wrong_name_does_not_matter(saved, film):
    renamed = saved('a.txt', film.read_bytes())
    np.testing.assert_array_equal(read_at_two(renamed)[0], read_at_two(film)[0])
    np.testing.assert_array_equal(read_audio(renamed), read_audio(film))


def test_the_kind_of_a_file_is_that_of_its_content(tmp_path, saved, film):
    sound = write_wave(tmp_path / 'a.mp4', NOISE, 16_000)
    Image.new('RGB', (3, 2)).save(tmp_path / 'a.png')
    picture = saved('a.wav', (tmp_path / 'a.png').read_bytes())
    kinds = [media.kind_of_file(path) for path in (film, sound, picture)]
    assert kinds == ['video', 'audio', 'image']


def test_a_track_that_is_missing_is_named(tmp_path):
    assert read_audio(write_film(tmp_path / 'silent.mp4')) is None
    sound = write_wave(tmp_path / 'a.mp4', NOISE, 16_000)
    assert 'has no video track, it has sound only' in refusal(read_at_two, sound)


def test_a_cover_picture_is_no_film(tmp_path):
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
    assert media.kind_of_file(path) == 'audio' and len(read_audio(path)) > 3000


def test_an_unknown_codec_is_named_as_the_reason(tmp_path, saved, film):
    unknown = saved('a.mp4', film.read_bytes().replace(b'avc1', b'zzz1'))
    assert 'the video track has a codec that cannot be decoded' in refusal(read_at_two, unknown)
    raw = bytearray(write_wave(tmp_path / 'a.wav', NOISE, 16_000).read_bytes())
    raw[20:22] = b'\xee\xee'  # the format tag
    unknown = saved('a.wav', bytes(raw))
    assert 'the audio track has a codec that cannot be decoded' in refusal(read_audio, unknown)


def test_decoders_print_nothing(saved, film, capfd):
    raw = np.frombuffer(film.read_bytes(), np.uint8).copy()
    raw[4000::50] ^= 255
    for read in (read_at_two, read_audio):
        refusal(read, saved('a.mp4', raw.tobytes()))
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('box, at', [(b'mvhd', 20), (b'tkhd', 24), (b'mdhd', 20)])
def test_a_film_that_claims_ten_hours_is_as_long_as_its_frames(saved, film, box, at):
    raw = bytearray(film.read_bytes())
    places = [i for i in range(len(raw)) if raw.startswith(box, i)]
    for place in places:
        raw[place + at : place + at + 4] = struct.pack('>I', 36_000 * 16_384)
    long = saved('a.mp4', bytes(raw))
    assert places and read_at_two(long)[1] == 2.0
    np.testing.assert_array_equal(read_at_two(long)[0], read_at_two(film)[0])
    np.testing.assert_array_equal(read_audio(long), read_audio(film))


@pytest.mark.parametrize('claimed', [0, 36_000 * 32_000, 0xFFFFFFFF])
def test_a_sound_that_claims_ten_hours_is_as_long_as_its_samples(tmp_path, saved, claimed):
    path = write_wave(tmp_path / 'a.wav', NOISE, 16_000)
    raw = path.read_bytes()
    long = saved('b.wav', raw[:40] + struct.pack('<I', claimed) + raw[44:])
    np.testing.assert_array_equal(read_audio(long), read_audio(path))


def test_of_a_sound_of_ten_hours_five_minutes_are_decoded(tmp_path):
    path = write_wave(tmp_path / 'a.wav', NOISE, 16_000)
    raw, size = path.read_bytes(), 36_000 * 32_000
    path.write_bytes(raw[:40] + struct.pack('<I', size) + raw[44:])
    os.truncate(path, 44 + size)  # silence that takes no room on the disk
    begun = time.perf_counter()
    sound = read_audio(path)
    assert len(sound) == 300 * 16_000 and time.perf_counter() - begun < 10
    np.testing.assert_array_equal(sound[:16_000], np.float32(NOISE[:, 0] / 32768))


def test_a_sound_of_one_sample_a_second_is_refused_before_it_swells(tmp_path):
    path = write_wave(tmp_path / 'a.wav', NOISE, 1)
    assert '1 samples a second; 1000 are the fewest' in refusal(read_audio, path)


def test_films_beyond_the_bounds_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write_slides(tmp_path / 'a.mkv', range(0, 900, 100))
    monkeypatch.setattr(media, 'MOST_BYTES', 6 * 32 * 32 * 3 - 1)
    with pytest.raises(MediaError, match='6 frames of 32 x 32 pixels are more than 18431 bytes'):
        media.read_video(path, 8.0, 6)
    assert len(media.read_video(path, 8.0, 6, (28 * 28, 28 * 28))[0]) == 6
    monkeypatch.setattr(media, 'MOST_FRAMES', 8)
    assert 'has more than 8 frames' in refusal(read_at_two, path)


@pytest.mark.parametrize('days, fits', [(0.99, True), (1, False), (3000, False)])
def test_a_film_that_lasts_over_a_day_is_refused(tmp_path, days, fits):
    path = write_slides(tmp_path / 'a.mkv', [0, 100, 200, int(days * 86_400_000)])
    if fits:
        assert read_at_two(path)[1] == pytest.approx(4 / (days * 86_400), rel=1e-3)
    else:
        assert 'over a day; cut it into clips' in refusal(read_at_two, path)


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    for side in (9000, 30_000):
        header = chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0))
        body = chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
        path = tmp_path / 'a.png'
        path.write_bytes(b'\x89PNG\r\n\x1a\n' + header + body)
        assert 'more than 67108864 pixels' in refusal(read_image, path)
    frames = [Image.new('RGB', (40, 30), name) for name in ('red', 'lime', 'blue', 'white')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], duration=100)
    raw = (tmp_path / 'a.gif').read_bytes()
    (tmp_path / 'a.gif').write_bytes(raw[:6] + struct.pack('<HH', 16_000, 16_000) + raw[10:])
    assert 'more than 67108864 pixels' in refusal(read_at_two, tmp_path / 'a.gif')


def test_a_film_of_one_frame_gives_that_frame(tmp_path):
    frames, fps = read_at_two(write_slides(tmp_path / 'a.mkv', [0]))
    assert numbers(frames) == [0] and fps > 0


@pytest.mark.parametrize('rate', [8000, 11_025, 44_100, 96_000])
def test_sound_of_any_rate_becomes_the_same_tone_at_16_khz(tmp_path, rate):
    tone = 0.4 * 32767 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    sound = read_audio(write_wave(tmp_path / 'a.wav', tone[:, None].round(), rate))
    wanted = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert abs(len(sound) - 16_000) <= 1
    assert np.abs(sound[200:-200] - wanted[200 : len(sound) - 200]).max() < 2e-3


@pytest.mark.parametrize(
    'codec, scale', [('pcm_u8', 1e-2), ('pcm_f32le', 1e-6), ('pcm_s24le', 1e-6)]
)
@pytest.mark.parametrize('layout, channels', [('mono', 1), ('5.1', 6)])
def test_samples_of_any_kind_and_number_of_channels_are_averaged(
    tmp_path, codec, scale, layout, channels
):
    samples = DRAW.uniform(-0.5, 0.5, (channels, 4000)).astype(np.float32)
    with av.open(str(tmp_path / 'a.wav'), 'w') as container:
        track = container.add_stream(codec, rate=16_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, 'fltp', layout)
        frame.sample_rate, frame.pts = 16_000, 0
        resampler = av.AudioResampler(format=track.format.name, layout=layout, rate=16_000)
        for part in resampler.resample(frame):
            container.mux(track.encode(part))
        container.mux(track.encode())
    sound = read_audio(tmp_path / 'a.wav')
    np.testing.assert_allclose(sound, samples.mean(0), rtol=0, atol=scale)


@pytest.mark.parametrize('channels', [8, 9, 16, 64])
def test_sound_of_many_channels_is_averaged_as_well(tmp_path, channels):
    samples = DRAW.integers(-9000, 9000, (1601, channels))
    sound = read_audio(write_wave(tmp_path / 'a.wav', samples, 16_000))
    np.testing.assert_allclose(sound, samples.mean(1) / 32768, rtol=0, atol=1e-6)


def test_sound_that_is_no_number_is_refused(tmp_path):
    with av.open(str(tmp_path / 'a.wav'), 'w') as container:
        track = container.add_stream('pcm_f32le', rate=16_000, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.full((1, 4000), np.nan, np.float32), 'flt', 'mono')
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(track.encode(frame))
    assert 'values that are not finite' in refusal(read_audio, tmp_path / 'a.wav')


UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {  # how a camera stores the upright picture that it gives each EXIF orientation
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize('orientation', STORED)
def test_an_image_of_any_orientation_stands_upright(tmp_path, orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(STORED[orientation].copy()).save(tmp_path / 'a.png', exif=tag)
    assert read_image(tmp_path / 'a.png')[..., 1].tolist() == UPRIGHT.tolist()


def test_images_of_every_mode_become_colours(tmp_path):
    grey = np.array([[0, 100, 255]], np.uint8)
    wanted = np.repeat(grey[..., None], 3, -1).tolist()
    images = {
        'grey.png': Image.fromarray(grey),
        'deep.png': Image.fromarray(grey.astype(np.uint16) * 257),
        'palette.gif': Image.fromarray(grey).convert('P'),
        'ink.tif': Image.fromarray(np.stack([*[255 - grey] * 3, 0 * grey], -1), 'CMYK'),
        'glass.png': Image.fromarray(np.stack([grey, grey * 0 + 255], -1), 'LA'),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        assert read_image(tmp_path / name).tolist() == wanted, name
    Image.new('RGBA', (1, 1), (0, 0, 0, 0)).save(tmp_path / 'clear.png')
    assert read_image(tmp_path / 'clear.png').tolist() == [[[255, 255, 255]]]
    Image.new('F', (1, 1)).save(tmp_path / 'float.tif')
    assert 'have no known range' in refusal(read_image, tmp_path / 'float.tif')


def test_of_an_animated_image_the_first_frame_is_read(tmp_path):
    frames = [Image.new('RGB', (4, 3), name) for name in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / 'a.gif')[0, 0].tolist() == [255, 0, 0]


def test_an_image_that_is_cut_off_is_refused(tmp_path, saved):
    noise = DRAW.integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.jpg')
    raw = (tmp_path / 'a.jpg').read_bytes()
    assert 'truncated' in refusal(read_image, saved('b.jpg', raw[: len(raw) // 2]))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.gif', 'a.tif', 'a.webp', 'a.mp4', 'a.wav'])
def test_no_damage_ever_escapes_as_another_error(tmp_path, saved, film, name):
    read = {'a.mp4': read_at_two, 'a.wav': read_audio}.get(name, read_image)
    if read is read_image:
        Image.fromarray(DRAW.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / name)
    write_wave(tmp_path / 'a.wav', NOISE, 16_000)
    whole = np.fromfile(film if name == 'a.mp4' else tmp_path / name, np.uint8)
    refused = 0
    for _ in range(40):
        damaged = whole.copy()
        reach = DRAW.choice([60, 400, len(whole)])
        damaged[DRAW.integers(0, min(reach, len(whole)), 9)] ^= DRAW.integers(1, 256, 9, np.uint8)
        try:
            read(saved('b', damaged.tobytes()))
        except MediaError as error:
            assert str(tmp_path / 'b') in str(error)
            refused += 1
    assert refused
