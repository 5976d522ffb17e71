"""Video files to frames: which frames to sample, and the film that they make."""

import dataclasses
import os

import numpy as np

from mer_jax.data.media.container import MediaError, reading, warn_of_loss
from mer_jax.data.media.film_frames import Decoded, decode
from mer_jax.data.media.film_times import (
    Packets,
    Timeline,
    joined,
    measured,
    predicted,
    read_packets,
)
from mer_jax.data.media.pictures import smart_resize

MOST_BYTES = 1 << 31  # of the sampled frames of a film
SLIDES = 10  # frames; of fewer, one may be shown for long
LONG = 10  # seconds of one frame


def sample_frames(
    total: int, video_fps: float, fps: float, min_frames: int = 4, max_frames: int = 768
) -> np.ndarray:
    """The numbers of the frames to keep of `total` ones: i[n], n even for pairs of frames.

    This is the rule of the Qwen2-VL video processor of `transformers` for a given `fps`: n is
    total / video_fps · fps between `min_frames` and `max_frames`, and frame i is int(i · total / n)
    in float32. A video of a single frame gives that frame.
    """
    if total < 1 or max_frames < 2 or not (video_fps > 0 and fps > 0):
        raise ValueError(
            f'total={total}, max_frames={max_frames}, video_fps={video_fps}, fps={fps}: sampling '
            'needs a frame, room for two and positive rates'
        )
    if total == 1:
        return np.zeros(1, np.int64)
    kept = min(max(total / video_fps * fps, min_frames), max_frames // 2 * 2, total // 2 * 2)
    count = int(kept) // 2 * 2
    return (np.arange(count) * (total / count)).astype(np.float32).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Film:
    """The sampled frames of a film, and a record of how they were found."""

    frames: np.ndarray  # u8[n, H, W, 3], upright
    times: np.ndarray  # f[n] seconds from the first picture on, when each is shown first
    rate: float  # sampled frames per second
    seconds: float
    size: tuple[int, int]  # (height, width) before resizing
    track: int
    lost: tuple[str, ...]  # notes on what is missing
    changed: tuple[str, ...]  # notes on what was chosen, turned or scaled


def read_video(
    path: str | os.PathLike,
    fps: float,
    max_frames: int,
    pixels: tuple[int, int] | None = None,
    factor: int = 28,
) -> tuple[np.ndarray, float]:
    """The sampled frames of a video file, upright, u8[n, H, W, 3], and their rate per second.

    As `read_film`; losses are logged, once a file.
    """
    film = read_film(path, fps, max_frames, pixels, factor)
    for note in film.lost:
        warn_of_loss(os.fspath(path), note)
    return film.frames, film.rate


def read_film(
    path: str | os.PathLike,
    fps: float,
    max_frames: int = 768,
    pixels: tuple[int, int] | None = None,
    factor: int = 28,
) -> Film:
    """The sampled frames of the film in a file.

    `sample_frames` gives slots of time; each slot takes the frame shown in its middle, so a frame
    that lasts may be taken twice. Frames are decoded one by one and only sampled ones are kept, so
    a long film never lies in memory as a whole. Which packets hold a picture is known only after
    decoding; if the guess by packets was wrong, the film is decoded a second time. With `pixels` =
    (min, max) frames are resized to `smart_resize(..., factor, *pixels)`; frames that change size
    within the film get the size of the first. MediaError for a file that is missing, damaged, cut
    off, of another format, or beyond MOST_PIXELS, MOST_FRAMES, MOST_SECONDS or MOST_BYTES.
    """
    with reading(path) as file:
        packets = read_packets(file)
        timeline = predicted(packets)
        slots = sample_frames(timeline.slots, timeline.rate, fps, max_frames=max_frames)

        def size_for(size: tuple[int, int]) -> tuple[int, int]:
            """The size of sampled frames, refused if there are too many pixels in all."""
            height, width = smart_resize(*size, factor, *pixels) if pixels else size
            if len(slots) * height * width * 3 > MOST_BYTES:
                raise MediaError(
                    f'{len(slots)} frames of {height} x {width} pixels are more than '
                    f'{MOST_BYTES} bytes; lower fps, max_frames or the bound on pixels'
                )
            return height, width

        size_for(packets.size)
        found = decode(file, packets, set(timeline.at(slots).tolist()), size_for)
        timeline = measured(packets, joined(found.times, packets))
        slots = sample_frames(timeline.slots, timeline.rate, fps, max_frames=max_frames)
        wanted = timeline.at(slots).tolist()
        if missing := set(wanted) - found.kept.keys():
            found.kept |= decode(file, packets, missing, size_for).kept
    return Film(
        frames=np.stack([found.kept[number] for number in wanted]),
        times=timeline.shown[wanted],
        rate=len(wanted) / timeline.slots * timeline.rate,
        seconds=timeline.slots / timeline.rate,
        size=found.size,
        track=packets.track,
        lost=(*_losses(packets, found), *_held(timeline)),
        changed=_changes(packets, found),
    )


def _losses(packets: Packets, found: Decoded) -> tuple[str, ...]:
    """Notes on the frames that are missing."""
    notes = []
    placed = not packets.guessed or len(found.times) < len(packets.times)
    if placed and None not in packets.times and None not in found.times:
        late = (min(found.times) - min(packets.times)) * packets.tick
        if late > 0:
            notes.append(
                f'{late:.2f} s are missing at the start: the first frames need others from before '
                'the recording'
            )
    if found.keyless:
        notes.append('no frame is complete without others: the first ones may be wrong')
    if found.damaged:
        notes.append(
            f'{found.damaged} of {len(packets.times)} frames are damaged; the frame before each is '
            'shown in its place'
        )
    return tuple(notes)


def _held(timeline: Timeline) -> tuple[str, ...]:
    """A note on a frame that lasts longer than all others together, as a wrong time stamp does."""
    if len(timeline.shown) < SLIDES:
        return ()
    longest, seconds = np.diff(timeline.shown).max(), timeline.slots / timeline.rate
    if longest < max(LONG, seconds / 2):
        return ()
    told = f'one frame is shown for {longest:.2f} of {seconds:.2f} s: a time stamp may be wrong'
    return (told,)


def _changes(packets: Packets, found: Decoded) -> tuple[str, ...]:
    """Notes on a choice between tracks, and on frames that were turned or scaled."""
    notes = [packets.other_tracks] if packets.other_tracks else []
    if None in packets.times or None in found.times:
        total = len(packets.times) - found.undecodable
    else:
        total = sum(time >= min(found.times) for time in packets.times)
    hidden = total - len(found.times) - found.damaged
    if hidden > 0:
        notes.append(f'{hidden} of {total} packets hold no picture of their own')
    if found.turned:
        notes.append('frames are turned or mirrored as the display matrix says')
    if found.scaled:
        height, width = found.size
        notes.append(
            f'{found.scaled} frames of another size are scaled to the first, {height} x {width}'
        )
    return tuple(notes)
