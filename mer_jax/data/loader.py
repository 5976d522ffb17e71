"""Batches of clips with Grain: shuffled, split between processes, resumable; damage is counted."""

import contextlib
import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Sequence

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


def training_batches(
    clips: Sequence[Clip],
    prepare: Callable[[Clip], Example],
    damages: Damages,
    *,
    seed: int,
    size: int,
    process: int,
    processes: int,
):
    """An endless iterator over lists of `size` examples of this process; Orbax can save it.

    Every epoch is a new permutation of all clips, of which a process takes every `processes`-th.
    MediaError if no clip at all can be used, whatever data.max_bad_clips says.
    """
    damaged = set()

    def accept(example):
        if damages.accept(example):
            return True
        damaged.add(example.id)
        if len(damaged) == len(clips):
            raise MediaError(
                f'none of the {len(clips)} clips can be used; all are named, with the reason, in '
                f'{damages.path}. Mend them, or name other clips'
            )
        return False

    dataset = grain.MapDataset.source(clips).seed(seed).shuffle().repeat()[process::processes]
    dataset = dataset.map(lambda clip: prepare_or_name(prepare, clip))
    stream = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * size)
    )
    return iter(stream.filter(accept).batch(size, drop_remainder=True, batch_fn=list))
