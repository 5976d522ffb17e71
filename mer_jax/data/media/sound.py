"""Sound files to samples, and samples to the log-mel that the audio tower reads."""

import dataclasses
import functools
import math
import os

import av
import numpy as np

from mer_jax.data.media.container import (
    MediaError,
    check_damage,
    open_container,
    reading,
    warn_of_loss,
)
from mer_jax.data.media.film_frames import can_begin, is_hidden_key
from mer_jax.data.media.sound_line import LONGEST, RATE, SLOWEST, SoundLine
from mer_jax.data.media.tracks import film_track, passed_over, sound_track

STARTS = ('film', 'sound')
HEARD = 0.02  # seconds between the starts of film and sound that a note mentions
LOST = 0.1  # seconds of sound before the film; fewer are silence that the codec puts in front
FFT, HOP = 400, 160  # samples: 25 ms windows every 10 ms
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Sound:
    """The sound of a file, and a record of how it was found."""

    samples: np.ndarray  # f[samples], mono at 16 kHz
    track: int
    lost: tuple[str, ...]  # notes on what is missing
    changed: tuple[str, ...]  # notes on what was chosen, moved or filled


def read_audio(path: str | os.PathLike, start: str = 'film') -> np.ndarray | None:
    """The sound of a file as f[samples], mono at 16 kHz; None if it has no sound track.

    As `read_sound`; losses are logged, once a file.
    """
    sound = read_sound(path, start)
    if sound is None:
        return None
    for note in sound.lost:
        warn_of_loss(os.fspath(path), note)
    return sound.samples


def read_sound(path: str | os.PathLike, start: str = 'film') -> Sound | None:
    """The sound of a file; None if it has no sound track.

    With start='film' samples begin when the film of the file begins, if it has one: silence comes
    before a later sound and fills gaps, and an earlier sound is cut. With start='sound' samples
    begin with the first one of the track and follow each other, as in the published pipelines.
    Decoding stops after LONGEST samples. The length in a header is ignored: a sound is as long as
    its samples, which may be none. MediaError for a track that cannot be decoded.
    """
    with reading(path) as file:
        with open_container(file) as container:
            stream = sound_track(container)
            if stream is None:
                return None
            if stream.rate < SLOWEST:
                raise MediaError(f'{stream.rate} samples a second; at least {SLOWEST} are needed')
            track, others = stream.index, passed_over(container, stream)
        begin = _begin_of_film(file) if start == 'film' else None
        line, lost = _decode(file, track, begin)
        changed = [others] if others else []
        behind = line.late >= HEARD and begin + line.late >= _end_of_film(file)
        if behind or line.skip and not line.count:
            line, lost = _decode(file, track, None)
            changed.append('the times of sound and film do not overlap: both begin together')
    samples = line.samples()
    if not np.isfinite(samples).all():
        raise MediaError(f'{path}: the sound track holds values that are not finite')
    if line.late < -LOST:
        lost.append(f'{-line.late:.3f} s of sound before the first picture are cut')
    return Sound(samples, track, tuple(lost), (*changed, *_changes(line)))


def _begin_of_film(path: str | os.PathLike) -> float | None:
    """When the film of a file shows its first picture, in seconds; None without one to decode."""
    with open_container(path) as container:
        try:
            stream = film_track(container)
        except MediaError:
            return None
        if stream is None:
            return None
        # Presentation times of AVI are guesses; decoding begins with the first picture.
        guessed, first, keyless = container.format.name == 'avi', None, None
        led = False
        for packet in container.demux(stream):
            led |= is_hidden_key(packet)
            if first is None and packet.is_keyframe:
                first = packet.dts
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                ticks = first if guessed else frame.pts
                if frame.is_corrupt or ticks is None:
                    continue
                if led or can_begin(frame):
                    return float(ticks * stream.time_base)
                keyless = min(ticks, keyless) if keyless is not None else ticks
        return None if keyless is None else float(keyless * stream.time_base)


def _end_of_film(path: str | os.PathLike) -> float:
    """When the last packet of the film of a file ends, in seconds."""
    with open_container(path) as container:
        return max(
            float((packet.pts + (packet.duration or 1)) * packet.time_base)
            for packet in container.demux(film_track(container))
            if packet.pts is not None
        )


def _decode(
    path: str | os.PathLike, track: int, begin: float | None
) -> tuple[SoundLine, list[str]]:
    """The sound of a track in line, and notes on packets that are damaged or left out."""
    line, total, damaged, seconds, cut, last = SoundLine(begin), 0, 0, 0.0, False, None
    with open_container(path) as container:
        stream = container.streams[track]
        promised = float((stream.duration or 0) * stream.time_base)
        for packet in container.demux(stream):
            total += packet.size > 0
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                last, damaged, cut = error, damaged + 1, packet.is_corrupt
                continue
            for frame in frames:
                line.add(frame)
                seconds += frame.samples / frame.rate
            if line.is_cut:
                break
    line.flush()
    if last is not None and not seconds:
        raise last
    if cut and seconds < 0.9 * promised:
        held = f'{seconds:.2f} s of {promised:.2f} s'
        raise MediaError(f'cannot be decoded: the sound is cut off, it holds {held}')
    check_damage('packets of sound', damaged, total)
    notes = [f'{damaged} of {total} packets of sound are damaged'] if damaged else []
    if line.is_cut:
        notes.append(f'the sound after {LONGEST // RATE} s is left out')
    return line, notes


def _changes(line: SoundLine) -> tuple[str, ...]:
    """Notes on silence and on changes of channels, rate or format."""
    notes = []
    if -LOST <= line.late <= -HEARD:
        notes.append(f'the sound begins {-line.late:.3f} s before the film: its start is cut')
    if line.late >= HEARD:
        notes.append(f'the sound begins {line.late:.3f} s after the film: silence comes before it')
    if line.gaps:
        notes.append(
            f'{line.gaps} gaps in the sound, {line.silent / RATE:.3f} s in all, are filled with '
            'silence'
        )
    if line.changes:
        notes.append(f'channels, rate or format of the sound change {line.changes} times')
    return tuple(notes)


@functools.cache
def mel_bank(bands: int) -> np.ndarray:
    """Slaney's mel filters f[201, bands] from 0 to 8000 Hz, each of the same area.

    The scale is linear up to 1000 Hz (3 mel for 200 Hz), logarithmic above (27 mel for a factor of
    6.4).
    """
    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = np.linspace(0, top, bands + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles.astype(np.float32)


def log_mel(samples: np.ndarray, bands: int = 128) -> np.ndarray:
    """Whisper's log-mel of a 16 kHz sound: f[⌈samples / 160⌉, bands], without frames of padding.

    Samples after LONGEST are dropped. As in Whisper's feature extractor, silence pads the sound up
    to that length, and both edges of the padded sound are mirrored. The floor lies 8 decades below
    the loudest value, which may be in one of the two windows that begin after the last frame and
    still overlap the sound.
    """
    samples = np.asarray(samples, np.float32)[:LONGEST]
    count = -(-len(samples) // HOP)
    silence = np.zeros(min(2 * FFT, LONGEST - len(samples)), np.float32)
    followed = np.concatenate([samples, silence])
    beyond = min(count + 2, len(followed) // HOP)
    padded = np.pad(followed, FFT // 2, 'reflect')
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT)[: beyond * HOP : HOP]
    from scipy import fft  # imported in the thread of a first sound, beside the start of a run

    spectrum = fft.rfft(windows * HANN)
    power = spectrum.real**2 + spectrum.imag**2
    decades = np.log10(np.maximum(power @ mel_bank(bands), 1e-10))
    return (np.maximum(decades[:count], decades.max() - 8) + 4) / 4
