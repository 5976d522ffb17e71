"""Orbax checkpoints of a state and of the clips read: save, restore the last that can be read."""

import dataclasses
import functools
import itertools
import json
import logging
import pathlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp

from mer_jax.errors import one_line
from mer_jax.models.lora import is_adapter
from mer_jax.run.checkpoint_sums import SumsAfterSaves, examine, path_beside, steps_with_checksums
from mer_jax.run.common_reads import look_together, patiently
from mer_jax.storage.faults import is_of_jax, naming_faults
from mer_jax.storage.objects import make_folder, move_file, move_folder
from mer_jax.storage.paths import StorageError, absolute, naming, path_of

READ = 'read'  # the item of a checkpoint that says which clips were read
CHECKSUMS = 'checksums.json'  # in the folder of a checkpoint that was set aside
UNVERIFIED = (
    '%s: has no checksums, because it was saved by an earlier version or the run was killed just '
    'after saving it; it is read unverified'
)

log = logging.getLogger(__name__)


class DamagedCheckpoint(ValueError):
    """One checkpoint cannot be read; the message says why."""


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
    checkpoint is readable without this package. Of a policy with adapters these alone are stored.
    An unfinished checkpoint, left by a kill, is never listed. Older checkpoints are removed once a
    newer one is complete, but `keep` of them and the one whose step `is_best` are kept. Checksums
    of a checkpoint are written once it is complete, while training continues.
    """

    def __init__(self, folder: pathlib.Path, keep: int, is_best: Callable[[int], bool] = no_best):
        self.folder, self.policy = absolute(folder), LatestAndBest(keep, is_best)
        self.sums = SumsAfterSaves(self.folder)

    @functools.cached_property
    def manager(self) -> ocp.CheckpointManager:
        """Saves checkpoints; opened late, because Orbax then removes unfinished ones."""
        quiet_orbax()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self.policy,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        with naming_faults(self.folder):
            return ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, StorageError) or 'manager' not in vars(self):
            return  # TensorStore would try for a quarter of an hour to finish a save
        with naming_faults(self.folder):
            self.manager.wait_until_finished()
            self.sums.finish()
            self.manager.close()

    def save(self, step: int, state, batches=None):
        """Save the state and how much of the clips `batches` have read, once for each step."""
        items = {'state': ocp.args.PyTreeSave(saved_leaves(state))}
        if batches is not None:
            items[READ] = ocp.args.JsonSave({'places': batches.read})
        self.sums.finish()
        with naming_faults(self.folder):
            if self.manager.save(step, args=ocp.args.Composite(**items)):
                self.sums.start(step, self.manager.is_saving_in_progress)

    def restore(self, step: int, like, batches=None):
        """The state of `step` with the shapes, types and shardings of `like`.

        It may have been saved on another mesh, by any number of processes. `batches` then read on
        behind the clips of that state. Leaves that `like` lacks are not read, and weights beside
        adapters are those of `like`. ValueError if a leaf is missing or of another shape.
        """
        manager = open_to_restore(self.folder)
        state = read_leaves(manager, step, like)
        if batches is not None:
            batches.read = places_read(manager, step, batches.size)
        return state

    def restore_last(self, like, batches=None) -> tuple[int, object]:
        """The last step that can be read, and its state; (0, like) if nothing was saved.

        Later checkpoints, which are damaged, are named and set aside: the run repeats their
        updates. Raises DamagedCheckpoints, and moves nothing, if no checkpoint can be read, or if
        one is whole but of another model. Raises StorageError, and moves nothing, for a passing
        fault.
        """
        damages = {}
        for step in self.steps():
            try:
                state = self.examine_and_restore(step, like, batches)
            except DamagedCheckpoint as error:
                damages[step] = str(error)
                log.warning('%s: checkpoint %d cannot be read (%s)', self.folder, step, error)
                continue
            if damages:
                self.set_aside(damages)
            return step, state
        if damages:
            reasons = '; '.join(f'{step}: {reason}' for step, reason in damages.items())
            raise DamagedCheckpoints(
                f'{self.folder}: none of the checkpoints {list(damages)} can be read ({reasons}); '
                'restore the folder from a copy, or rename it to begin the stage anew'
            )
        return 0, like

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints and of those with checksums, the last one first."""

        def look():
            if not self.folder.exists():
                return []
            saved = [path for path in self.folder.iterdir() if path.name.isdigit()]
            found = [int(path.name) for path in saved if ocp.utils.is_checkpoint_finalized(path)]
            return sorted({*found, *steps_with_checksums(self.folder)}, reverse=True)

        return look_together(self.folder, look)[0]

    def examine_and_restore(self, step: int, like, batches):
        """The state of a step, if its files are as they were saved; else DamagedCheckpoint."""
        path = self.folder / str(step)
        examined = examine(self.folder, step)
        if examined.damage:
            raise DamagedCheckpoint(examined.damage)
        if not examined.known:
            log.warning(UNVERIFIED, path)
        try:
            return patiently(path, lambda: self.restore(step, like, batches))
        except StorageError:  # says nothing about the checkpoint
            raise
        except Exception as error:  # Orbax raises errors of many types for damaged files
            if is_of_jax(error):
                raise
            if examined.known:
                raise DamagedCheckpoints(
                    f'{path}: all its files are as they were saved, but it cannot be restored '
                    f'({one_line(error)}); restore the config and the versions that it was saved '
                    'with, or choose another --workdir'
                ) from None
            raise DamagedCheckpoint(one_line(error)) from None

    def set_aside(self, damages: dict[int, str]) -> None:
        """Rename damaged checkpoints, so that their updates can be saved again."""

        def move():
            for step, aside in asides.items():
                make_folder(aside.parent)
                if (self.folder / str(step)).exists():
                    move_folder(self.folder / str(step), aside)
                make_folder(aside)
                move_file(path_beside(self.folder, step), aside / CHECKSUMS)

        first = jax.process_index() == 0
        asides = {step: self.free_name(step) for step in damages} if first else {}
        look_together(self.folder, move)  # all processes wait until the folders are renamed
        for step, aside in asides.items():
            told = '%s: the damaged checkpoint %d is kept there (%s); remove it at will'
            log.warning(told, aside, step, damages[step])

    def free_name(self, step: int) -> pathlib.Path:
        """A name that no folder has, for a damaged checkpoint."""
        aside = self.folder / f'damaged_{step}'
        for number in itertools.count(2):
            if not aside.exists():
                return aside
            aside = self.folder / f'damaged_{step}_{number}'

    def reached_preemption(self, step: int) -> bool:
        """Whether the machines of a pod have been told to stop, at a step common to all."""
        return self.manager.reached_preemption(step)


def load_policy(run: pathlib.Path, like):
    """The policy that the results of a run are of, else the last one that it saved.

    Shapes, types and shardings are those of `like`, and so are the weights beside adapters. Raises
    ValueError if the folder holds no checkpoint of a run.
    """
    for folder in (run / 'train', run / 'cold_start'):
        manager = open_to_read(folder)
        if not folder.exists():
            continue
        step = max([0, *manager.all_steps(), *steps_with_checksums(absolute(folder))])
        if not step:
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
    folder = path_of(str(manager.directory))
    path, examined = folder / str(step), examine(folder, step)
    if not examined.known:
        log.warning(UNVERIFIED, path)
    reason = examined.damage
    try:
        if not reason:
            return patiently(path, lambda: read_leaves(manager, step, like, 'policy.'))
    except StorageError:  # says nothing about the checkpoint
        raise
    except Exception as error:  # Orbax raises errors of many types for damaged files
        reason = one_line(error)
    raise DamagedCheckpoints(
        f'{path}: cannot be read ({reason}); restore it from a copy, or move it and '
        f'{path_beside(folder, step).name} elsewhere, so that another one is used'
    )


def handlers() -> dict:
    """The handlers of the items of a checkpoint."""
    return {'state': ocp.PyTreeCheckpointHandler(), READ: ocp.JsonCheckpointHandler()}


def open_to_restore(folder: pathlib.Path) -> ocp.CheckpointManager:
    """The checkpoints of a stage, of which Orbax removes none."""
    options = ocp.CheckpointManagerOptions(create=False, cleanup_tmp_directories=False)
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers())


def places_read(manager: ocp.CheckpointManager, step: int, size: int) -> int:
    """How many places of the order of clips were read at a step.

    Runs of earlier versions do not say it: they read a batch, of this size, an update.
    """
    if not (manager.directory / str(step) / READ).exists():
        return step * size
    items = ocp.args.Composite(**{READ: ocp.args.JsonRestore()})
    return int(manager.restore(step, args=items)[READ]['places'])


def quiet_orbax() -> None:
    """Lets Orbax log nothing: it logs the errors that it raises, and each folder that it reads."""
    logging.getLogger('absl').setLevel(logging.CRITICAL)


def open_to_read(folder: pathlib.Path) -> ocp.CheckpointManager:
    """The checkpoints of a stage, which stay as they are."""
    quiet_orbax()
    options = ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
    handlers = {'state': ocp.PyTreeCheckpointHandler()}
    return ocp.CheckpointManager(absolute(folder), options=options, item_handlers=handlers)


def evaluated_best(run: pathlib.Path) -> int | None:
    """The update of the best policy, if results.json says that this one was evaluated."""
    path = run / 'results.json'
    try:
        with naming(path):
            text = path.read_text(encoding='utf-8')
        evaluated = json.loads(text)['evaluated']
        return evaluated['update'] if evaluated['policy'] == 'best' else None
    except (FileNotFoundError, NotADirectoryError, KeyError):  # no results yet, or of an older run
        return None
    except (ValueError, TypeError) as error:
        told = '%s: cannot be read (%s), so the last policy of the run is used, not its best one'
        log.warning(told, path, one_line(error))
        return None


def read_leaves(manager: ocp.CheckpointManager, step: int, like, prefix: str = ''):
    """The leaves that a checkpoint stores under `prefix` and their paths, as a tree like `like`.

    Shapes, types and shardings are those of `like`; leaves that no checkpoint stores are its own.
    Raises ValueError if a leaf is missing or of another shape.
    """
    wanted = {
        prefix + path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for path, leaf in saved_leaves(like).items()
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
    found = [stored.get(prefix + path, leaf) for path, leaf in by_path(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def saved_leaves(tree) -> dict:
    """The leaves of a state or a policy that a checkpoint stores, under their paths.

    These are all, or, of a policy with adapters, the adapters; of a state its moments too.
    """
    leaves = by_path(tree)
    if not any(map(is_adapter, leaves)):
        return leaves
    return {
        path: leaf
        for path, leaf in leaves.items()
        if is_adapter(path) or path.startswith('moments.')
    }


def by_path(tree) -> dict:
    """The leaves of a tree under their dotted paths, in order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}
