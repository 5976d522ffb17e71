"""Media files of any kind: errors that name the file, and opening a container."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator

import av
from PIL import Image, UnidentifiedImageError

from mer_jax.storage.objects import local_copy

try:
    import pi_heif
except ImportError:  # no wheel for this machine: such pictures are refused
    pi_heif = None
else:
    pi_heif.register_heif_opener()

log = logging.getLogger(__name__)

MOST_PIXELS = 1 << 26  # of an image or frame: 8192 x 8192
MOST_DAMAGED = 0.1  # share of the packets of a track that may be damaged
FEW_DAMAGED = 2  # packets of a short track that may be
REWIND = 0.3  # seconds: time stamps that go back further begin a recording that was joined on
# No playlists: they can name other files, network addresses, or themselves.
CONTAINERS = (
    'aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,gif,ivf,matroska,mov,mp3,mpeg,mpegts,nut,ogg,'
    'w64,wav'
)
IMAGES = ('AVIF', 'BMP', 'GIF', 'HEIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')  # none of programs
# Of pictures in the container of MP4; FFmpeg would read one of their tiles as a film.
PICTURE_BRANDS = (b'avif', b'heic', b'heim', b'heis', b'heix', b'mif1', b'mif2')


class MediaError(ValueError):
    """A file or array that cannot be used; the message names it and says why."""


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[str | os.PathLike]:
    """A local path of a media file, of a copy while the block runs if the file is in a bucket.

    Every error of the block becomes a MediaError that begins with the path. A path that is missing,
    empty, or no regular file is refused before the block runs.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(local_copy(path))
        except FileNotFoundError:
            raise MediaError(f'{path}: there is no such file') from None
        if not os.path.exists(file):
            raise MediaError(f'{path}: there is no such file')
        if not os.path.isfile(file):
            raise MediaError(f'{path}: is a folder or a device, not a file')
        if not os.path.getsize(file):
            raise MediaError(f'{path}: is empty, 0 bytes')
        with naming_errors(path):
            yield file


@contextlib.contextmanager
def naming_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns every error of the block into a MediaError that begins with the path."""
    try:
        yield
    except MediaError as error:
        raise MediaError(f'{path}: {error}') from error
    except UnidentifiedImageError as error:
        raise MediaError(f'{path}: cannot be decoded, it is none of {", ".join(IMAGES)}') from error
    except Image.DecompressionBombError as error:
        raise MediaError(f'{path}: has more than {MOST_PIXELS} pixels; make it smaller') from error
    except av.error.FFmpegError as error:
        raise MediaError(f'{path}: cannot be decoded ({error.strerror})') from error
    except Exception as error:  # decoders of damaged files raise errors of any class
        raise MediaError(f'{path}: cannot be decoded ({error})') from error


def is_still(path: str | os.PathLike) -> bool:
    """Whether a file is a HEIC or AVIF picture, by its brand; such a picture may be of many parts.

    Sequences of pictures, of the brands avis, hevc and msf1, are none.
    """
    with open(path, 'rb') as file:
        start = file.read(12)
    return start[4:8] == b'ftyp' and start[8:] in PICTURE_BRANDS


def open_picture(path: str | os.PathLike) -> Image.Image:
    """An open picture of one of IMAGES, of which the header alone is read."""
    if is_still(path) and pi_heif is None:
        with contextlib.suppress(UnidentifiedImageError):
            return Image.open(path, formats=('AVIF',))
        raise MediaError('is a HEIC picture, which takes the library pi-heif: pip install pi-heif')
    return Image.open(path, formats=IMAGES)


def open_container(path: str | os.PathLike) -> av.container.InputContainer:
    """An open container, of a format that reads from this one file alone; no picture."""
    if is_still(path):
        raise MediaError('is a HEIC or AVIF picture, no film or sound; give it as an image')
    options = {
        'format_whitelist': CONTAINERS,
        'protocol_whitelist': 'file',
        'max_pixels': str(MOST_PIXELS),
    }
    try:
        return av.open(os.path.abspath(path), options=options, metadata_errors='replace')
    except av.error.ArgumentError as error:
        raise MediaError(f'cannot be decoded, it is none of {CONTAINERS}') from error


def check_pixels(height: int, width: int) -> None:
    """Refuses an empty picture and one of more than MOST_PIXELS.

    FFmpeg is given the same bound and reports a size of 0 beyond it.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise MediaError(f'is empty or has more than {MOST_PIXELS} pixels a frame; make it smaller')


def check_damage(what: str, damaged: int, total: int) -> None:
    """Refuses a track with too many damaged packets."""
    if damaged > max(FEW_DAMAGED, MOST_DAMAGED * total):
        raise MediaError(
            f'cannot be decoded: {damaged} of {total} {what} are damaged, more than '
            f'{MOST_DAMAGED:.0%}; copy the file again or repair it'
        )


@functools.cache
def warn_of_loss(path: str, note: str) -> None:
    """Warns, once a file, of what is missing in it."""
    log.warning('%s: %s', path, note)
