"""Checksums of the files of saved checkpoints: kept beside each, verified before it is used.

`checksums_7.json` beside the folder `7` holds size and CRC-32 of each of its files. CRC-32 finds
every single flipped bit and all but one of four billion other changes, and zlib computes it faster
than any hash of the standard library; it does not protect from forgery.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import time
import zlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp

from mer_jax.run.common_reads import look_together, patiently
from mer_jax.storage.objects import file_names, read_range, remove_file, size_of, write_whole

THREADS = 8  # that read files of a checkpoint
CHUNK = 1 << 24  # bytes that a thread reads at once
POLL = 0.02  # seconds between two looks whether a save is finished
BEGIN, END = 'checksums_', '.json'


@dataclasses.dataclass(frozen=True)
class Examined:
    """The outcome of a comparison with checksums, the same in all processes."""

    damage: str | None  # which file, and how it differs
    known: bool  # whether the checkpoint has checksums


def path_beside(folder: pathlib.Path, step: int) -> pathlib.Path:
    """The file with the checksums of a checkpoint of a stage."""
    return folder / f'{BEGIN}{step}{END}'


def steps_with_checksums(folder: pathlib.Path) -> list[int]:
    """The steps of a stage whose checksums are kept, also those whose checkpoint is missing."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    numbers = [
        name.removeprefix(BEGIN).removesuffix(END)
        for name in names
        if name.startswith(BEGIN) and name.endswith(END)
    ]
    return [int(number) for number in numbers if number.isdigit()]


def keep_checksums(folder: pathlib.Path, step: int) -> None:
    """Writes the checksums of a finished checkpoint, and removes those of removed ones."""
    names = file_names(folder / str(step))
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        sums = list(pool.map(lambda name: sum_of(folder / str(step) / name), names))
    files = dict(zip(names, sums, strict=True))
    write_whole(path_beside(folder, step), as_json(files))
    for other in steps_with_checksums(folder):
        if other < step and not (folder / str(other)).exists():
            remove_file(path_beside(folder, other))


class SumsAfterSaves:
    """Writes the checksums of each checkpoint when its save is finished, while training continues.

    Only process 0 writes. A kill before they are written leaves a checkpoint without checksums.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.writes = folder, jax.process_index() == 0
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.pending: concurrent.futures.Future | None = None

    def start(self, step: int, is_saving: Callable[[], bool]) -> None:
        """Begins to wait for the end of a save."""
        if self.writes:
            remove_file(path_beside(self.folder, step))  # of a checkpoint that was removed by hand
            self.pending = self.pool.submit(self.keep_after, step, is_saving)

    def keep_after(self, step: int, is_saving: Callable[[], bool]) -> None:
        """Writes the checksums of a step once Orbax has saved it."""
        while is_saving():
            time.sleep(POLL)
        if ocp.utils.is_checkpoint_finalized(self.folder / str(step)):
            patiently(self.folder, lambda: keep_checksums(self.folder, step))

    def finish(self) -> None:
        """Waits for the checksums of the last save; StorageError if they cannot be written."""
        pending, self.pending = self.pending, None
        if pending:
            pending.result()


def as_json(files: dict[str, list[int]]) -> str:
    """The content of a file of checksums; it holds one of itself."""
    own = zlib.crc32(json.dumps(files).encode())
    return json.dumps({'crc32': own, 'files': files}, indent=0) + '\n'


def sum_of(path: pathlib.Path) -> list[int]:
    """[size, CRC-32] of a file."""
    size, number, read = size_of(path), 0, 0
    while read < size:
        data = read_range(path, read, min(read + CHUNK, size))
        if not data:
            break
        number, read = zlib.crc32(data, number), read + len(data)
    return [read, number]


def examine(folder: pathlib.Path, step: int) -> Examined:
    """Compares all files of a checkpoint with their checksums; each process reads its share.

    StorageError for a passing fault, which says nothing about the checkpoint.
    """
    found = look_together(folder / str(step), lambda: damage_here(folder, step))
    damages = [damage for damage, _ in found if damage]
    return Examined(damages[0] if damages else None, all(known for _, known in found))


def damage_here(folder: pathlib.Path, step: int) -> tuple[str | None, bool]:
    """The first damage in this process's share of the files, and whether there are checksums."""
    path = path_beside(folder, step)
    if not path.exists():
        return None, False
    try:
        data = path.read_bytes()
        files = json.loads(data)['files']
        if data.decode() != as_json(files):
            raise ValueError('its content does not agree with its own checksum')
    except (ValueError, KeyError, TypeError) as error:
        return (
            f'{path} is damaged ({error}), so the checkpoint cannot be verified; remove that file '
            'to read it unverified'
        ), True
    if not (folder / str(step)).exists():
        return f'{folder / str(step)} is missing', True
    names = sorted(files)[jax.process_index() :: jax.process_count()]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        damages = pool.map(lambda name: damage_of(folder / str(step) / name, files[name]), names)
        return next(filter(None, damages), None), True


def damage_of(path: pathlib.Path, kept: list[int]) -> str | None:
    """How a file differs from the one that was saved; None if it does not."""
    try:
        size, number = sum_of(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return f'{path} is missing'
    if size != kept[0]:
        return f'{path} has {size} bytes, and {kept[0]} were saved'
    return None if number == kept[1] else f'{path} has other content than was saved'
