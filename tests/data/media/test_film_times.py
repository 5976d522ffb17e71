"""Films whose packets are not their pictures: frames are picked by time among what decodes."""

from fractions import Fraction

import av
import pytest
from media_files import (
    BEEP,
    encode_numbered,
    numbers,
    refusal,
    sound_packets,
    tone,
    write_numbered,
)

from mer_jax.data.media.look import look_at
from mer_jax.data.media.video import read_film, read_video, sample_frames

BUILT = {'mpeg4': {'g': '1'}, 'libx264': {'g': '10', 'sc_threshold': '0'}}
SHOWN = 0x10  # the bit show_frame in the first byte of a VP8 frame


def packets_of(path):
    """The number of packets of a film."""
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def copy_times(packet, like, stream):
    """Gives a packet the stream and the times of another."""
    packet.stream, packet.time_base = stream, like.time_base
    packet.pts, packet.dts, packet.duration = like.pts, like.dts, like.duration


@pytest.mark.parametrize('kind', ['webm', 'mkv'])
def test_hidden_frames_of_vp8_are_not_counted(tmp_path, kind):
    path, options = tmp_path / f'a.{kind}', {'g': '15', 'deadline': 'realtime', 'cpu-used': '8'}
    with av.open(str(path), 'w') as container:
        stream, packets = encode_numbered(container, 'libvpx', 150, options=options)
        for packet in packets:
            if packet.is_keyframe and packet.pts:  # decoded before it is shown, as an alt-ref frame
                data = bytes(packet)
                hidden = av.Packet(bytes([data[0] & ~SHOWN]) + data[1:])
                copy_times(hidden, packet, stream)
                container.mux(hidden)
            container.mux(packet)
    assert packets_of(path) == 159
    frames, rate = read_video(path, 2.0, 768)
    assert (numbers(frames), rate) == ([0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125, 137], 2.0)
    assert numbers(read_video(path, 25.0, 768)[0]) == list(range(150))
    assert '9 of 159 packets hold no picture of their own' in read_film(path, 2.0).changed


@pytest.mark.parametrize('kind', ['avi', 'mkv', 'mp4'])
def test_before_a_frame_that_is_not_coded_the_last_one_is_held(tmp_path, kind):
    path, empty = tmp_path / f'a.{kind}', {*range(11, 19), 30}
    with av.open(str(path), 'w') as container:
        stream, packets = encode_numbered(container, 'mpeg4', 60, rate=20, options={'g': '1'})
        for number, packet in enumerate(packets):
            if number in empty:  # a VOP header of type P and its tick, whose bit vop_coded is 0
                header = 0x504F | number % 20 << 7
                blank = av.Packet(b'\0\0\1\xb6' + header.to_bytes(2, 'big'))
                copy_times(blank, packet, stream)
                packet = blank
            container.mux(packet)
    assert packets_of(path) == 60
    film = read_film(path, 4.0)
    assert numbers(film.frames) == [0, 5, 10, 10, 20, 25, 29, 35, 40, 45, 50, 55]
    assert (film.rate, film.seconds) == (4.0, 3.0)
    assert film.times.tolist() == pytest.approx([n / 20 for n in numbers(film.frames)])


@pytest.mark.parametrize('codec, kind', [('libx264', 'ts'), ('libx264', 'mkv'), ('libx265', 'ts')])
def test_a_recording_that_begins_between_key_frames_starts_with_its_first_picture(
    tmp_path, codec, kind
):
    path, options = tmp_path / f'a.{kind}', {'g': '48', 'bf': '2', 'preset': 'veryfast'}
    if codec == 'libx265':
        options |= {'x265-params': 'log-level=none:keyint=48:min-keyint=48:scenecut=0'}
    else:
        options |= {'sc_threshold': '0', 'x264-params': 'repeat-headers=1'}
    with av.open(str(path), 'w') as container:
        _, packets = encode_numbered(container, codec, 144, options=options)
        container.mux(packets[26:])
    film = read_film(path, 2.0)
    assert numbers(film.frames)[0] == 48 and film.times[0] == 0
    wanted = [48 + number for number in sample_frames(96, 25.0, 2.0)]
    assert numbers(film.frames) == wanted
    (note,) = film.lost
    assert note.startswith('0.') and 'are missing at the start' in note


@pytest.mark.parametrize('group', ['25', '250'])
@pytest.mark.parametrize('kind, codec', [('mp4', 'libx264'), ('mov', 'libx264'), ('mp4', 'mpeg4')])
def test_a_film_trimmed_by_an_edit_list_begins_where_players_begin_it(tmp_path, kind, codec, group):
    path, cut = tmp_path / f'a.{kind}', Fraction(15, 25)  # as phones trim: nothing is removed
    asked = {'use_editlist': '1', 'avoid_negative_ts': 'disabled'}
    with av.open(str(path), 'w', options=asked) as container:
        _, packets = encode_numbered(container, codec, 75, options={'g': group, 'bf': '2'})
        heard = container.add_stream('aac', rate=44_100, layout='mono')
        packets += sound_packets(heard, tone(44_100))
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.pts -= round(cut / packet.time_base)
            packet.dts -= round(cut / packet.time_base)
            container.mux(packet)
    film, look = read_film(path, 2.0), look_at(str(path), 2.0)
    assert numbers(film.frames) == [15 + number for number in sample_frames(60, 25.0, 2.0)]
    assert film.seconds == pytest.approx(2.4) and look.notes == ()
    assert look.first_sound == pytest.approx(BEEP - cut, abs=0.03)


@pytest.mark.parametrize('codec', BUILT)
@pytest.mark.parametrize('kind', ['avi', 'mkv', 'mp4', 'ts'])
def test_in_place_of_missing_frames_the_last_one_is_held(tmp_path, codec, kind):
    path = tmp_path / f'a.{kind}'
    with av.open(str(path), 'w') as container:
        _, packets = encode_numbered(container, codec, 120, options=BUILT[codec] | {'bf': '0'})
        container.mux([packet for packet in packets if not 62 <= packet.pts < 70])
    film = read_film(path, 5.0)
    wanted = [n if not 62 <= n < 70 else 61 for n in range(0, 120, 5)]
    assert (numbers(film.frames), film.rate) == (wanted, 5.0)


@pytest.mark.parametrize('codec', ['libx264', 'mpeg2video'])
@pytest.mark.parametrize('kind', ['ts', 'mkv'])
def test_the_leading_frames_of_an_open_group_are_left_out(tmp_path, codec, kind):
    path, options = tmp_path / f'a.{kind}', {'g': '30', 'bf': '2', 'sc_threshold': '0'}
    if codec == 'libx264':
        options['x264-params'] = 'open-gop=1:repeat-headers=1:keyint=30:min-keyint=30'
    else:
        options['sc_threshold'] = '1000000000'
    with av.open(str(path), 'w') as container:
        _, packets = encode_numbered(container, codec, 120, options=options)
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        assert packets[keys[2] + 1].pts < packets[keys[2]].pts == 60
        container.mux(packets[keys[2] :])
    frames, rate = read_video(path, 5.0, 768)
    assert numbers(frames)[0] in (60, 61) and set(numbers(frames)) <= set(range(60, 120))
    assert rate == pytest.approx(5.0, abs=0.2)
    assert all(abs(n - 60 - i * 25 / rate) < 2 for i, n in enumerate(numbers(frames)))


def test_frames_after_a_leap_back_of_the_time_stamps_follow_the_film_before(tmp_path):
    parts = [
        write_numbered(tmp_path / f'{first}.ts', 'libx264', 75, first=first) for first in (0, 100)
    ]
    both = tmp_path / 'a.ts'
    both.write_bytes(b''.join(part.read_bytes() for part in parts))
    film = read_film(both, 2.0)
    each = sample_frames(150, 25.0, 2.0)
    assert numbers(film.frames) == [n if n < 75 else n + 25 for n in each]
    assert film.seconds == 6.0


def test_damaged_frames_are_left_out_up_to_a_tenth_and_said(tmp_path, caplog):
    path = write_numbered(tmp_path / 'a.mp4', 'libx264', 60, options={'g': '1', 'bf': '0'})
    with av.open(str(path)) as container:
        data = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for few, numbers_lost in ((True, range(20, 25)), (False, range(20, 29))):
        raw = path.read_bytes()
        for number in numbers_lost:
            at = raw.index(data[number])
            raw = raw[: at + 4] + bytes(len(data[number]) - 4) + raw[at + len(data[number]) :]
        broken = tmp_path / f'{few}.mp4'
        broken.write_bytes(raw)
        if few:
            film = read_film(broken, 25.0)
            assert numbers(film.frames) == [n if n not in numbers_lost else 19 for n in range(60)]
            assert film.lost[0].startswith('5 of 60 frames are damaged')
            read_video(broken, 2.0, 768)
            assert f'{broken}: 5 of 60 frames are damaged' in caplog.text
        else:
            told = refusal(lambda file: read_video(file, 2.0, 768), broken)
            assert '9 of 60 frames are damaged, more than 10%' in told


def test_a_frame_that_lasts_longer_than_all_others_is_said(tmp_path):
    for name, count, late in (('a.mkv', 50, 36_000), ('b.mkv', 50, 0), ('c.mkv', 9, 36_000)):
        with av.open(str(tmp_path / name), 'w') as container:
            _, packets = encode_numbered(container, 'mpeg4', count, options={'g': '1'})
            packets[-1].pts = packets[-1].dts = packets[-1].pts + round(
                late / packets[-1].time_base
            )
            container.mux(packets)
        notes = [note for note in read_film(tmp_path / name, 2.0).lost if 'is shown for' in note]
        wanted = 'one frame is shown for 36000.04 of 36002.00 s: a time stamp may be wrong'
        assert notes == [wanted] * (late > 0 and count > 9)


def test_a_film_without_any_picture_is_refused(tmp_path):
    path = tmp_path / 'a.ts'
    options = {'g': '250', 'sc_threshold': '0', 'x264-params': 'repeat-headers=1'}
    with av.open(str(path), 'w') as container:
        container.mux(encode_numbered(container, 'libx264', 60, options=options)[1][5:])
    refusal(lambda file: read_video(file, 2.0, 768), path)
