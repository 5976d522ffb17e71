"""Decodes a film once and keeps some of its pictures, upright and of one size."""

import dataclasses
import os
from collections.abc import Callable, Collection

import av
import numpy as np
from av.video.frame import PictureType

from mer_jax.data.media.container import MediaError, check_damage, check_pixels, open_container
from mer_jax.data.media.display import UPRIGHT, shown_size, turned, turns_of
from mer_jax.data.media.film_times import MOST_FRAMES, Packets
from mer_jax.data.media.pictures import resize

DIFFERENCES = (PictureType.P, PictureType.B, PictureType.S)  # S: of MPEG-4, with a moved background


@dataclasses.dataclass
class Decoded:
    """The pictures of a film that decode; damaged ones are left out."""

    times: list[int | None]  # time stamp of each, in ticks
    kept: dict[int, np.ndarray]  # u8[H, W, 3] by number
    size: tuple[int, int] | None = None  # (height, width) of the first one as shown
    damaged: int = 0
    undecodable: int = 0  # damaged ones before the first picture, or those that need others
    keyless: bool = False  # whether no picture decodes without others
    led: bool = False  # whether a key frame that an edit list hides was decoded before
    scaled: int = 0  # pictures of another size than the first
    turned: bool = False


def decode(
    path: str | os.PathLike,
    packets: Packets,
    wanted: Collection[int],
    size_for: Callable[[tuple[int, int]], tuple[int, int]],
    keyless: bool = False,
) -> Decoded:
    """Decodes the whole film and keeps the pictures with the numbers `wanted`.

    All get the size that `size_for` gives for that of the first picture. The first one is one that
    decodes without others, unless there is none: then it is the first of all, and the film is
    `keyless`. MediaError if nothing decodes or too many packets are damaged.
    """
    found, last = Decoded([], {}, keyless=keyless), None
    with open_container(path) as container:
        stream = container.streams[packets.track]
        stream.thread_type = 'AUTO'
        for packet in container.demux(stream):
            found.led |= is_hidden_key(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                last = error
                found.damaged += 1
                continue
            for frame in frames:
                _take(frame, found, wanted, size_for)
    if not found.times and found.damaged and not keyless:
        return decode(path, packets, wanted, size_for, keyless=True)
    if not found.times:
        if last is not None:
            raise last
        raise MediaError('none of its frames can be decoded')
    check_damage('frames', found.damaged, len(packets.times))
    return found


def can_begin(frame: av.VideoFrame) -> bool:
    """Whether a film can begin with a frame: it is no difference to frames that are not there.

    Decoders of MPEG-4, H.263 and their kin show such a difference on grey.
    """
    return frame.key_frame or frame.pict_type not in DIFFERENCES


def is_hidden_key(packet: av.Packet) -> bool:
    """Whether a packet is a key frame before the beginning of a film, as an edit list says.

    It is decoded and not shown, so the first frame that is shown needs no key frame.
    """
    return packet.is_keyframe and packet.is_discard


def _take(frame: av.VideoFrame, found: Decoded, wanted: Collection[int], size_for) -> None:
    """Counts a frame, and keeps it if it is wanted."""
    begun = found.times or found.keyless or found.led
    if frame.is_corrupt or not (begun or can_begin(frame)):
        found.damaged += 1
        return
    if not found.times:
        found.undecodable, found.damaged = found.damaged, 0
    check_pixels(frame.height, frame.width)
    number, turns, size = len(found.times), turns_of(frame), shown_size(frame)
    found.times.append(frame.pts)
    if number > MOST_FRAMES:
        raise MediaError(f'has more than {MOST_FRAMES} frames; cut it into clips')
    found.size = found.size or size
    found.scaled += size != found.size
    found.turned |= turns != UPRIGHT
    if number in wanted:
        pixels = turned(frame.to_ndarray(format='rgb24'), turns)
        found.kept[number] = resize(pixels[None], *size_for(found.size))[0]
