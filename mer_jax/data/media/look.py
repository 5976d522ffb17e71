"""One file as the model would see and hear it, for people who debug their clips."""

import dataclasses
import os

import numpy as np

from mer_jax.data.media.container import naming_errors
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.pictures import has_others, read_image, resize, smart_resize
from mer_jax.data.media.sound import RATE, read_sound
from mer_jax.data.media.video import read_film

KINDS = {'video': 'film', 'audio': 'sound', 'image': 'picture'}
SHOWN = (56 * 56, 168 * 168)  # pixels of a frame, as it is kept for a contact sheet
FACTOR = 2  # both sides of such a frame are multiples of it
QUIET = 0.02  # share of the loudest sample below which a sound counts as silence
NOISE = 0.002  # of full scale, which counts as silence always


@dataclasses.dataclass(frozen=True)
class Look:
    """A file as it was read; times in seconds from the beginning of the film, if it has one."""

    file: str
    kind: str  # film | sound | picture
    size: tuple[int, int] | None  # (height, width) before resizing
    seconds: float
    film_track: int | None
    sound_track: int | None
    times: tuple[float, ...]  # of each frame taken
    frames: np.ndarray  # u8[n, H, W, 3], small
    samples: np.ndarray | None  # f[samples]
    notes: tuple[str, ...]  # what was dropped or changed

    @property
    def first_sound(self) -> float | None:
        """When the sound is first above silence, in seconds; None if it never is."""
        if self.samples is None or not len(self.samples):
            return None
        loud = np.abs(self.samples)
        above = loud > max(NOISE, QUIET * loud.max())
        return float(np.argmax(above)) / RATE if above.any() else None


def look_at(path: str, fps: float, start: str = 'film', max_frames: int = 768) -> Look:
    """Reads a file as the prompts do; MediaError if it cannot be read."""
    kind = kind_of_file(path)
    if kind == 'image':
        return _picture(path)
    sound = read_sound(path, start)
    heard = (*sound.lost, *sound.changed) if sound else ()
    if kind == 'audio':
        none = np.zeros((0, 1, 1, 3), np.uint8)
        seconds = len(sound.samples) / RATE
        return Look(path, 'sound', None, seconds, None, sound.track, (), none, sound.samples, heard)
    film = read_film(path, fps, max_frames, pixels=SHOWN, factor=FACTOR)
    return Look(
        path,
        'film',
        film.size,
        film.seconds,
        film.track,
        sound.track if sound else None,
        tuple(film.times.tolist()),
        film.frames,
        sound.samples if sound else None,
        (*film.lost, *film.changed, *heard),
    )


def _picture(path: str | os.PathLike) -> Look:
    """The look at a picture."""
    pixels = read_image(path)
    notes = ('the first of several pictures is read',) if has_others(path) else ()
    size = pixels.shape[:2]
    with naming_errors(path):
        small = resize(pixels[None], *smart_resize(*size, FACTOR, *SHOWN))
    return Look(path, 'picture', size, 0.0, None, None, (0.0,), small, None, notes)


def as_json(look: Look) -> dict:
    """A look for programs."""
    heard = None if look.samples is None else round(len(look.samples) / RATE, 6)
    first = look.first_sound
    return {
        'file': look.file,
        'kind': look.kind,
        'size': None if look.size is None else list(look.size),
        'seconds': round(look.seconds, 6),
        'track': {'film': look.film_track, 'sound': look.sound_track},
        'frames': [round(time, 6) for time in look.times],
        'sound_seconds': heard,
        'first_sound_above_silence': None if first is None else round(first, 6),
        'notes': list(look.notes),
    }


def as_text(look: Look) -> str:
    """A look for people."""
    about = [look.kind]
    if look.size:
        about.append(f'{look.size[1]} x {look.size[0]} pixels')
    if look.kind != 'picture':
        about.append(f'{look.seconds:.3f} s')
    for name, track in (('video', look.film_track), ('audio', look.sound_track)):
        if track is not None:
            about.append(f'{name} track {track}')
    lines = [f'{look.file}: {", ".join(about)}']
    if look.kind == 'film':
        lines.append(f'  {len(look.times)} frames at {_listed(look.times)} s')
    if look.samples is not None:
        first = look.first_sound
        begins = 'silent throughout' if first is None else f'first above silence at {first:.3f} s'
        lines.append(f'  {len(look.samples) / RATE:.3f} s of sound, {begins}')
    return '\n'.join([*lines, *(f'  note: {note}' for note in look.notes)])


def _listed(times: tuple[float, ...], most: int = 12) -> str:
    """Times in a row, the middle ones left out if they are many."""
    shown = [f'{time:.2f}' for time in times]
    if len(shown) > most:
        shown = [*shown[: most - 2], '…', shown[-1]]
    return ' '.join(shown)
