"""Shows how media files are read: which frames and sound a model gets, and what was dropped.

    python -m mer_jax.data.media clip.mp4 voice.wav
    python -m mer_jax.data.media --fps 4 --png sheet.png *.mp4

Nothing is written but the sheet.
"""

import argparse
import json
import math
import pathlib
import sys

from mer_jax.data.media.container import MediaError
from mer_jax.data.media.file_arguments import parse_files
from mer_jax.data.media.look import Look, as_json, as_text, look_at
from mer_jax.data.media.sound import STARTS
from mer_jax.errors import printable, quiet_pipes
from mer_jax.storage.paths import StorageError

MOST_DRAWN = 24  # files of one contact sheet


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if one is missing or out of range."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.data.media',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('files', nargs='+', metavar='FILE', help='a film, a sound or a picture')
    parser.add_argument('--fps', type=float, default=2.0, help='frames sampled a second (data.fps)')
    parser.add_argument(
        '--sound-start', choices=STARTS, default=STARTS[0], help='as data.sound_start'
    )
    parser.add_argument('--png', type=pathlib.Path, help='write a contact sheet with the waveforms')
    parser.add_argument('--json', action='store_true', help='one JSON object a file and line')
    asked = parse_files(parser, 'files', arguments)
    if not (math.isfinite(asked.fps) and asked.fps > 0):
        parser.error(f'--fps={asked.fps}: must be a number above 0, e.g. 2')
    if asked.png and len(asked.files) > MOST_DRAWN:
        parser.error(f'--png={asked.png}: a sheet shows at most {MOST_DRAWN} files, name fewer')
    if asked.png and not asked.png.parent.is_dir():
        parser.error(f'--png={asked.png}: there is no folder {asked.png.parent}; make it first')
    return asked


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; exits with 1 if a file cannot be read."""
    asked = read_flags(arguments)
    looks, failed = [], False
    for file in asked.files:
        try:
            look = look_at(file, asked.fps, asked.sound_start)
        except (MediaError, StorageError) as error:
            failed = True
            if asked.json:
                print(json.dumps({'file': file, 'error': str(error)}), flush=True)
            else:
                print(f'mer_jax: {printable(str(error))}', file=sys.stderr, flush=True)
            continue
        print(json.dumps(as_json(look)) if asked.json else _lines(look), flush=True)
        if asked.png:
            looks.append(look)
    if looks:
        _draw(asked.png, looks)
    raise SystemExit(int(failed))


def _draw(path: pathlib.Path, looks: list[Look]) -> None:
    """Writes the contact sheet; exits with a message where it cannot be written."""
    from mer_jax.data.media.contact_sheet import draw_sheet  # matplotlib takes a second to import

    try:
        draw_sheet(path, looks)
    except OSError as error:
        raise SystemExit(f'mer_jax: --png={path}: cannot be written ({error.strerror})') from None


def _lines(look: Look) -> str:
    """The look as text whose every line can be printed."""
    return '\n'.join(map(printable, as_text(look).split('\n')))


if __name__ == '__main__':
    with quiet_pipes():
        main()
