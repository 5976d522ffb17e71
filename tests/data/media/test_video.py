"""Films to frames: the sampling rule, unequal frames, turned cameras, and the bounds."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import (
    numbered,
    numbers,
    read_at_two,
    refusal,
    slide_numbers,
    write_bytes,
    write_film,
    write_slides,
)
from PIL import Image

from mer_jax.data.media import film_times, video
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.sound import read_audio
from mer_jax.data.media.video import read_film, read_video, sample_frames


def test_frames_are_sampled_evenly_in_pairs_and_within_bounds():
    assert sample_frames(40, 8.0, 2.0).tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert sample_frames(50, 25.0, 0.5).tolist() == [0, 12, 25, 37]  # at least four
    assert len(sample_frames(9000, 30.0, 2.0, max_frames=17)) == 16
    assert len(sample_frames(50, 10.0, 1.0)) == 4  # of five
    assert sample_frames(3, 30.0, 2.0).tolist() == [0, 1]
    assert sample_frames(1, 30.0, 2.0).tolist() == [0]


def test_sampling_equals_the_rule_of_the_reference_for_many_lengths():
    torch = pytest.importorskip('torch')
    for total in range(4, 700, 3):
        for count in {4, total // 7 // 2 * 2, total // 3 // 2 * 2} - {0, 2}:
            # Rounding can append an index that is out of range, as with 110 of 334.
            wanted = torch.arange(0, total, total / count).int()[:count].tolist()
            fps = (count + 0.5) / total * 30
            found = sample_frames(total, 30.0, fps, min_frames=2).tolist()
            assert found == wanted, (total, count)


@pytest.mark.parametrize('rates', [(0, 30.0, 2.0), (40, 0.0, 2.0), (40, 30.0, 0.0)])
def test_sampling_without_frames_or_rate_is_refused(rates):
    with pytest.raises(ValueError, match='positive rates'):
        sample_frames(*rates)


def test_a_film_gives_the_sampled_frames_and_their_rate(tmp_path):
    frames, fps = read_video(write_film(tmp_path / 'a.mp4'), 2.0, 768)
    assert (frames.shape, frames.dtype, fps) == ((10, 64, 96, 3), np.uint8, 2.0)
    wanted = 10 + 5 * np.arange(0, 40, 4)
    assert np.abs(frames[:, 32, 48].mean(-1) - wanted).max() <= 2
    frames, fps = read_video(tmp_path / 'a.mp4', 2.0, 4)
    assert (len(frames), fps) == (4, 0.8)


def test_frames_are_resized_while_they_are_read(tmp_path):
    frames, _ = read_video(write_film(tmp_path / 'a.mp4'), 2.0, 4, (3136, 3136))
    assert frames.shape == (4, 28, 56, 3)


@pytest.mark.parametrize('kind', ['mp4', 'mkv'])
def test_of_frames_that_last_unequally_those_shown_at_the_time_are_taken(tmp_path, kind):
    times = [*range(0, 1000, 100), *range(1000, 7000, 1000)]  # 16 frames in 6001 ms
    frames, fps = read_video(write_slides(tmp_path / f'a.{kind}', times), 1.4, 768)
    assert len(frames) == 8 and fps == pytest.approx(8 / 6.001)
    middle = (np.arange(0, 16, 2) + 0.5) * 6001 / 16
    assert slide_numbers(frames) == [sum(start <= at for start in times) - 1 for at in middle]
    assert slide_numbers(frames) != sample_frames(16, 16 / 6.001, 1.4).tolist()


def test_the_rate_is_measured_where_a_frame_is_half_a_frame_away_from_that_of_the_header(tmp_path):
    steady, late = (write_slides(tmp_path / f'{t}.mkv', [0, 1, 2, 3, t]) for t in (4, 20))
    assert read_video(steady, 2.0, 4)[1] == 4 / 5 * 1000  # frames a second, as the header says
    assert read_video(late, 2.0, 4)[1] == pytest.approx(4 / 0.021)


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'avi'])
@pytest.mark.parametrize('rate', [25, Fraction(30_000, 1001), 30])
def test_at_a_constant_rate_the_frames_are_those_that_the_rule_numbers(tmp_path, kind, rate):
    with av.open(str(tmp_path / f'a.{kind}'), 'w') as container:
        stream = container.add_stream('libx264', rate=rate, options={'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = 32, 32, 'yuv420p'
        for i in range(31):
            grey = np.full((32, 32, 3), 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format='rgb24')))
        container.mux(stream.encode())
    frames, fps = read_video(tmp_path / f'a.{kind}', 12.0, 768)
    wanted = sample_frames(31, float(rate), 12.0)
    assert (slide_numbers(frames), fps) == (wanted.tolist(), len(wanted) / 31 * float(rate))


def test_a_film_of_one_frame_gives_that_frame(tmp_path):
    frames, fps = read_at_two(write_slides(tmp_path / 'a.mkv', [0]))
    assert slide_numbers(frames) == [0] and fps > 0


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_a_film_of_a_turned_camera_is_read_upright(tmp_path, turns):
    path = write_film(tmp_path / 'a.mp4')
    plain, _ = read_at_two(path)
    raw = path.read_bytes()
    at = raw.index(b'tkhd') + 44  # of the matrix; (x, y) is shown at (a x + c y, b x + d y)
    a, b = [(0, 1), (-1, 0), (0, -1)][turns - 1]  # clockwise by so many quarters
    turned = struct.pack('>9i', a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    write_bytes(path, raw[:at] + turned + raw[at + 36 :])
    frames, _ = read_at_two(path)
    np.testing.assert_array_equal(frames, np.rot90(plain, -turns, (1, 2)))
    assert plain[-1, :14, :14].max() < 20 < 150 < plain[-1, :14, -14:].min()


SIZED = [('webm', 'libvpx'), ('mkv', 'mjpeg'), ('ts', 'mpeg2video')]


@pytest.mark.parametrize('kind, codec', SIZED)
def test_frames_that_change_size_in_mid_film_get_that_of_the_first(tmp_path, kind, codec):
    path, pixel_format = tmp_path / f'a.{kind}', 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 128, pixel_format
        container.start_encoding()
        for part, (height, width) in enumerate([(64, 128), (128, 256), (96, 96)]):
            other = av.CodecContext.create(codec, 'w')
            other.height, other.width, other.pix_fmt = height, width, pixel_format
            other.time_base, other.framerate = Fraction(1, 25), 25
            packets = []
            for number in range(25):
                picture = numbered(25 * part + number, height, width)
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                frame.pts, frame.time_base = number, Fraction(1, 25)
                packets += other.encode(frame)
            for packet in packets + other.encode():
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts += 25 * part
                packet.dts += 25 * part
                container.mux(packet)
    film = read_film(path, 4.0)
    assert film.frames.shape[1:3] == film.size == (64, 128)
    assert numbers(film.frames) == sample_frames(75, 25.0, 4.0).tolist()
    assert 'frames of another size are scaled to the first, 64 x 128' in film.changed[-1]
    assert read_video(path, 4.0, 4, (28 * 28, 28 * 56))[0].shape == (4, 28, 56, 3)


@pytest.mark.parametrize('box, at', [(b'mvhd', 20), (b'tkhd', 24), (b'mdhd', 20)])
def test_a_film_whose_header_claims_ten_hours_is_as_long_as_its_frames(tmp_path, film, box, at):
    raw = bytearray(film.read_bytes())
    places = [i for i in range(len(raw)) if raw.startswith(box, i)]
    for place in places:
        raw[place + at : place + at + 4] = struct.pack('>I', 36_000 * 16_384)
    long = write_bytes(tmp_path / 'a.mp4', bytes(raw))
    assert places and read_at_two(long)[1] == 2.0
    np.testing.assert_array_equal(read_at_two(long)[0], read_at_two(film)[0])
    np.testing.assert_array_equal(read_audio(long), read_audio(film))


def test_films_beyond_the_bounds_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write_slides(tmp_path / 'a.mkv', range(0, 900, 100))
    monkeypatch.setattr(video, 'MOST_BYTES', 6 * 32 * 32 * 3 - 1)
    with pytest.raises(MediaError, match='6 frames of 32 x 32 pixels are more than 18431 bytes'):
        read_video(path, 8.0, 6)
    assert len(read_video(path, 8.0, 6, (28 * 28, 28 * 28))[0]) == 6
    monkeypatch.setattr(film_times, 'MOST_FRAMES', 8)
    assert 'has more than 8 frames' in refusal(read_at_two, path)


@pytest.mark.parametrize('days, fits', [(0.99, True), (1, False), (3000, False)])
def test_a_film_that_lasts_over_a_day_is_refused(tmp_path, days, fits):
    path = write_slides(tmp_path / 'a.mkv', [0, 100, 200, int(days * 86_400_000)])
    if fits:
        assert read_at_two(path)[1] == pytest.approx(4 / (days * 86_400), rel=1e-3)
    else:
        assert 'over a day; cut it into clips' in refusal(read_at_two, path)


def test_a_film_of_huge_frames_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / 'a.gif'
    frames = [Image.new('RGB', (40, 30), name) for name in ('red', 'lime', 'blue', 'white')]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    raw = path.read_bytes()
    write_bytes(path, raw[:6] + struct.pack('<HH', 16_000, 16_000) + raw[10:])
    assert 'more than 67108864 pixels' in refusal(read_at_two, path)
