"""The folder of a run: checks that it belongs to this run, and which keys may change later."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Sequence

import jax

from mer_jax.data.clips import Clip
from mer_jax.data.fingerprint import content_of_clips
from mer_jax.models.checkpoint.safetensors import read_json
from mer_jax.models.spec import Spec
from mer_jax.run.config_rules import flat
from mer_jax.storage.objects import append, make_folder, upload_lines, write_whole
from mer_jax.storage.paths import is_remote

LEAST_FREE = 1 << 20  # bytes of a disk on which a run is started
IDENTITY = 'identity.jsonl'  # the content of everything that a run reads: run.identity
CONTENT = 'content of data.manifest'  # of runs older than that file
ADAPTERS = 'learn.lora where learn.train is lora'
VALIDATED = 'data.validation where every.validate is above 0'
FIXED = (
    'seed',
    'method',
    'model.checkpoint',
    'model.adapter',
    ADAPTERS,
    'cold_start.towers',
    'data.clips',
    'data.manifest',
    'data.held_out',
    'data.wheels',
    CONTENT,
    VALIDATED,
)
# Where IDENTITY holds their content.
MOVABLE = ('model.checkpoint', 'model.adapter', 'data.manifest', 'data.wheels')
ONCE_TRAINED = ('learn.train', 'cold_start.')  # keys, or their beginnings, fixed once RL has begun
UNNAMED = {  # of runs older than these keys
    'method': 'mer_r1',
    'learn.train': 'decoder',
    'model.adapter': '',
    ADAPTERS: None,
    VALIDATED: 0.0,
}


def claim_workdir(
    workdir: pathlib.Path, c, spec: Spec, clips: Sequence[Clip] = (), write: bool = True
) -> list[str]:
    """Claims the workdir for this run; the keys of the config that changed since its last start.

    config.json then holds the present values; config_changes.jsonl keeps those that it had, a line
    for each start that changed some. `clips` are those of a manifest. Raises ValueError if the
    folder holds a run of another model, method, seed or data, or a longer one. Without `write` it
    only checks.
    """
    identified = (workdir / IDENTITY).exists()
    share = c.data.validation if c.data.manifest and c.every.validate else 0.0
    more = {VALIDATED: share, ADAPTERS: adapters_trained(c)}
    if not identified:
        more[CONTENT] = content_of_clips(clips) if c.data.manifest else None
    now = json.loads(json.dumps(flat(c) | sizes(spec) | more))
    lengths = {'cold_start': ('cold_start.steps', c.cold_start.steps), 'train': ('steps', c.steps)}
    path = workdir / 'config.json'
    check_folder(workdir)
    if not path.exists():
        for left in ('cold_start', 'train', 'records.jsonl'):
            if (workdir / left).exists():
                raise ValueError(
                    f'--workdir={workdir}: holds {left} of a run whose config.json is missing; put '
                    'it back, or choose another folder'
                )
        if write and jax.process_index() == 0:
            make_folder(workdir)
            write_whole(path, json.dumps(now, indent=1))
        return []
    before = UNNAMED | read_config(workdir)
    check_sizes(workdir, before, spec)
    changed = [key for key in now if key in before and before[key] != now[key]]
    trained = (workdir / 'train').exists()
    for key in changed:
        fixed = key in FIXED and not (identified and key in MOVABLE)
        if fixed or (trained and key.startswith(ONCE_TRAINED)):
            raise ValueError(
                f'{key}={now[key]!r}, but {workdir} holds a run with {before[key]!r}: choose '
                'another --workdir, or restore the value that it began with'
            )
    for stage, (key, steps) in lengths.items():
        saved = last_saved(workdir / stage)
        if saved > steps:
            raise ValueError(
                f'{key}={steps}, but {workdir / stage} holds update {saved}: set {key} to at least '
                f'{saved}, or choose another --workdir'
            )
    if changed and write and jax.process_index() == 0:
        line = {key: [before[key], now[key]] for key in changed}
        append(workdir / 'config_changes.jsonl', json.dumps(line) + '\n')
        upload_lines()
        write_whole(path, json.dumps(now, indent=1))
    return [f'{key}={now[key]!r} (was {before[key]!r})' for key in changed]


def adapters_trained(c) -> dict | None:
    """The keys of config.learn.lora, if adapters are trained."""
    return flat(c.learn.lora) if c.learn.train == 'lora' else None


def check_folder(workdir: pathlib.Path) -> None:
    """Raises ValueError if a workdir is no folder, or one that nothing can be written to."""
    if is_remote(workdir):
        return
    above = (workdir, *workdir.absolute().parents)
    there = next(folder for folder in above if folder.exists())
    if not there.is_dir():
        raise ValueError(
            f'--workdir={workdir}: must be a folder, and {there} is a file; choose another folder'
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f'--workdir={workdir}: {there} cannot be written to; it is read-only, or belongs to '
            'another user: change that, or choose another folder'
        )
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        raise ValueError(
            f'--workdir={workdir}: the disk of {there} is full ({free} bytes are free, a run needs '
            f'at least {LEAST_FREE}); free some, or choose another folder'
        )


def last_saved(folder: pathlib.Path) -> int:
    """The last update that a stage has saved; 0 if none."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max([0, *(int(name) for name in names if name.isdigit())])


def read_config(run: pathlib.Path) -> dict:
    """The flat config of a run at its last start; ValueError if the folder holds none."""
    try:
        held = read_json(run / 'config.json')
        held['spec.text.hidden_size']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{run / "config.json"}: must hold the config of a run ({error!r}); name the --workdir '
            'of a run, or another folder'
        ) from None
    return held


def check_sizes(run: pathlib.Path, before: dict, spec: Spec) -> None:
    """Raises ValueError if the model of the run has other sizes than the spec."""
    for key, value in json.loads(json.dumps(sizes(spec))).items():
        if key in before and before[key] != value:
            raise ValueError(
                f'{key.replace("spec.", "model.")}={value!r}, but {run} holds a model with '
                f'{before[key]!r}: choose another folder, or set the size to that value'
            )


COMPUTED = 'spec.dtype', 'spec.remat', 'spec.attention'  # not what a checkpoint holds, but how


def sizes(spec: Spec) -> dict:
    """The sizes that a checkpoint must agree with: fields of a spec under dotted names."""
    fields = flat(dataclasses.asdict(spec), 'spec.')
    return {key: fields[key] for key in fields if key not in COMPUTED}
