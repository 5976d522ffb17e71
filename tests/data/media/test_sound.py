"""Sound files to samples and samples to log-mel: by hand and against `transformers`."""

import os
import struct
import tracemalloc

import av
import numpy as np
import pytest
from media_files import noise, refusal, write_bytes, write_wave

from mer_jax.data.media.sound import LONGEST, log_mel, mel_bank, read_audio, read_sound


def test_sound_is_the_mean_of_its_channels_at_16_khz(tmp_path):
    seconds = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 440 * seconds)[:, None] * np.array([0.6, 0.2]) * 32767
    sound = read_audio(write_wave(tmp_path / 'a.wav', tone.round(), 48_000))
    assert (sound.shape, sound.dtype) == ((16_000,), np.float32)
    wanted = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(sound - wanted)[100:-100].max() < 1e-3


def test_sound_at_16_khz_mono_is_read_as_it_is(tmp_path):
    samples = noise(1601)
    sound = read_audio(write_wave(tmp_path / 'a.wav', samples, 16_000))
    np.testing.assert_array_equal(sound, np.float32(samples[:, 0] / 32768))


def test_a_track_without_samples_gives_an_empty_sound(tmp_path):
    path = write_wave(tmp_path / 'a.wav', np.zeros((0, 1), np.int16), 16_000)
    assert read_audio(path).shape == (0,)


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
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, 4000)).astype(np.float32)
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
    samples = np.random.default_rng(0).integers(-9000, 9000, (1601, channels))
    sound = read_audio(write_wave(tmp_path / 'a.wav', samples, 16_000))
    np.testing.assert_allclose(sound, samples.mean(1) / 32768, rtol=0, atol=1e-6)


@pytest.mark.parametrize('claimed', [0, 36_000 * 32_000, 0xFFFFFFFF])
def test_a_sound_whose_header_claims_ten_hours_is_as_long_as_its_samples(tmp_path, claimed):
    path = write_wave(tmp_path / 'a.wav', noise(), 16_000)
    raw = path.read_bytes()
    long = write_bytes(tmp_path / 'b.wav', raw[:40] + struct.pack('<I', claimed) + raw[44:])
    np.testing.assert_array_equal(read_audio(long), read_audio(path))


@pytest.mark.slow
def test_of_a_sound_of_ten_hours_five_minutes_are_decoded(tmp_path):
    samples = noise()
    path = write_wave(tmp_path / 'a.wav', samples, 16_000)
    raw, size = path.read_bytes(), 36_000 * 32_000
    write_bytes(path, raw[:40] + struct.pack('<I', size) + raw[44:])
    os.truncate(path, 44 + size)  # silence that takes no room on the disk
    tracemalloc.start()
    sound = read_audio(path)
    assert len(sound) == 300 * 16_000
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20  # ten hours take 2 GB
    tracemalloc.stop()
    np.testing.assert_array_equal(sound[:16_000], np.float32(samples[:, 0] / 32768))
    assert read_sound(path).lost == ('the sound after 300 s is left out',)
    os.truncate(path, 44 + 300 * 32_000)
    assert read_sound(path).lost == () and len(read_audio(path)) == LONGEST


def test_a_sound_of_one_sample_a_second_is_refused_before_it_is_resampled(tmp_path):
    path = write_wave(tmp_path / 'a.wav', noise(), 1)
    assert '1 samples a second; at least 1000 are needed' in refusal(read_audio, path)


def test_sound_that_is_not_finite_is_refused(tmp_path):
    with av.open(str(tmp_path / 'a.wav'), 'w') as container:
        track = container.add_stream('pcm_f32le', rate=16_000, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.full((1, 4000), np.nan, np.float32), 'flt', 'mono')
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(track.encode(frame))
    assert 'values that are not finite' in refusal(read_audio, tmp_path / 'a.wav')


def test_the_mel_bank_equals_the_reference():
    from transformers.audio_utils import mel_filter_bank

    for bands in (80, 128):
        wanted = mel_filter_bank(201, bands, 0.0, 8000.0, 16_000, 'slaney', 'slaney')
        np.testing.assert_allclose(mel_bank(bands), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize('length', [1, 160, 161, 399, 7777, 32_000])
def test_log_mel_equals_whispers_on_the_valid_frames(length):
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=128)
    draw = np.random.default_rng(length)
    hiss = draw.normal(0, 0.1, length)
    tone = 0.3 * np.sin(np.arange(length) * draw.uniform(0.05, 2))
    late = np.zeros(length)
    late[-1] = 1.0  # loudest in the windows after the last frame
    for samples in (hiss, tone, late, 1e-4 * hiss, np.zeros(length)):
        samples = samples.astype(np.float32)
        heard = extractor(samples, sampling_rate=16_000, return_attention_mask=True)
        valid = int(heard['attention_mask'].sum())
        found = log_mel(samples)
        assert found.shape == (valid, 128) and found.dtype == np.float32
        wanted = np.asarray(heard['input_features'])[0, :, :valid].T
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize('beyond', [-170, 0, 777])
def test_the_first_five_minutes_are_heard_as_by_the_released_extractor(beyond):
    from transformers import WhisperFeatureExtractor

    samples = np.zeros(LONGEST + beyond, np.float32)
    draw = np.random.default_rng(3)
    samples[-20_000:] = draw.normal(0, 0.1, 20_000) * np.linspace(0, 1, 20_000)  # loud at the end
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    wanted = extractor(samples, sampling_rate=16_000)['input_features'][0].T
    found = log_mel(samples)
    assert found.shape == (30_000 + min(0, beyond // 160 + 1), 128)
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=0, atol=1e-4)


def test_silence_has_the_floor_of_whisper():
    np.testing.assert_allclose(log_mel(np.zeros(800, np.float32)), -1.5, atol=1e-6)
