"""Orbax checkpoints of a state and of the clips read: save, restore the last that can be read."""

import dataclasses
import itertools
import json
import logging
import pathlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp

from mer_jax.errors import one_line
from mer_jax.sharding import largest_of_all
from mer_jax.storage.objects import move_folder
from mer_jax.storage.paths import StorageError, absolute, naming

READ = 'read'  # the item of a checkpoint that says which clips were read

log = logging.getLogger(__name__)


class DamagedCheckpoints(ValueError):
    """No checkpoint of a folder can be read."""


@dataclasses.dataclass(frozen=True)
class LatestAndBest:
    """Tells Orbax which checkpoints to keep: the latest ones, and the best one so far."""

    keep: int
    is_best: Callable[[int], bool]  # of a step

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        first = len(checkpoints) - self.keep
        return [n >= first or self.is_best(saved.step) for n, saved in enumerate(checkpoints)]


def no_best(step: int) -> bool:
    """Says of each step that it is not the best, for stages that compare none."""
    return False


class Checkpoints:
    """The checkpoints of one stage in a folder.

    A state is any pytree; its leaves are stored under their paths ('policy.decoder…'), so a
    checkpoint is readable without this package. An unfinished checkpoint, left by a kill, is never
    listed. Older checkpoints are removed once a newer one is complete, but `keep` of them and the
    one whose step `is_best` are kept.
    """

    def __init__(self, folder: pathlib.Path, keep: int, is_best: Callable[[int], bool] = no_best):
        options = ocp.CheckpointManagerOptions(
            preservation_policy=LatestAndBest(keep, is_best),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self.folder = absolute(folder)
        handlers = {
            'state': ocp.PyTreeCheckpointHandler(),
            READ: ocp.JsonCheckpointHandler(),
        }
        with naming(self.folder):
            self.manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handlers
            )

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, StorageError):
            return  # TensorStore would try for a quarter of an hour to finish a save
        with naming(self.folder):
            self.manager.wait_until_finished()
            self.manager.close()

    def save(self, step: int, state, batches=None):
        """Save the state and how much of the clips `batches` have read, once for each step."""
        items = {'state': ocp.args.PyTreeSave(by_path(state))}
        if batches is not None:
            items[READ] = ocp.args.JsonSave({'places': batches.read})
        with naming(self.folder):
            self.manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, step: int, like, batches=None):
        """The state of `step` with the shapes, types and shardings of `like`.

        It may have been saved on another mesh, by any number of processes. `batches` then read on
        behind the clips of that state. Leaves that `like` lacks are not read. ValueError if a leaf
        is missing or of another shape.
        """
        state = read_leaves(self.manager, step, by_path(like), like)
        if batches is not None:
            batches.read = self.places_read(step, batches.size)
        return state

    def places_read(self, step: int, size: int) -> int:
        """How many places of the order of clips were read at a step.

        Runs of earlier versions do not say it: they read a batch, of this size, an update.
        """
        if not (self.folder / str(step) / READ).exists():
            return step * size
        items = ocp.args.Composite(**{READ: ocp.args.JsonRestore()})
        return int(self.manager.restore(step, args=items)[READ]['places'])

    def restore_last(self, like, batches=None) -> tuple[int, object]:
        """The last step that can be read, and its state; (0, like) if nothing was saved.

        Later checkpoints, which are damaged, are named and set aside: the run repeats their
        updates. Raises DamagedCheckpoints, and moves nothing, if no checkpoint can be read.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        for number, step in enumerate(steps):
            try:
                with naming(self.folder / str(step)):
                    state = self.restore(step, like, batches)
            except StorageError:  # says nothing about the checkpoint
                raise
            except Exception as error:  # Orbax raises errors of many types for damaged files
                reason = one_line(error)
                log.warning('%s: checkpoint %d cannot be read (%s)', self.folder, step, reason)
                continue
            if number:
                self.set_aside(steps[:number])
            return step, state
        if steps:
            raise DamagedCheckpoints(
                f'{self.folder}: none of the checkpoints {steps} can be read ({reason}); restore '
                'the folder from a copy, or remove it to begin the stage anew'
            )
        return 0, like

    def set_aside(self, steps: list[int]) -> None:
        """Rename damaged checkpoints, so that their updates can be saved again."""
        for step in steps if jax.process_index() == 0 else ():
            aside = self.folder / f'damaged_{step}'
            for number in itertools.count(2):
                if not aside.exists():
                    break
                aside = self.folder / f'damaged_{step}_{number}'
            move_folder(self.folder / str(step), aside)
            log.warning(
                '%s: the damaged checkpoint %d is kept there; remove it at will', aside, step
            )
        largest_of_all([0])  # all processes wait until the folders are renamed
        self.manager.reload()

    def reached_preemption(self, step: int) -> bool:
        """Whether the machines of a pod have been told to stop, at a step common to all."""
        return self.manager.reached_preemption(step)


def load_policy(run: pathlib.Path, like):
    """The policy that the results of a run are of, else the last one that it saved.

    Shapes, types and shardings are those of `like`. Raises ValueError if the folder holds no
    checkpoint of a run.
    """
    for folder in (run / 'train', run / 'cold_start'):
        manager = open_to_read(folder)
        step = manager.latest_step() if folder.exists() else None
        if step is None:
            continue
        if folder.name == 'cold_start':
            log.warning(
                '%s: holds no checkpoint of train; the policy of its cold start is used', run
            )
        best = evaluated_best(run) if folder.name == 'train' else None
        if best is not None and best not in manager.all_steps():
            told = '%s: the best policy (update %d) is not kept any more; update %d is used'
            log.warning(told, run, best, step)
            best = None
        return read_policy(manager, step if best is None else best, like)
    raise ValueError(
        f'{run}: holds no checkpoint of a run; name the --workdir of a run that has saved one'
    )


def read_policy(manager: ocp.CheckpointManager, step: int, like):
    """The policy in the checkpoint of a step, with the shapes, types and shardings of `like`.

    Raises DamagedCheckpoints if it cannot be read.
    """
    wanted = {f'policy.{path}': leaf for path, leaf in by_path(like).items()}
    try:
        with naming(manager.directory / str(step)):
            return read_leaves(manager, step, wanted, like)
    except StorageError:  # says nothing about the checkpoint
        raise
    except Exception as error:  # Orbax raises errors of many types for damaged files
        raise DamagedCheckpoints(
            f'{manager.directory / str(step)}: cannot be read ({one_line(error)}); restore it '
            'from a copy, or remove it so that another one is used'
        ) from None


def open_to_read(folder: pathlib.Path) -> ocp.CheckpointManager:
    """The checkpoints of a stage, which stay as they are."""
    options = ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
    handlers = {'state': ocp.PyTreeCheckpointHandler()}
    return ocp.CheckpointManager(absolute(folder), options=options, item_handlers=handlers)


def evaluated_best(run: pathlib.Path) -> int | None:
    """The update of the best policy, if results.json says that this one was evaluated."""
    try:
        with naming(run):
            evaluated = json.loads((run / 'results.json').read_text(encoding='utf-8'))['evaluated']
        return evaluated['update'] if evaluated['policy'] == 'best' else None
    except (OSError, ValueError, KeyError, TypeError):  # no results yet, or of an older run
        return None


def read_leaves(manager: ocp.CheckpointManager, step: int, wanted: dict, like):
    """The leaves that a checkpoint stores under the paths of `wanted`, as a tree like `like`.

    Shapes, types and shardings are those of `wanted`. Raises ValueError if a leaf is missing or of
    another shape.
    """
    wanted = {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for path, leaf in wanted.items()
    }
    arguments = ocp.args.PyTreeRestore(
        wanted, ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
    )
    stored = manager.restore(step, args=ocp.args.Composite(state=arguments))['state']
    # In place of a leaf that is not stored, a partial restore returns the request itself.
    missing = [path for path in wanted if stored[path] is wanted[path]]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(wanted)} leaves are missing in the checkpoint, the first is '
            f'{missing[0]}'
        )
    return jax.tree.unflatten(jax.tree.structure(like), [stored[path] for path in wanted])


def by_path(tree) -> dict:
    """The leaves of a tree under their dotted paths, in order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}
