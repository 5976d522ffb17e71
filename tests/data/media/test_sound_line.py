"""Sound that is placed beside its film, and sound that changes or breaks in mid-stream."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import BEEP, numbered, refusal, sound_packets, tone, write_both

from mer_jax.data.media.sound import read_audio, read_sound
from mer_jax.data.media.sound_line import LONGEST


def beep_of(samples):
    """When a sound is first above silence, in seconds."""
    return np.argmax(np.abs(samples) > 0.05) / 16_000


@pytest.mark.parametrize(
    'kind, codec, rate, film',
    [
        ('mp4', 'aac', 16_000, 'libx264'),
        ('mov', 'pcm_s16le', 44_100, 'libx264'),
        ('mkv', 'libopus', 48_000, 'libx264'),
        ('mkv', 'flac', 44_100, 'libvpx'),
        ('ts', 'aac', 44_100, 'libx264'),
        ('flv', 'aac', 44_100, 'libx264'),
        ('avi', 'libmp3lame', 44_100, 'libx264'),
        ('avi', 'pcm_s16le', 44_100, 'libx264'),
    ],
)
def test_a_beep_is_heard_when_its_picture_is_shown(tmp_path, kind, codec, rate, film):
    path = write_both(tmp_path / f'a.{kind}', codec, rate, film=film)
    assert beep_of(read_audio(path)) == pytest.approx(BEEP, abs=0.03)


@pytest.mark.parametrize('late', [0.3, 0.936, 1.5])
@pytest.mark.parametrize(
    'kind, codec, rate',
    [('mp4', 'aac', 16_000), ('mkv', 'libopus', 48_000), ('ts', 'aac', 44_100)],
)
def test_a_sound_that_begins_late_has_silence_in_front(tmp_path, kind, codec, rate, late):
    path = write_both(tmp_path / f'a.{kind}', codec, rate, late)
    sound = read_sound(path)
    assert beep_of(sound.samples) == pytest.approx(BEEP + late, abs=0.02)
    assert not sound.samples[: round((late - 0.05) * 16_000)].any()
    assert any('after the film: silence comes before it' in note for note in sound.changed)
    published = read_sound(path, 'sound')
    assert beep_of(published.samples) == pytest.approx(BEEP, abs=0.07)
    assert len(published.samples) < len(sound.samples) - late * 12_000


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'ts'])
def test_sound_before_the_first_picture_is_cut(tmp_path, kind):
    sound = read_sound(write_both(tmp_path / f'a.{kind}', film_late=0.6))
    assert beep_of(sound.samples) == pytest.approx(BEEP - 0.6, abs=0.02)
    assert any('of sound before the first picture are cut' in note for note in sound.lost)


@pytest.mark.parametrize('kind, codec', [('mkv', 'pcm_s16le'), ('mkv', 'aac'), ('ts', 'aac')])
def test_gaps_are_filled_with_silence(tmp_path, kind, codec):
    path = write_both(tmp_path / f'a.{kind}', codec, 44_100, drop=lambda at: 0.3 < at < 0.8)
    sound = read_sound(path)
    assert beep_of(sound.samples) == pytest.approx(BEEP, abs=0.03)
    assert any('gaps in the sound' in note for note in sound.changed)
    assert beep_of(read_audio(path, 'sound')) == pytest.approx(BEEP - 0.5, abs=0.05)


def test_the_sounds_of_joined_films_follow_each_other(tmp_path):
    one = write_both(tmp_path / 'a.ts', rate=44_100).read_bytes()
    (tmp_path / 'b.ts').write_bytes(one * 2)
    sound = read_audio(tmp_path / 'b.ts')
    assert len(sound) / 16_000 == pytest.approx(6.0, abs=0.15)
    assert beep_of(sound) == pytest.approx(BEEP, abs=0.03)
    assert beep_of(sound[56_000:]) + 3.5 == pytest.approx(3 + BEEP, abs=0.1)


def test_a_sound_whose_times_do_not_fit_those_of_the_film_begins_with_it(tmp_path):
    for name, late, film_late in (('a', 50.0, 0.0), ('b', 0.0, 50.0)):
        path = write_both(tmp_path / f'{name}.mkv', 'flac', late=late, film_late=film_late)
        sound = read_sound(path)
        assert beep_of(sound.samples) == pytest.approx(BEEP, abs=0.02)
        assert any('both begin together' in note for note in sound.changed)


def test_a_gap_longer_than_a_sound_may_be_takes_no_memory(tmp_path):
    path = tmp_path / 'a.mkv'
    with av.open(str(path), 'w') as container:
        pictures = container.add_stream('mjpeg', rate=1)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, 'yuvj420p'
        heard = container.add_stream('pcm_s16le', rate=16_000, layout='mono')
        frame = av.VideoFrame.from_ndarray(numbered(0, 32, 32), format='rgb24')
        frame.pts = 0
        packets = pictures.encode(frame) + pictures.encode()
        packets += sound_packets(heard, tone(16_000))
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
        for packet in packets[-2:]:
            packet.pts = packet.dts = round(9e6 / packet.time_base / 1000) + packet.pts
            container.mux(packet)
    assert len(read_audio(path)) == LONGEST


@pytest.mark.parametrize('kind', ['aac', 'ts'])
def test_channels_and_rate_may_change_in_mid_stream(tmp_path, kind):
    forms = [(48_000, 'mono'), (48_000, 'stereo'), (24_000, 'mono'), (48_000, '5.1')]
    parts = []
    for number, (rate, layout) in enumerate(forms):
        part = tmp_path / f'{number}.{kind}'
        with av.open(str(part), 'w') as container:
            stream = container.add_stream('aac', rate=rate, layout=layout)
            container.mux(
                sound_packets(stream, tone(rate, 1.0, stream.layout.nb_channels, beep=0.5))
            )
        parts.append(part.read_bytes())
    (tmp_path / f'a.{kind}').write_bytes(b''.join(parts))
    sound = read_sound(tmp_path / f'a.{kind}')
    assert len(sound.samples) / 16_000 == pytest.approx(4.0, abs=0.4)
    assert 'change 3 times' in sound.changed[0]
    loudest = np.abs(sound.samples[: len(sound.samples) // 800 * 800]).reshape(-1, 800).max(1)
    assert sum(loud for loud, _ in itertools.groupby(loudest > 0.1)) == 4


def mp3(path, seconds=1.5):
    """An MP3 file."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libmp3lame', rate=44_100, layout='stereo')
        container.mux(sound_packets(stream, tone(44_100, seconds, 2, beep=0.0)))
    return path.read_bytes()


def test_mp3_files_may_be_joined_or_followed_by_zeros(tmp_path):
    one = mp3(tmp_path / 'a.mp3')
    for name, data, seconds in (
        ('two', one * 2, 3.0),
        ('three', one * 3, 4.5),
        ('zeros', one + bytes(300), 1.5),
        ('many', one + bytes(200_000), 1.5),
        ('tag', one + b'TAG' + bytes(125) + one, 3.0),
    ):
        path = tmp_path / f'{name}.mp3'
        path.write_bytes(data)
        assert len(read_audio(path)) / 16_000 == pytest.approx(seconds, abs=0.12), name


def test_damaged_packets_are_skipped_up_to_a_tenth_and_said(tmp_path, caplog):
    path = write_both(tmp_path / 'a.mkv')
    raw = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        data = [bytes(packet) for packet in container.demux(audio=0) if packet.size > 8]
    for number, few in ((4, True), (40, False)):
        damaged = bytes(raw)
        for packet in data[5 : 5 + number]:
            damaged = damaged.replace(packet, b'\xff' * len(packet), 1)
        broken = tmp_path / f'{number}.mkv'
        broken.write_bytes(damaged)
        if few:
            sound = read_sound(broken)
            assert beep_of(sound.samples) == pytest.approx(BEEP, abs=0.02)
            assert f'{number} of ' in sound.lost[0] and 'are damaged' in sound.lost[0]
            assert not caplog.text
            assert [len(read_audio(broken)) for _ in range(2)] == [len(sound.samples)] * 2
            assert caplog.text.count('packets of sound are damaged') == 1
        else:
            assert 'packets of sound are damaged, more than 10%' in refusal(read_audio, broken)


def test_a_sound_that_is_cut_off_is_read_if_nine_tenths_of_it_are_there(tmp_path):
    path = tmp_path / 'a.m4a'
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('aac', rate=16_000, layout='mono')
        container.mux(sound_packets(stream, tone(16_000)))
    raw = path.read_bytes()
    path.write_bytes(raw[: round(0.95 * len(raw))])
    sound = read_sound(path)
    assert 2.7 < len(sound.samples) / 16_000 < 2.95
    assert '1 of ' in sound.lost[0] and 'packets of sound are damaged' in sound.lost[0]
    path.write_bytes(raw[: round(0.85 * len(raw))])
    assert 'the sound is cut off, it holds 2.69 s of 3.00 s' in refusal(read_sound, path)


def test_the_sound_of_asf_may_be_longer_than_its_film(tmp_path):
    from mer_jax.data.media.video import read_film

    path = tmp_path / 'a.wmv'
    with av.open(str(path), 'w') as container:
        pictures = container.add_stream('wmv2', rate=20)
        pictures.width, pictures.height, pictures.pix_fmt = 128, 64, 'yuv420p'
        heard = container.add_stream('wmav2', rate=44_100, layout='mono')
        heard.bit_rate = 64_000
        packets = []
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(numbered(number), format='rgb24')
            frame.pts, frame.time_base = number, Fraction(1, 20)
            packets += pictures.encode(frame)
        packets += [*pictures.encode(), *sound_packets(heard, tone(44_100))]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    assert len(read_film(path, 5.0).frames) == 6
    assert len(read_audio(path)) / 16_000 == pytest.approx(3.0, abs=0.1)
    assert beep_of(read_audio(path)) == pytest.approx(BEEP, abs=0.03)
