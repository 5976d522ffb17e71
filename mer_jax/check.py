"""What a config must satisfy before anything is built or written; each message says the way out."""

import dataclasses
import json
import math
import pathlib

import jax

from mer_jax.models.spec import Spec
from mer_jax.records import write_whole
from mer_jax.rl.advantages import DISENTANGLE, LEVELS, SIDES, SPACES
from mer_jax.rl.objective import AGGREGATES
from mer_jax.sharding import mesh_shape

FIXED = ('seed', 'model.checkpoint', 'data.clips', 'data.manifest', 'data.held_out', 'data.wheels')
CHOICES = {
    'model.family': ('omni', 'vl'),
    'learn.disentangle': DISENTANGLE,
    'learn.calibration.space': SPACES,
    'learn.calibration.level': LEVELS,
    'learn.calibration.sides': SIDES,
    'learn.aggregate': AGGREGATES,
    'model.dtype': ('float32', 'bfloat16'),
    'model.weights': ('float32', 'bfloat16'),
    'optim.moments': ('float32', 'bfloat16'),
}
AT_LEAST = {
    'steps': 0,
    'cold_start.steps': 0,
    'prompts_per_step': 1,
    'cold_start.prompts_per_step': 1,
    'evaluate.clips': 2,
    'evaluate.batch': 1,
    'data.clips': 1,
    'data.max_frames': 2,
    'data.min_pixels': 784,
    'data.max_pixels': 784,
    'data.max_bad_clips': 0,
    'rollout.slow_tokens': 8,
    'rollout.echo_tokens': 8,
    'rollout.anchors': 1,
    'learn.kl': 0,
    'learn.clip_low': 0,
    'learn.clip_high': 0,
    'learn.chunk': 1,
    'learn.calibration.weight': 0,
    'optim.learning_rate': 0,
    'cold_start.learning_rate': 0,
    'optim.warmup': 0,
    'every.save': 1,
    'every.keep': 1,
    'optim.weight_decay': 0,
}
ABOVE_ZERO = ('rollout.temperature', 'evaluate.temperature', 'data.fps', 'optim.clip_norm')


def check_config(c) -> None:
    """Raises ValueError naming the key, the rule, the value and the way out."""
    values = flat(c)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{key}={value}: must be a finite number')
    for key, least in AT_LEAST.items():
        if values[key] < least:
            raise ValueError(f'{key}={values[key]}: must be at least {least}')
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise ValueError(f'{key}={values[key]!r}: must be one of {", ".join(choices)}')
    for key in ABOVE_ZERO:
        if values[key] <= 0:
            raise ValueError(f'{key}={values[key]}: must be above 0, e.g. 1.0')
    for key in ('rollout.top_p', 'evaluate.top_p'):
        if not 0 < values[key] <= 1:
            raise ValueError(f'{key}={values[key]}: must be in (0, 1]; 1 keeps every token')
    check_ranges(c)
    check_batches(c)
    if c.model.text:
        check_attention(c.model.text)


def check_ranges(c) -> None:
    """Single values must lie in their ranges."""
    if not 0 <= c.seed < 2**32:
        raise ValueError(f'seed={c.seed}: must be from 0 to 2**32 - 1 = {2**32 - 1}')
    if c.rollout.group < 2:
        raise ValueError(
            f'rollout.group={c.rollout.group}: a group needs at least two branches to be relative'
        )
    if not 0 < c.data.held_out < 1:
        raise ValueError(f'data.held_out={c.data.held_out}: a share between 0 and 1, e.g. 0.2')
    if not 0 <= c.optim.b2 < 1:
        raise ValueError(f'optim.b2={c.optim.b2}: must be at least 0 and below 1, e.g. 0.95')
    tokens = tuple(c.data.prompt_tokens)
    if not tokens or not all(isinstance(n, int) and n > 0 for n in tokens):
        raise ValueError(
            f'data.prompt_tokens={tokens}: must be lengths of at least 1 token, e.g. 768,2048'
        )
    if c.data.subtitle.count('{}') != 1:
        raise ValueError(
            f'data.subtitle={c.data.subtitle!r}: must hold {{}} once, where the subtitle goes'
        )
    if c.data.min_pixels > c.data.max_pixels:
        raise ValueError(
            f'data.min_pixels={c.data.min_pixels}: must not be above '
            f'data.max_pixels={c.data.max_pixels}'
        )


def check_batches(c) -> None:
    """Batches must divide over the mesh."""
    data, fsdp, _ = mesh_shape(c.mesh.data, c.mesh.fsdp, c.mesh.tensor, jax.device_count())
    shards = data * fsdp
    for key in ('prompts_per_step', 'cold_start.prompts_per_step', 'evaluate.batch'):
        size = flat(c)[key]
        if size % shards:
            raise ValueError(
                f'{key}={size}: must be a multiple of mesh.data * mesh.fsdp = {shards}, '
                f'e.g. {-(-size // shards) * shards}'
            )


def check_attention(text) -> None:
    """The sizes of the decoder must fit each other."""
    n, k = text.num_attention_heads, text.num_key_value_heads
    if k < 1 or n % k:
        raise ValueError(
            f'model.text.num_attention_heads={n}: must be a multiple of '
            f'model.text.num_key_value_heads={k}'
        )
    if sum(text.mrope_section) * 2 != text.head_dim:
        raise ValueError(
            f'model.text.mrope_section={tuple(text.mrope_section)}: must add up to half of '
            f'model.text.head_dim={text.head_dim}'
        )


def flat(c, prefix: str = '') -> dict:
    """The values of a nested config under their dotted keys."""
    values = {}
    for key, value in c.items():
        if hasattr(value, 'items'):
            values |= flat(value, f'{prefix}{key}.')
        else:
            values[prefix + key] = value
    return values


def claim_workdir(workdir: pathlib.Path, c, spec: Spec) -> list[str]:
    """Make the workdir this run's own, or see that it is; the other keys that have changed since.

    Raises ValueError if the folder holds a run of another model, seed or data.
    """
    now = json.loads(json.dumps(flat(c) | sizes(spec)))
    path = workdir / 'config.json'
    if not path.exists():
        if jax.process_index() == 0:
            workdir.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(now, indent=1))
        return []
    before = read_config(workdir)
    check_sizes(workdir, before, spec)
    changed = [key for key in now if key in before and before[key] != now[key]]
    trained = (workdir / 'train').exists()
    for key in changed:
        if key in FIXED or (trained and key.startswith('cold_start.')):
            raise ValueError(
                f'{key}={now[key]!r}, but {workdir} holds a run with {before[key]!r}: choose '
                'another --workdir, or give the value that it began with'
            )
    return [f'{key}={now[key]!r} (was {before[key]!r})' for key in changed]


def read_config(run: pathlib.Path) -> dict:
    """The config that a run began with, flat; ValueError if the folder holds none."""
    try:
        return json.loads((run / 'config.json').read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{run / "config.json"}: must hold the config of a run ({error}); name the --workdir '
            'of a run, or another folder'
        ) from None


def check_sizes(run: pathlib.Path, before: dict, spec: Spec) -> None:
    """Raises ValueError if the run's model is another than that of the spec."""
    for key, value in json.loads(json.dumps(sizes(spec))).items():
        if key in before and before[key] != value:
            raise ValueError(
                f'{key.replace("spec.", "model.")}={value!r}, but {run} holds a model with '
                f'{before[key]!r}: choose another folder, or give the size that it has'
            )


def sizes(spec: Spec) -> dict:
    """What a checkpoint must agree with: the fields of a spec under dotted names."""
    fields = flat(dataclasses.asdict(spec), 'spec.')
    return {key: fields[key] for key in fields if key not in ('spec.remat', 'spec.dtype')}
