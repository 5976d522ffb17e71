"""Media files opened once: length, frames, sound and content, kept in a file as they are found."""

import concurrent.futures
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tqdm

from mer_jax.data.fingerprint import file_ends
from mer_jax.data.media.container import MediaError, open_picture, reading
from mer_jax.data.media.film_times import predicted, read_packets
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.sound import RATE, read_sound
from mer_jax.storage.objects import version_of

SILENT = 0.002  # of full scale, below which a sound counts as silence (as media.look.NOISE)

log = logging.getLogger(__name__)


def probe(path: str) -> dict:
    """The figures of a media file; `error` alone says why it cannot be read.

    Frames are counted by their packets and not decoded; sound is decoded.
    """
    try:
        size, time = version_of(path)
    except OSError as error:
        return {'file': path, 'error': f'cannot be opened ({error.strerror})'}
    found = {'file': path, 'size': size, 'time': time}
    try:
        kind = kind_of_file(path)
        found |= {'kind': kind, 'ends': file_ends(path)}
        if kind == 'image':
            return found | _picture(path)
        if kind == 'video':
            found |= _film(path)
        return found | _sound(path)
    except MediaError as error:
        return found | {'error': str(error).removeprefix(f'{path}: ')}


def _picture(path: str) -> dict:
    with reading(path) as file, open_picture(file) as opened:
        return {'pixels': [opened.height, opened.width]}


def _film(path: str) -> dict:
    with reading(path) as file:
        packets = read_packets(file)
        timeline = predicted(packets)
    seconds = timeline.slots / timeline.rate
    return {
        'seconds': round(seconds, 3),
        'frames': len(packets.times),
        'fps': round(len(packets.times) / seconds, 3) if seconds else 0.0,
        'pixels': list(packets.size),
    }


def _sound(path: str) -> dict:
    """The seconds of sound, and its loudest sample; nothing without a sound track."""
    sound = read_sound(path)
    if sound is None:
        return {}
    loudest = float(np.abs(sound.samples).max()) if len(sound.samples) else 0.0
    return {'sound': round(len(sound.samples) / RATE, 3), 'loudest': round(loudest, 5)}


def is_silent(found: dict) -> bool:
    """Whether a file has a sound track in which nothing can be heard."""
    return 'sound' in found and found['loudest'] < SILENT


def probe_all(paths: Sequence[str], kept: Path, workers: int) -> dict[str, dict]:
    """The figures of all files by path; those in `kept` whose file has not changed are not probed.

    Each result is appended to `kept` at once, so a command that is killed continues there.
    """
    known = _read(kept)
    found = {path: one for path in paths if (one := known.get(path)) and _is_current(one)}
    wanted = [path for path in dict.fromkeys(paths) if path not in found]
    bar = tqdm.tqdm(
        total=len(found) + len(wanted), initial=len(found), unit='file', desc='media', disable=None
    )
    pool = concurrent.futures.ThreadPoolExecutor(workers, 'probe')
    try:
        with bar, kept.open('a', encoding='utf-8') as file:
            if file.tell() and not kept.read_bytes().endswith(b'\n'):
                file.write('\n')  # after a line that a kill cut off
            for one in _as_they_end(pool, wanted):
                file.write(json.dumps(one) + '\n')
                file.flush()
                found[one['file']] = one
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _as_they_end(pool: concurrent.futures.Executor, paths: Sequence[str]) -> Iterable[dict]:
    waiting = [pool.submit(probe, path) for path in paths]
    for one in concurrent.futures.as_completed(waiting):
        yield one.result()


def _read(kept: Path) -> dict[str, dict]:
    """The results that an earlier start has kept; damaged lines are passed over."""
    found = {}
    for line in kept.read_bytes().splitlines() if kept.exists() else ():
        try:
            one = json.loads(line)
            found[one['file']] = one
        except (ValueError, KeyError, TypeError):
            log.warning('%s: a damaged line is passed over: its file is opened again', kept)
    return found


def _is_current(one: dict) -> bool:
    """Whether the file of a result still has the size and time that it had."""
    try:
        stat = os.stat(one['file'])
    except OSError:
        return False
    return one.get('size') == stat.st_size and one.get('time') == stat.st_mtime_ns
