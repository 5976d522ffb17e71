"""The files that a policy is read from: of a Hugging Face folder, or of the last save of a run."""

import pathlib

from mer_jax.models.checkpoint.kinds import ADAPTER as CONFIG
from mer_jax.models.checkpoint.peft import WEIGHTS
from mer_jax.models.checkpoint.safetensors import read_json
from mer_jax.run.adapters import held_by_run
from mer_jax.run.checkpoints import evaluated_best
from mer_jax.run.workdir import last_saved
from mer_jax.storage.objects import BESIDE_WEIGHTS
from mer_jax.storage.paths import naming, path_of

TENSORS = '.safetensors'


def files_of_checkpoint(checkpoint: str, root: pathlib.Path | None) -> dict[str, pathlib.Path]:
    """The files of model.checkpoint by their names in it, and those of the folder at its root.

    Of a run these are the arrays that its policy is read from, and of its root what is read beside
    the weights: config and tokenizer. Of a run that trains adapters the files of its own start are
    among them. None without a checkpoint.
    """
    if not checkpoint:
        return {}
    folder = path_of(checkpoint)
    files = {}
    with naming(checkpoint):
        if folder != root:
            saved = saved_policy(folder)
            if saved is not None:
                files |= {
                    str(path.relative_to(folder)): path
                    for path in sorted(saved.rglob('*'))
                    if path.is_file()
                }
            config = folder / 'config.json'
            kept = read_json(config) if config.exists() else {}
            if held_by_run(kept):
                before = files_of_checkpoint(kept['model.checkpoint'], root)
                files |= {f'base/{name}': path for name, path in before.items()}
        if root is not None:
            endings = (TENSORS, *BESIDE_WEIGHTS) if folder == root else BESIDE_WEIGHTS
            files |= {p.name: p for p in sorted(root.iterdir()) if p.suffix in endings}
    return files


def files_of_adapter(adapter: str) -> dict[str, pathlib.Path]:
    """The files that model.adapter is read from, by their names; none without an adapter."""
    return {f'adapter/{name}': path_of(adapter) / name for name in (CONFIG, WEIGHTS) if adapter}


def saved_policy(run: pathlib.Path) -> pathlib.Path | None:
    """The checkpoint that `checkpoints.load_policy` reads of a run; None if it has saved none."""
    for stage in ('train', 'cold_start'):
        if last := last_saved(run / stage):
            best = evaluated_best(run) if stage == 'train' else None
            kept = best is not None and (run / stage / str(best)).is_dir()
            return run / stage / str(best if kept else last)
    return None
