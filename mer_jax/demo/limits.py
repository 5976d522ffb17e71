"""The limits of a clip that the page accepts, checked before it is decoded."""

import dataclasses
import os

from mer_jax.data.media.container import MediaError, open_picture, reading
from mer_jax.data.media.film_times import predicted, read_packets
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.sound_line import LONGEST, RATE

MEGABYTE = 2**20  # bytes, as Gradio counts them
MOST_SECONDS = LONGEST // RATE  # later sound is not decoded, so a longer limit could not be checked
MOST_PIXELS = 4096 * 2304  # of a frame


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest file and the longest clip; a limit that is met exactly is kept."""

    megabytes: float
    seconds: float

    def check_file(self, path: str | os.PathLike) -> str:
        """The kind of a file within the limits, as `kind_of_file` says; else MediaError.

        Nothing but headers and the times of packets is read.
        """
        with reading(path) as file:
            held = os.path.getsize(file) / MEGABYTE
            if held > self.megabytes:
                raise MediaError(
                    f'has {held:.1f} MB, --max-mb={self.megabytes:g} is the most; give a smaller '
                    'file'
                )
        kind = kind_of_file(path)
        with reading(path) as file:
            if kind == 'image':
                with open_picture(file) as opened:
                    check_size(opened.height, opened.width)
            if kind == 'video':
                packets = read_packets(file)
                check_size(*packets.size)
                timeline = predicted(packets)
                self.check_seconds(timeline.slots / timeline.rate)
        return kind

    def check_seconds(self, seconds: float) -> None:
        """Refuses a clip that is too long."""
        if seconds > self.seconds:
            raise MediaError(
                f'lasts {seconds:.1f} s, --max-seconds={self.seconds:g} is the most; cut it shorter'
            )


def check_size(height: int, width: int) -> None:
    """Refuses frames that would take long to decode."""
    if height * width > MOST_PIXELS:
        raise MediaError(
            f'has frames of {width} x {height} pixels, {MOST_PIXELS} pixels are the most; make '
            'them smaller'
        )
