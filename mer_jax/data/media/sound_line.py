"""Decoded sound put in line: one channel at 16 kHz, each frame at its own time."""

import av
import numpy as np

from mer_jax.data.media.container import REWIND, MediaError

RATE = 16_000  # samples a second of every sound
LONGEST = 300 * RATE  # samples; later ones are dropped, as in Qwen2.5-Omni's extractor
SLOWEST = 1000  # samples a second of a sound file: resampling fewer would need too much memory
TOLERANCE = 0.04  # seconds, of one token of sound, by which a frame may miss its time
NEAR = 0.002  # seconds at the start that are rounding of time stamps


class SoundLine:
    """Samples that grow by decoded frames.

    Each channel is resampled by itself, then they are averaged: FFmpeg's own down-mix would be √2
    louder. The resampler is set anew where channels, rate or format change. With `begin`, the time
    of the first picture of a film in seconds, samples begin with that picture: silence comes before
    a later sound and fills gaps, and an earlier sound is cut. Without it frames follow each other.
    """

    def __init__(self, begin: float | None):
        self.begin = begin
        self.parts = [np.zeros(0, np.float32)]
        self.count = 0  # samples in line
        self.skip = 0  # samples still to be dropped, which lie before the line or overlap it
        self.late = 0.0  # seconds by which the sound begins after the film
        self.gaps, self.silent = 0, 0  # gaps within the sound, and the samples that fill them
        self.changes = 0
        self.beyond = False  # whether a frame came after LONGEST samples
        self._clock = None  # the end of the last frame, in seconds after `begin`
        self._form = self._resampler = None

    @property
    def is_cut(self) -> bool:
        """Whether samples beyond LONGEST are dropped."""
        return self.beyond or self.count > LONGEST

    def add(self, frame: av.AudioFrame) -> None:
        """Appends a decoded frame, unless LONGEST samples are in line."""
        if self.count >= LONGEST:
            self.beyond = True
            return
        if frame.rate < SLOWEST:
            raise MediaError(f'{frame.rate} samples a second; at least {SLOWEST} are needed')
        form = frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.rate
        if form != self._form:
            self.changes += self._form is not None
            self.flush()
            self._form = form
        if self.begin is not None and frame.pts is not None:
            self._place(float(frame.pts * frame.time_base) - self.begin)
        if self._resampler is None:
            # Packed, because PyAV makes arrays of at most eight planes.
            self._resampler = av.AudioResampler(format='flt', layout=frame.layout, rate=RATE)
        self._append(self._resampler.resample(frame))
        if self._clock is not None:
            self._clock += frame.samples / frame.rate

    def flush(self) -> None:
        """Appends the samples that the resampler still holds."""
        if self._resampler is not None:
            self._append(self._resampler.resample(None))
            self._resampler = None

    def samples(self) -> np.ndarray:
        """The sound so far: f[samples], at most LONGEST."""
        return np.concatenate(self.parts)[:LONGEST]

    def _place(self, at: float) -> None:
        """Makes the next frame begin `at` so many seconds after the beginning of the film."""
        if self._clock is None:
            self.late = at if abs(at) > NEAR else 0.0
            self._clock = at
            self._move(round(self.late * RATE))
            return
        gap = at - self._clock
        if gap < -REWIND:
            self.begin += gap  # the joined sound follows the one before
        elif abs(gap) > TOLERANCE:
            self.flush()
            ahead = round(at * RATE) - (self.count - self.skip)
            self.gaps += ahead > 0
            self.silent += max(ahead, 0)
            self._move(ahead)
            self._clock = at

    def _move(self, ahead: int) -> None:
        """Appends so many samples of silence, or drops as many of the samples to come."""
        dropped = max(self.skip - ahead, 0)
        ahead, self.skip = max(ahead - self.skip, 0), dropped
        ahead = min(ahead, max(LONGEST - self.count, 0))
        self.parts.append(np.zeros(ahead, np.float32))
        self.count += ahead

    def _append(self, frames: list[av.AudioFrame]) -> None:
        """Appends resampled frames, averaged over channels."""
        for frame in frames:
            mixed = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(1)
            kept = mixed[self.skip :]
            self.skip = max(self.skip - len(mixed), 0)
            self.parts.append(kept)
            self.count += len(kept)
