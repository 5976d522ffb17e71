"""Files to arrays, frames to patches, samples to log-mel: by hand and against `transformers`."""

import itertools
import struct
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from mer_jax.data.media import video as media
from mer_jax.data.media.video import MediaError


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


def refusal(read, path):
    """The message with which a file is refused, which must name the file."""
    with pytest.raises(MediaError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def read_at_two(path):
    return media.read_video(path, 2.0, 768)


def test_frames_are_sampled_evenly_in_pairs_and_within_bounds():
    assert media.sample_frames(40, 8.0, 2.0).tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert media.sample_frames(50, 25.0, 0.5).tolist() == [0, 12, 25, 37]  # at least four
    assert len(media.sample_frames(9000, 30.0, 2.0, max_frames=17)) == 16
    assert media.sample_frames(3, 30.0, 2.0).tolist() == [0, 1]
    assert media.sample_frames(1, 30.0, 2.0).tolist() == [0]


def test_sampling_equals_the_rule_of_the_reference_for_many_lengths():
    torch = pytest.importorskip('torch')
    for total in range(4, 700, 3):
        for count in {4, total // 7 // 2 * 2, total // 3 // 2 * 2} - {0, 2}:
            # Rounding can append an index that is out of range, as with 110 of 334.
            wanted = torch.arange(0, total, total / count).int()[:count].tolist()
            fps = (count + 0.5) / total * 30
            found = media.sample_frames(total, 30.0, fps, min_frames=2).tolist()
            assert found == wanted, (total, count)


@pytest.mark.parametrize('numbers', [(0, 30.0, 2.0), (40, 0.0, 2.0), (40, 30.0, 0.0)])
def test_sampling_without_frames_or_rate_is_refused(numbers):
    with pytest.raises(ValueError, match='positive rates'):
        media.sample_frames(*numbers)


def test_a_film_gives_the_sampled_frames_and_their_rate(tmp_path):
    frames, fps = media.read_video(write_film(tmp_path / 'a.mp4'), 2.0, 768)
    assert (frames.shape, frames.dtype, fps) == ((10, 64, 96, 3), np.uint8, 2.0)
    wanted = 10 + 5 * np.arange(0, 40, 4)
    assert np.abs(frames[:, 32, 48].mean(-1) - wanted).max() <= 2
    frames, fps = media.read_video(tmp_path / 'a.mp4', 2.0, 4)
    assert (len(frames), fps) == (4, 0.8)


def test_frames_are_resized_while_they_are_read(tmp_path):
    frames, _ = media.read_video(write_film(tmp_path / 'a.mp4'), 2.0, 4, (3136, 3136))
    assert frames.shape == (4, 28, 56, 3)


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


def numbers(frames):
    return (frames.mean((1, 2, 3)) / 8).round().astype(int).tolist()


@pytest.mark.parametrize('kind', ['mp4', 'mkv'])
def test_where_frames_last_unequally_those_are_taken_that_are_shown_at_the_time(tmp_path, kind):
    times = [*range(0, 1000, 100), *range(1000, 7000, 1000)]  # 16 frames in 6001 ms
    frames, fps = media.read_video(write_slides(tmp_path / f'a.{kind}', times), 1.4, 768)
    assert len(frames) == 8 and fps == pytest.approx(8 / 6.001)
    middle = (np.arange(0, 16, 2) + 0.5) * 6001 / 16
    assert numbers(frames) == [sum(start <= at for start in times) - 1 for at in middle]
    assert numbers(frames) != media.sample_frames(16, 16 / 6.001, 1.4).tolist()


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
    frames, fps = media.read_video(tmp_path / f'a.{kind}', 12.0, 768)
    wanted = media.sample_frames(31, float(rate), 12.0)
    assert (numbers(frames), fps) == (wanted.tolist(), len(wanted) / 31 * float(rate))


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_a_film_taken_with_a_turned_camera_stands_upright(tmp_path, turns):
    path = write_film(tmp_path / 'a.mp4')
    plain, _ = read_at_two(path)
    raw = path.read_bytes()
    at = raw.index(b'tkhd') + 44  # of the matrix; (x, y) is shown at (a x + c y, b x + d y)
    a, b = [(0, 1), (-1, 0), (0, -1)][turns - 1]  # clockwise by so many quarters
    turned = struct.pack('>9i', a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(raw[:at] + turned + raw[at + 36 :])
    frames, _ = read_at_two(path)
    np.testing.assert_array_equal(frames, np.rot90(plain, -turns, (1, 2)))
    assert plain[-1, :14, :14].max() < 20 < 150 < plain[-1, :14, -14:].min()


def test_a_film_that_is_cut_off_or_damaged_is_refused(tmp_path):
    path = write_film(tmp_path / 'a.mp4', sound=True)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    assert 'of 5.00 s are there' in refusal(read_at_two, path)
    assert 'cannot be decoded' in refusal(media.read_audio, path)
    noise = np.frombuffer(raw, np.uint8).copy()
    noise[raw.index(b'mdat') + 1000 :: 50] ^= 255
    path.write_bytes(noise.tobytes())
    refusal(read_at_two, path)
    refusal(media.read_audio, path)


def write_wave(path, samples_nc, rate):
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(samples_nc.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples_nc.astype('<i2').tobytes())
    return path


def test_sound_is_the_mean_of_its_channels_at_16_khz(tmp_path):
    time = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 440 * time)[:, None] * np.array([0.6, 0.2]) * 32767
    sound = media.read_audio(write_wave(tmp_path / 'a.wav', tone.round(), 48_000))
    assert (sound.shape, sound.dtype) == ((16_000,), np.float32)
    wanted = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(sound - wanted)[100:-100].max() < 1e-3


def test_sound_at_16_khz_mono_is_read_as_it_is(tmp_path):
    samples = np.random.default_rng(0).integers(-9000, 9000, (1601, 1)).astype(np.int16)
    sound = media.read_audio(write_wave(tmp_path / 'a.wav', samples, 16_000))
    np.testing.assert_array_equal(sound, np.float32(samples[:, 0] / 32768))


def test_sound_without_samples_is_nothing(tmp_path):
    path = write_wave(tmp_path / 'a.wav', np.zeros((0, 1), np.int16), 16_000)
    assert media.read_audio(path).shape == (0,)


def test_smart_resize_equals_the_reference():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    draw = np.random.default_rng(0)
    for height, width in [(70, 42), (29, 5000), *draw.integers(10, 2000, (500, 2)).tolist()]:
        for bounds in [(56 * 56, 28 * 28 * 1280), (128 * 784, 768 * 784), (3136, 3136)]:
            wanted = smart_resize(height, width, 28, *bounds)
            assert media.smart_resize(height, width, 28, *bounds) == wanted
    with pytest.raises(MediaError, match='over 200 times'):
        media.smart_resize(10, 2001, 28, 3136, 9999)


def test_patches_of_an_image_equal_the_image_processor():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    draw, bounds = np.random.default_rng(0), (56 * 56, 140 * 140)
    processor = Qwen2VLImageProcessorPil(min_pixels=bounds[0], max_pixels=bounds[1])
    for height, width in [(56, 84), (90, 61), (300, 200), (20, 30)]:
        image = draw.integers(0, 256, (height, width, 3), np.uint8)
        wanted = processor(image, return_tensors='np')
        frames = media.resize(image[None], *media.smart_resize(height, width, 28, *bounds))
        found, grid = media.patches(frames, 14, 2, 2)
        assert [list(grid)] == wanted['image_grid_thw'].tolist()
        np.testing.assert_allclose(found, wanted['pixel_values'], rtol=0, atol=1e-6)


def test_a_patch_lists_colour_then_time_then_rows_and_cells_stay_together():
    frames = np.arange(3 * 8 * 12 * 3, dtype=np.uint32).reshape(3, 8, 12, 3).astype(np.uint8)
    found, grid = media.patches(frames, 2, 2, 2)
    assert grid == (2, 4, 6)
    found = found.reshape(2, 2, 3, 2, 2, 3, 2, 2, 2)
    for t, row, column, colour, time in [(0, 0, 0, 0, 0), (0, 3, 4, 1, 1), (1, 2, 5, 2, 1)]:
        frame = min(2 * t + time, 2)  # three frames: the last one stands in for a fourth
        pixels = frames[frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, colour]
        wanted = (pixels / 255 - media.MEAN[colour]) / media.STD[colour]
        shown = found[t, row // 2, column // 2, row % 2, column % 2, colour, time]
        np.testing.assert_allclose(shown, wanted, atol=1e-6)


def test_patches_of_an_ill_fitting_frame_are_refused():
    with pytest.raises(MediaError, match='57 x 56 pixels: .* multiples of patch .* 28'):
        media.patches(np.zeros((1, 57, 56, 3), np.uint8), 14, 2, 2)


def test_the_mel_bank_equals_the_reference():
    from transformers.audio_utils import mel_filter_bank

    for bands in (80, 128):
        wanted = mel_filter_bank(201, bands, 0.0, 8000.0, 16_000, 'slaney', 'slaney')
        np.testing.assert_allclose(media.mel_bank(bands), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize('length', [1, 160, 161, 399, 7777, 32_000])
def test_log_mel_equals_whispers_on_the_valid_frames(length):
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=128)
    draw = np.random.default_rng(length)
    noise = draw.normal(0, 0.1, length)
    tone = 0.3 * np.sin(np.arange(length) * draw.uniform(0.05, 2))
    late = np.zeros(length)
    late[-1] = 1.0  # loudest in the windows after the last frame
    for samples in (noise, tone, late, 1e-4 * noise, np.zeros(length)):
        samples = samples.astype(np.float32)
        heard = extractor(samples, sampling_rate=16_000, return_attention_mask=True)
        valid = int(heard['attention_mask'].sum())
        found = media.log_mel(samples)
        assert found.shape == (valid, 128) and found.dtype == np.float32
        wanted = np.asarray(heard['input_features'])[0, :, :valid].T
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize('beyond', [-170, 0, 777])
def test_sound_is_heard_up_to_five_minutes_as_by_the_released_extractor(beyond):
    from transformers import WhisperFeatureExtractor

    samples = np.zeros(media.LONGEST + beyond, np.float32)
    draw = np.random.default_rng(3)
    samples[-20_000:] = draw.normal(0, 0.1, 20_000) * np.linspace(0, 1, 20_000)  # loud at the end
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    wanted = extractor(samples, sampling_rate=16_000)['input_features'][0].T
    found = media.log_mel(samples)
    assert found.shape == (30_000 + min(0, beyond // 160 + 1), 128)
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=0, atol=1e-4)


def test_silence_has_the_floor_of_whisper():
    np.testing.assert_allclose(media.log_mel(np.zeros(800, np.float32)), -1.5, atol=1e-6)
