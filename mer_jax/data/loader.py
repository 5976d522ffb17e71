"""Batches of clips with Grain: shuffled, split between processes, resumable; damage is counted."""

import contextlib
import dataclasses
import json
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import grain

from mer_jax.data.clips import Clip
from mer_jax.data.media.container import MediaError
from mer_jax.data.prompts import Prompt
from mer_jax.storage.objects import append, contents

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip ready to be batched; for imitation with the token ids of its gold branches.

    There is one a mode, the forced opening first, the end of the turn last; () where it has none.
    """

    clip: Clip
    prompt: Prompt
    gold: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A clip that could not be read, and the reason."""

    id: str
    reason: str


class Damages:
    """Names damaged clips in a file of the run, and ends the run when they exceed a budget.

    A clip that an earlier start of the run found damaged counts again only if it still is. Each
    process has a file and a budget of its own.
    """

    def __init__(self, path: pathlib.Path, budget: int):
        self.path, self.budget = path, budget
        text = contents(path).decode()
        self.gap = (
            '\n' if text and not text.endswith('\n') else ''
        )  # ends a line that a kill cut short
        self.noted, self.ids = set(), set()
        for line in text.splitlines():
            with contextlib.suppress(json.JSONDecodeError, TypeError, KeyError):
                self.noted.add(json.loads(line)['id'])

    def accept(self, example: Example | Damaged) -> bool:
        """Whether the example can be used; a damaged one is written to the file once.

        Raises MediaError when there are more damaged clips than data.max_bad_clips.
        """
        if isinstance(example, Example):
            return True
        if example.id not in self.noted:
            append(self.path, self.gap + json.dumps(dataclasses.asdict(example)) + '\n')
            self.gap = ''
            self.noted.add(example.id)
        if example.id not in self.ids:
            self.ids.add(example.id)
            log.warning(
                'clip %s left out (%d so far): %s', example.id, len(self.ids), example.reason
            )
        if len(self.ids) > self.budget:
            raise MediaError(
                f'{len(self.ids)} damaged clips, the last one {example.id} ({example.reason}), but '
                f'data.max_bad_clips={self.budget}; all are named in {self.path}. Mend or remove '
                'them, or raise data.max_bad_clips'
            )
        return False


def prepare_or_name(prepare: Callable[[Clip], Example], clip: Clip) -> Example | Damaged:
    """The prepared clip or, if its files cannot be read, its id and the reason."""
    try:
        return prepare(clip)
    except (MediaError, OSError) as error:
        return Damaged(clip.id, str(error))


class Batches:
    """An endless iterator over a process's shares of the batches of a run.

    `read` counts the places in the order of clips that batches before the next one take, in all
    processes. Setting it moves the iterator there, whatever the number of processes was before.
    """

    def __init__(self, open_at: Callable[[int], Iterator[list[Example]]], numbers: Sequence, size):
        self.numbers, self.size = numbers, size  # of this process's prompts in a batch of so many
        self._open_at, self._read = open_at, 0
        self._stream = None

    @property
    def read(self) -> int:
        return self._read

    @read.setter
    def read(self, places: int) -> None:
        self._read, self._stream = places, None

    def begin(self) -> None:
        """Begins to read the next batch, in threads, so that `next` need not wait as long."""
        self._opened().start_prefetch()

    def _opened(self) -> Iterator[list[Example]]:
        if self._stream is None:
            self._stream = self._open_at(self._read)
        return self._stream

    def __iter__(self) -> 'Batches':
        return self

    def __next__(self) -> list[Example]:
        batch = next(self._opened())
        self._read += self.size
        return batch


def training_batches(
    clips: Sequence[Clip],
    prepare: Callable[[Clip], Example],
    damages: Damages,
    *,
    seed: int,
    size: int,
    numbers: Sequence[int],
    threads: int = 2,
) -> Batches:
    """Of each batch of `size` examples those with these numbers, the share of this process.

    Every epoch is a new permutation of all clips. In place of a damaged clip comes the one that has
    its place in the next epoch, so a batch depends on nothing that another process has read, nor on
    the number of threads that read clips while the devices compute.
    MediaError if no clip at all can be used, whatever data.max_bad_clips says.
    """
    order = grain.MapDataset.source(clips).seed(seed).shuffle().repeat()
    damaged = set()

    def try_place(place: int) -> list[Example | Damaged]:
        """The damaged clips at a place and the first usable one; none if all clips are damaged."""
        tried = []
        for attempt in range(place, sys.maxsize, len(clips)):
            tried.append(prepare_or_name(prepare, order[attempt]))
            if isinstance(tried[-1], Example) or len({one.id for one in tried}) == len(clips):
                return tried

    def accept(tried: list[Example | Damaged]) -> Example:
        for one in tried:
            if damages.accept(one):
                return one
            damaged.add(one.id)
            if len(damaged) == len(clips):
                raise MediaError(
                    f'none of the {len(clips)} clips can be used; all are named, with the reason, '
                    f'in {damages.path}. Mend them, or name other clips'
                )

    def open_at(read: int) -> Iterator[list[Example]]:
        def place_of(index: int) -> int:
            batch, own = divmod(index, len(numbers))
            return read + batch * size + int(numbers[own])

        places = grain.MapDataset.range(sys.maxsize).map(lambda index: try_place(place_of(index)))
        options = grain.ReadOptions(threads, prefetch_buffer_size=max(2 * len(numbers), threads))
        stream = places.to_iter_dataset(options).map(accept)
        return iter(stream.batch(len(numbers), drop_remainder=True, batch_fn=list))

    return Batches(open_at, numbers, size)
