"""A small run to be killed: its flags, what it was doing by its files, and how its end differs."""

import itertools
import json
import operator
import pathlib

import numpy as np
import orbax.checkpoint as ocp

STAGES = ('cold_start', 'train')
STEPS = 6  # updates of each stage
EVERY = 2  # updates between saves, and between validations
SMALL = (  # changes of the default config for a run of seconds, besides its steps
    'prompts_per_step=2',
    'cold_start.prompts_per_step=2',
    'rollout.group=2',
    'evaluate.clips=4',
    'evaluate.batch=2',
    'data.clips=64',
    'model.text.hidden_size=32',
    'model.text.num_hidden_layers=2',
    'model.text.intermediate_size=48',
    'model.vision.hidden_size=24',
    'model.vision.intermediate_size=32',
    'model.audio.d_model=24',
    'model.audio.encoder_ffn_dim=32',
)
CHANGES = (  # for one that has all parts
    *SMALL,
    f'steps={STEPS}',
    f'cold_start.steps={STEPS}',
    f'every.save={EVERY}',
    f'every.validate={EVERY}',
    'evaluate.policy=best',
    'validation.clips=4',
    'export=True',
)
SAME_BYTES = ('records.jsonl', 'validation.jsonl', 'export/model.safetensors')
SAME_VALUES = ('evaluation_cold_start.json', 'evaluation_end.json', 'results.json')
OF_TIME = ('seconds', 'crc32')  # keys that differ between equal runs

CONFIG = """
from mer_jax.run.defaults import mer_r1

def length(texts, clips):  # a small random model earns no other reward
    return {'length': [[float(len(text)) for text in row] for row in texts]}

def get_config():
    c = mer_r1()
    c.learn.rewards = (length,)
    c.learn.weights.length = 0.5
    return c
"""


def flags(folder: pathlib.Path, workdir: pathlib.Path, *changes: str) -> list[str]:
    """The flags of a run with these further changes; its config is written into the folder."""
    config = folder / 'own.py'
    if not config.exists():
        config.write_text(CONFIG)
    changed = [f'--config.{change}' for change in (*CHANGES, *changes)]
    return [f'--config={config}', f'--workdir={workdir}', *changed]


def phase_of(workdir: pathlib.Path, began: float) -> str:
    """The phase of a run that was last started at this time of the clock, by its files."""
    if is_newer(workdir / 'results.json', began):
        return 'report'
    reached = [stage for stage in STAGES if has_begun(workdir, stage, began)]
    if not reached:
        return 'start'
    stage = reached[-1]
    if found := phase_of_save(workdir / stage, began):
        return found
    done = lines_of(workdir / 'records.jsonl', f'"{stage}"')
    if done < STEPS or stage == 'train':
        validated = lines_of(workdir / 'validation.jsonl', '"step"')
        if stage == 'train' and validated < done // EVERY:
            return 'validation'
        if done < STEPS:
            return stage
    title = 'end' if stage == 'train' else stage
    if not (workdir / f'evaluation_{title}.json').exists():
        return 'evaluation'
    return 'report' if stage == 'train' else 'start of train'


def has_begun(workdir: pathlib.Path, stage: str, began: float) -> bool:
    """Whether a stage has been begun or resumed since the start, by the file of its scalars."""
    return any(is_newer(path, began) for path in (workdir / 'tensorboard' / stage).glob('*'))


def phase_of_save(folder: pathlib.Path, began: float) -> str:
    """The phase of a checkpoint under way in this folder; '' without one."""
    names = [path for path in folder.glob('*') if path.is_dir()]
    if any('tmp' in path.name and is_newer(path, began) for path in names):
        return 'save'
    saved = [path for path in names if path.name.isdigit() and is_newer(path, began)]
    missing = [path for path in saved if not (folder / f'checksums_{path.name}.json').exists()]
    return 'checksums' if missing else ''


def is_newer(path: pathlib.Path, began: float) -> bool:
    """Whether a file has been written since that time."""
    try:
        return path.stat().st_mtime > began
    except FileNotFoundError:
        return False


def lines_of(path: pathlib.Path, word: str) -> int:
    """How many lines of a file hold this word; 0 without the file."""
    try:
        return sum(word in line for line in path.read_text().splitlines())
    except FileNotFoundError:
        return 0


def differences(whole: pathlib.Path, killed: pathlib.Path) -> list[str]:
    """The results, records, validations, parameters and moments of two runs that are not equal."""
    found = [
        name for name in SAME_BYTES if (whole / name).read_bytes() != (killed / name).read_bytes()
    ]
    found += [name for name in SAME_VALUES if values_of(whole / name) != values_of(killed / name)]
    for stage in STAGES:
        step, ours = last_saved_by(whole / stage)
        other, theirs = last_saved_by(killed / stage)
        if step != other or ours.keys() != theirs.keys():
            found.append(f'{stage}: checkpoint {other} and not {step}, or other arrays')
            continue
        found += [f'{stage}: {key}' for key in ours if not same(ours[key], theirs[key])]
    return found


def values_of(path: pathlib.Path) -> dict:
    """The values in a JSON file that do not depend on the time that a run took."""
    return {key: x for key, x in json.loads(path.read_text()).items() if key not in OF_TIME}


def last_saved_by(folder: pathlib.Path) -> tuple[int, dict]:
    """The step of the last checkpoint of a stage, and all its arrays.

    Earlier ones may be others: SIGTERM saves one more.
    """
    manager = ocp.CheckpointManager(folder)
    step = max(manager.all_steps())
    items = ocp.args.Composite(state=ocp.args.StandardRestore())
    return step, manager.restore(step, args=items)['state']


def same(one, other) -> bool:
    """Whether two arrays have the same bits."""
    one, other = np.asarray(one), np.asarray(other)
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def table(kills: list[dict], runs: list[dict]) -> str:
    """Kills by signal and phase: how many ended in a run equal to the uninterrupted one."""
    equal = {run['run'] for run in runs if not run['differences']}
    lines = ['signal           phase            kills  identical  seconds until the process ended']
    key = operator.itemgetter('signal', 'hit')
    for (signal, hit), group in itertools.groupby(sorted(kills, key=key), key):
        some = list(group)
        good = sum(kill['run'] in equal for kill in some)
        longest = max(kill['ended'] for kill in some)
        lines.append(f'{signal:16} {hit:16} {len(some):5}  {good:9}  {longest:.2f}')
    good = sum(kill['run'] in equal for kill in kills)
    lines.append(f'{good} of {len(kills)} kills ended identical to the uninterrupted run')
    return '\n'.join(lines)
