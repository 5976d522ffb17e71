"""When each picture of a film is shown: by its packets, and by the pictures that decode."""

import dataclasses
import math
import os
from collections.abc import Sequence

import av
import numpy as np

from mer_jax.data.media.container import REWIND, MediaError, check_pixels, open_container
from mer_jax.data.media.tracks import film_track, passed_over

MOST_FRAMES = 1 << 18  # of a film: two hours at 30 frames a second
MOST_SECONDS = 86_400  # of a film: frames far apart would get positions out of range
LEAST_HELD = 2  # frames that a film lacks; a single one moves the others by half a frame at most
MOST_HELD = 2  # slots of time a frame, on the average, of a film that lacks some of its frames


@dataclasses.dataclass(frozen=True)
class Packets:
    """The packets of a film's track, with their time stamps in ticks; none is decoded."""

    track: int
    size: tuple[int, int]  # (height, width) in the header
    times: list[int | None]  # when each is shown; in AVI, when it is decoded
    guessed: bool  # whether the container, AVI, has no times at which frames are shown
    lasting: int  # duration of the last one shown; 0 if unknown
    tick: float  # seconds
    rate: float  # frames per second in the header
    least: float  # the lowest rate on whose grid all frames lie, as FFmpeg guesses; 0 if unknown
    other_tracks: str  # a note; '' if there are none


@dataclasses.dataclass(frozen=True)
class Timeline:
    """When the pictures of a film are shown, on a grid of slots of time."""

    shown: np.ndarray  # f[n] seconds from the first picture on
    slots: int  # of 1 / rate seconds each, which the film lasts
    rate: float

    def at(self, slots: np.ndarray) -> np.ndarray:
        """Which pictures are shown in the middle of these slots: i[len(slots)]."""
        places = np.searchsorted(self.shown, (slots + 0.5) / self.rate, 'right') - 1
        return np.maximum(places, 0)


def read_packets(path: str | os.PathLike) -> Packets:
    """The packets of the film of a file; MediaError if it has none, too many, or is cut off."""
    with open_container(path) as container:
        stream = film_track(container)
        if stream is None:
            heard = ', it has sound only' if container.streams.audio else ''
            raise MediaError(f'has no video track{heard}')
        size = stream.codec_context.height, stream.codec_context.width
        check_pixels(*size)
        # The header of ASF gives every track the play time of the file.
        together = container.format.name == 'asf'
        guessed = container.format.name == 'avi'
        times, last, end = [], (-math.inf, 0), -math.inf
        for packet in container.demux(*(container.streams if together else [stream])):
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index or not packet.size or packet.is_discard:
                continue
            time = packet.dts if guessed else packet.pts
            times.append(time)
            if time is not None:
                last = max(last, (time, packet.duration or 0))
            if len(times) > MOST_FRAMES:
                raise MediaError(f'has more than {MOST_FRAMES} frames; cut it into clips')
        packets = Packets(
            track=stream.index,
            size=size,
            times=times,
            guessed=guessed,
            lasting=last[1],
            tick=float(stream.time_base),
            rate=float(stream.average_rate or stream.guessed_rate or 0),
            least=float(stream.base_rate or 0),
            other_tracks=passed_over(container, stream),
        )
        if not times or not packets.rate:
            raise MediaError(f'holds {len(times)} frames at {packets.rate} frames a second')
        _check_whole(packets, stream, end if together else None)
    return packets


def _check_whole(packets: Packets, stream: av.video.stream.VideoStream, end: float | None) -> None:
    """Refuses a film that ends long before the duration in its header, which a cut leaves as it is.

    `end`, in seconds, is that of the last track to end, where the header speaks of all of them.
    """
    ticks, tick = stream.duration, packets.tick
    if None in packets.times or not ticks:
        return
    first = min(packets.times)
    if stream.start_time is not None:  # AVI begins with empty packets where its film begins late
        first = min(first, stream.start_time)
    held = _length((np.sort(packets.times) - first) * tick, packets)
    if end is not None:
        held = max(held, end)  # the header counts from 0
    if held < 0.9 * ticks * tick:
        raise MediaError(f'is cut off: it holds {held:.2f} s of {ticks * tick:.2f} s')


def _length(shown: np.ndarray, packets: Packets) -> float:
    """The seconds from the first picture to the end of the last one."""
    mean = shown[-1] / max(len(shown) - 1, 1)
    return float(shown[-1] + (packets.lasting * packets.tick or mean or 1 / packets.rate))


def predicted(packets: Packets) -> Timeline:
    """The timeline of a film whose packets hold one picture each, as those of most films do."""
    return _paced(packets.times, packets) or _counted(len(packets.times), packets)


def measured(packets: Packets, times: Sequence[int | None]) -> Timeline:
    """The timeline of the pictures that were decoded, by their time stamps in ticks.

    Some packets hold no picture, and the first ones of a recording cannot be decoded. If the
    pictures keep the rate of the header only together with the packets that hold none, the picture
    before such a packet is held.
    """
    if packets.guessed and len(times) == len(packets.times):
        times = packets.times
    if None in times:
        return _counted(len(times), packets)
    found = _paced(times, packets)
    if found.rate != packets.rate and None not in packets.times:
        every = _paced([time for time in packets.times if time >= min(times)], packets)
        if every.rate == packets.rate:
            return dataclasses.replace(found, slots=every.slots, rate=every.rate)
    return found


def _counted(total: int, packets: Packets) -> Timeline:
    """The timeline of pictures without time stamps: the rate of the header spaces them."""
    return _bounded(Timeline(np.arange(total) / packets.rate, total, packets.rate))


def _paced(times: Sequence[int | None], packets: Packets) -> Timeline | None:
    """The timeline of pictures with these time stamps; None if one lacks its own.

    Pictures are shown in the order in which they are decoded; the time stamps are sorted, because
    those of AVI follow the order of packets. The rate is that of the header unless some picture is
    half a frame or more away from it. A film that lacks a few of its frames keeps its rate, and the
    frame before each of them is held.
    """
    if None in times:
        return None
    total = len(times)
    shown = np.sort(times) * packets.tick
    shown -= shown[0]
    if np.abs(shown - np.arange(total) / packets.rate).max() * packets.rate < 0.5:
        return _bounded(Timeline(shown, total, packets.rate))
    length = _length(shown, packets)
    for rate in (packets.rate, packets.least):
        away = np.abs(shown * rate - np.round(shown * rate)).max()
        slots = round(length * rate)
        if away < 0.25 and total + LEAST_HELD <= slots <= MOST_HELD * total:
            return _bounded(Timeline(shown, slots, rate))
    return _bounded(Timeline(shown, total, total / length))


def joined(times: Sequence[int | None], packets: Packets) -> list[int | None]:
    """Time stamps of decoded pictures, in ticks, without the leaps back between joined films.

    The first picture of a joined film comes one picture after the last of the film before.
    """
    if packets.guessed or None in times or len(times) < 2:
        return list(times)
    ticks = np.asarray(times, np.int64)
    steps = np.diff(ticks)
    back = steps * packets.tick < -REWIND
    if not back.any():
        return list(times)
    usual = int(np.median(steps[~back])) if not back.all() else 1
    steps = np.where(back, usual, steps)
    return [*(ticks[0] + np.concatenate([[0], np.cumsum(steps)]))]


def _bounded(timeline: Timeline) -> Timeline:
    """The timeline, if it is not too long."""
    seconds = timeline.slots / timeline.rate
    if seconds > MOST_SECONDS:
        raise MediaError(f'lasts {seconds:.3g} s, over a day; cut it into clips')
    return timeline
