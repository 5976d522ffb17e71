"""Orbax checkpoints of {state, data iterator}: restore the last good one, or start."""

import logging
import pathlib

import grain
import jax
import orbax.checkpoint as ocp

log = logging.getLogger(__name__)


class DamagedCheckpoints(ValueError):
    """No checkpoint of a folder can be read."""


class Checkpoints:
    """The checkpoints of one stage in a folder.

    A state is any pytree; its leaves are stored under their paths ('policy.decoder…'), so a
    checkpoint is readable without this package. A checkpoint that a kill cut off is not listed.
    """

    def __init__(self, folder: pathlib.Path, keep: int):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=True
        )
        self.folder = folder.absolute()
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.manager.wait_until_finished()
        self.manager.close()

    def save(self, step: int, state, batches=None):
        """Save the state and where the data iterator stands; a step that is there is left alone."""
        items = {'state': ocp.args.StandardSave(by_path(state))}
        if batches is not None:
            items['data'] = grain.checkpoint.CheckpointSave(batches)
        self.manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, step: int, like, batches=None):
        """The state of `step` with the shapes, types and shardings of `like`."""
        items = {'state': ocp.args.StandardRestore(by_path(like))}
        if batches is not None:
            items['data'] = grain.checkpoint.CheckpointRestore(batches)
        stored = self.manager.restore(step, args=ocp.args.Composite(**items))['state']
        return jax.tree.unflatten(jax.tree.structure(like), [stored[p] for p in by_path(like)])

    def restore_last(self, like, batches=None) -> tuple[int, object]:
        """The last step that can be read, and its state; (0, like) where nothing was saved.

        A damaged checkpoint behind it is named and removed: its steps are made again. Raises
        DamagedCheckpoints, and removes nothing, if none of those that are there can be read.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        for number, step in enumerate(steps):
            try:
                state = self.restore(step, like, batches)
            except Exception as error:  # whatever a storage library makes of damage
                reason = one_line(error)
                log.warning('%s: checkpoint %d cannot be read (%s)', self.folder, step, reason)
                continue
            for damaged in steps[:number]:
                self.manager.delete(damaged)
            return step, state
        if steps:
            raise DamagedCheckpoints(
                f'{self.folder}: none of the checkpoints {steps} can be read ({reason}); restore '
                'the folder from a copy, or remove it to begin the stage anew'
            )
        return 0, like

    def reached_preemption(self, step: int) -> bool:
        """Whether the machines of a pod have been told to stop, at a step common to all."""
        return self.manager.reached_preemption(step)


def load_policy(run: pathlib.Path, like):
    """The last policy that a run saved, with the shapes, types and shardings of `like`.

    Raises ValueError if the folder holds no checkpoint of a run.
    """
    for folder in (run / 'train', run / 'cold_start'):
        options = ocp.CheckpointManagerOptions(read_only=True)
        handlers = {'state': ocp.PyTreeCheckpointHandler()}
        manager = ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)
        step = manager.latest_step() if folder.exists() else None
        if step is None:
            continue
        if folder.name == 'cold_start':
            log.warning('%s: no update of training is saved; this is the cold start', run)
        item = {f'policy.{path}': leaf for path, leaf in by_path(like).items()}
        wanted = ocp.args.PyTreeRestore(
            item, ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
        )
        try:
            stored = manager.restore(step, args=ocp.args.Composite(state=wanted))['state']
        except Exception as error:  # whatever a storage library makes of damage
            raise DamagedCheckpoints(
                f'{folder / str(step)}: cannot be read ({one_line(error)}); restore it from a '
                'copy, or remove it so that the one before is taken'
            ) from None
        return jax.tree.unflatten(jax.tree.structure(like), [stored[path] for path in item])
    raise ValueError(
        f'{run}: no checkpoint of a run is there; name the --workdir of a run that has saved one'
    )


def one_line(error: Exception) -> str:
    """What an error of a library says, on one line that is not too long."""
    return ' '.join(str(error).split())[:300]


def by_path(tree) -> dict:
    """The leaves of a tree under their dotted paths, in order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}
