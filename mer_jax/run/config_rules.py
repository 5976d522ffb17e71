"""Rules that a config must satisfy before anything is built or written.

Kinds and bounds of single values are in config_values.
"""

import dataclasses
import functools
import types
from collections.abc import Mapping

import jax

from mer_jax.data.clip_sources import STAGES
from mer_jax.data.clips import label_of
from mer_jax.data.media.sound import STARTS
from mer_jax.data.positions import VIDEO_POSITIONS
from mer_jax.methods import METHODS
from mer_jax.methods.own_rewards import title
from mer_jax.models.attention import KINDS, PLATFORMS
from mer_jax.models.spec import TextSpec
from mer_jax.rl.objective import AGGREGATES, CLIPS, RATIOS
from mer_jax.rl.optimizer import PARTS
from mer_jax.run.adapters import check_lora
from mer_jax.run.all_defaults import DEFAULTS
from mer_jax.run.config_values import (
    ABOVE_ZERO,
    AT_LEAST,
    AT_MOST,
    DERIVED,
    SHARES_OF_TOKENS,
    SIZES,
    Bounds,
    check_choices,
    check_lengths,
    check_names,
    check_values,
)
from mer_jax.run.mesh_rules import count_shards, read_rules
from mer_jax.run.spikes import check_rule
from mer_jax.sharding import AXES, mesh_shape

MEMORY_CHECKS = ('auto', 'arrays', 'programs', 'off')
DTYPES = ('float32', 'bfloat16')
CHOICES = {  # a method has more of its own
    'method': tuple(METHODS),
    'model.family': ('omni', 'vl'),
    'model.dtype': DTYPES,
    'model.weights': DTYPES,
    'model.attention': KINDS,
    'model.video_positions': VIDEO_POSITIONS,
    'optim.moments': DTYPES,
    'learn.train': PARTS,
    'learn.ratio': RATIOS,
    'learn.clip': CLIPS,
    'learn.aggregate': AGGREGATES,
    'cold_start.aggregate': ('token', 'sequence'),
    'data.stage': STAGES,
    'data.sound_start': STARTS,
    'memory_check': MEMORY_CHECKS,
    'records.tracker': ('', 'wandb', 'swanlab'),
}
SHORT_WARMUP = 10  # updates, allowed in a run of any length
BATCHES = ('prompts_per_step', 'cold_start.prompts_per_step', 'evaluate.batch')


def check_config(c, devices: int = 0) -> None:
    """Checks all rules; ValueError names the key, its value, the rule and the way out.

    The mesh has so many devices, or all of this machine if `devices` is 0.
    """
    values = flat(c)
    if 'method' not in values:
        raise ValueError(f'method: is missing in the config; set it to one of {", ".join(METHODS)}')
    check_choices(values, {'method': CHOICES['method']})
    defaults = defaults_of(c.method)
    check_keys(values, defaults)
    check_values(values, defaults, bounds_of_method(c.method))
    method = METHODS[c.method]
    check_choices(values, CHOICES | method.CHOICES)
    check_numbers(c)
    check_warmup(c)
    check_data(c.data)
    check_lengths('learn.lengths', tuple(c.learn.lengths), '256,512')
    for key, example in method.WORDS.items():
        check_words(key, tuple(values[key]), example)
    check_validation(c)
    check_lora(c)
    check_rule(c.spike.factor, c.spike.stop)
    check_batches(c, devices or jax.device_count())
    if c.model.text:
        check_attention(c.model)
        if c.export and c.model.family == 'vl':
            check_export(c.model.text)


@functools.cache
def defaults_of(method: str) -> Mapping:
    """The values of a method's default config under their dotted keys."""
    return types.MappingProxyType(flat(DEFAULTS[method].stage()))


def bounds_of_method(name: str) -> Bounds:
    """The bounds of the keys of a method's configs."""
    method = METHODS[name]
    return Bounds(
        at_least=AT_LEAST | method.AT_LEAST,
        at_most=AT_MOST | method.AT_MOST,
        above_zero=ABOVE_ZERO + method.ABOVE_ZERO,
        shares=SHARES_OF_TOKENS + method.SHARES_OF_TOKENS,
    )


def check_keys(values: dict, defaults: Mapping) -> None:
    """Checks that a config has all keys of the default one of its method, and no others.

    Rewards may have other names; sizes of the model may be left to a checkpoint.
    """
    method = values['method']
    sizes = {
        prefix + field.name
        for prefix, spec in SIZES.items()
        for field in dataclasses.fields(spec)
        if field.name not in DERIVED
    }
    check_names(values, defaults.keys() | sizes, f'a config of method={method!r}')
    given = {key.rpartition('.')[0] for key in values}
    for key, value in defaults.items():
        section = key.rpartition('.')[0]
        if key not in values and (section in given or f'{section}.' not in SIZES):
            raise ValueError(
                f'{key}: is missing in the config, and method={method!r} needs it; put it back, '
                f'e.g. {value!r}, or start from configs/{method}.py'
            )


def check_numbers(c) -> None:
    """Checks the ranges of single numbers that no table holds."""
    if not 0 <= c.seed < 2**32:
        raise ValueError(f'seed={c.seed}: must be from 0 to 2**32 - 1 = {2**32 - 1}, e.g. 0')
    if c.rollout.group < 2:
        raise ValueError(
            f'rollout.group={c.rollout.group}: a group needs at least two branches to be relative, '
            'e.g. 8'
        )
    if 'fast' in c.rollout and c.rollout.fast and not 2 <= c.rollout.fast <= c.rollout.group - 2:
        raise ValueError(
            f'rollout.fast={c.rollout.fast}: must leave two branches or more of each kind in '
            f'rollout.group={c.rollout.group}, e.g. 4 of 8; or 0 for slow branches alone'
        )
    if not 0 <= c.optim.b2 < 1:
        raise ValueError(f'optim.b2={c.optim.b2}: must be at least 0 and below 1, e.g. 0.95')
    if c.learn.clip_dual and c.learn.clip_dual <= 1:
        raise ValueError(
            f'learn.clip_dual={c.learn.clip_dual}: must be above 1, e.g. 3.0, or 0 for no dual clip'
        )
    if c.learn.ratio_cap and c.learn.ratio_cap < 1:
        raise ValueError(
            f'learn.ratio_cap={c.learn.ratio_cap}: must be at least 1, e.g. 2.0, or 0 for no weight'
        )
    if c.learn.clip_dual and c.learn.clip != 'ppo':
        raise ValueError(
            f'learn.clip_dual={c.learn.clip_dual}: acts with learn.clip=ppo alone, and learn.clip='
            f'{c.learn.clip}; set one of them back, e.g. learn.clip_dual=0'
        )
    weights = dict(c.learn.weights)
    method = METHODS[c.method]
    idle = set(method.TERMS) - set(method.acting_terms(flat(c)))
    acting = {name: weight for name, weight in weights.items() if name not in idle}
    if not any(acting.values()):
        raise ValueError(
            f'learn.weights={weights}: must be at least 0, and one of those that act '
            f'({", ".join(acting)}) above 0, e.g. 1.0'
        )
    for function in c.learn.rewards:
        if not callable(function):
            raise ValueError(
                f'learn.rewards={c.learn.rewards}: must be functions of (texts, clips), or () for '
                f'none, and {function!r} is no function'
            )


def check_warmup(c) -> None:
    """Checks that no stage ends before its learning rate has reached its full value.

    A trial run of a few updates may have SHORT_WARMUP.
    """
    stages = {
        'steps * learn.minibatches * learn.epochs': c.steps * c.learn.minibatches * c.learn.epochs,
        'cold_start.steps': c.cold_start.steps,
    }
    for told, updates in stages.items():
        if 0 < updates < c.optim.warmup and c.optim.warmup > SHORT_WARMUP:
            raise ValueError(
                f'optim.warmup={c.optim.warmup}: must be at most {told} = {updates}, or the '
                f'learning rate would never be reached; lower it, e.g. {updates // 10}'
            )


def check_words(key: str, words: tuple, example: str) -> None:
    """Checks that words are strings, none of them empty or named twice."""
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f'{key}={words}: must be words, none of them empty, e.g. {example}')
    known = [label_of(word) for word in words]
    for word in known:
        if known.count(word) > 1:
            raise ValueError(f'{key}={words}: must name {word!r} once, e.g. {example}')


def check_data(data) -> None:
    """Checks the keys of config.data."""
    if not 0 < data.held_out < 1:
        raise ValueError(
            f'data.held_out={data.held_out}: must be a share between 0 and 1, e.g. 0.2'
        )
    if not 0 < data.validation < 1:
        raise ValueError(
            f'data.validation={data.validation}: must be a share between 0 and 1, e.g. 0.05; '
            'every.validate=0 leaves no clips aside'
        )
    check_lengths('data.prompt_tokens', tuple(data.prompt_tokens), '768,2048', 1)
    if not data.question.strip():
        raise ValueError(
            f'data.question={data.question!r}: must be the question to ask about a clip without '
            "one of its own, e.g. 'What does this person feel?'"
        )
    if data.subtitle.count('{}') != 1:
        raise ValueError(
            f'data.subtitle={data.subtitle!r}: must hold {{}} once, in place of the subtitle, e.g. '
            "'Subtitle: {{}}'"
        )
    if data.wheels:
        check_words('data.wheels', tuple(data.wheels), 'parrott,ekman')
    if data.min_pixels > data.max_pixels:
        raise ValueError(
            f'data.min_pixels={data.min_pixels}: must not be above '
            f'data.max_pixels={data.max_pixels}'
        )


def check_validation(c) -> None:
    """Checks the keys that need validations."""
    if c.evaluate.policy not in ('last', 'best'):
        raise ValueError(f'evaluate.policy={c.evaluate.policy!r}: must be one of last, best')
    if c.every.validate:
        return
    if c.early_stop:
        raise ValueError(
            f'early_stop={c.early_stop}: counts validations, but every.validate=0 makes none; set '
            'every.validate, e.g. 50, or early_stop=0'
        )
    if c.evaluate.policy == 'best':
        raise ValueError(
            "evaluate.policy='best': validations decide which policy is the best, but "
            "every.validate=0 makes none; set every.validate, e.g. 50, or evaluate.policy='last'"
        )


def check_batches(c, devices: int) -> None:
    """Checks that batches divide over the mesh."""
    shards, computed = shards_of(c.mesh, devices)
    values = flat(c)
    for key in BATCHES:
        size = values[key]
        if size % shards:
            raise ValueError(
                f'{key}={size}: must be a multiple of {computed} = {shards}, '
                f'e.g. {-(-size // shards) * shards}'
            )
    check_parts(c, shards, computed)


def shards_of(mesh, devices: int) -> tuple[int, str]:
    """In how many parts the mesh of a config splits prompts, and how that is computed."""
    shape = mesh_shape(mesh.data, mesh.fsdp, mesh.tensor, devices)
    return count_shards(read_rules(mesh.rules), dict(zip(AXES, shape, strict=True)))


def check_tensor(mesh, text: TextSpec) -> None:
    """Checks that the decoder's heads, key heads and vocabulary divide over mesh.tensor."""
    tensor = mesh.shape['tensor']
    sizes = text.num_attention_heads, text.num_key_value_heads, text.vocab_size
    fitting = [n for n in range(1, tensor + 1) if not any(size % n for size in (*sizes, mesh.size))]
    if tensor not in fitting:
        heads, key_heads, rows = sizes
        raise ValueError(
            f'mesh.tensor={tensor}: must divide the {heads} heads, the {key_heads} key heads and '
            f'the {rows} vocabulary rows of the decoder, or devices would compute the same; of '
            f'{mesh.size} devices take {", ".join(map(str, fitting))}, and leave the others to '
            'another axis, e.g. mesh.fsdp=-1'
        )


def check_platform(mesh, attention: str, dtype: str) -> None:
    """Checks that the devices of the mesh have the kernel of model.attention, for model.dtype."""
    platform = mesh.devices.flat[0].platform
    needed = PLATFORMS.get(attention, platform)
    if platform != needed:
        raise ValueError(
            f'model.attention={attention}: is a kernel for platform {needed}, and these devices '
            f'are of platform {platform}; take model.attention=auto, which chooses by platform and '
            'size, or blocks, which runs everywhere'
        )
    if attention == 'fused' and dtype != 'bfloat16':
        raise ValueError(
            f'model.attention=fused: takes bfloat16 alone, and model.dtype={dtype}; set one of '
            'them, e.g. model.attention=blocks'
        )


def check_parts(c, shards: int, computed: str) -> None:
    """Checks that minibatches and microbatches divide the prompts of a step."""
    size, minibatches, microbatch = c.prompts_per_step, c.learn.minibatches, c.learn.microbatch
    if size % (minibatches * shards):
        raise ValueError(
            f'learn.minibatches={minibatches}: times {computed} = {shards} it must '
            f'divide prompts_per_step={size}; e.g. prompts_per_step='
            f'{-(-size // (minibatches * shards)) * minibatches * shards}'
        )
    share = size // minibatches // shards
    told = f'minibatch on a device, prompts_per_step / learn.minibatches / ({computed})'
    check_microbatch('learn.microbatch', microbatch, share, told)
    told = f'step on a device, prompts_per_step / ({computed})'
    check_microbatch('rollout.microbatch', c.rollout.microbatch, size // shards, told)


def check_microbatch(key: str, microbatch: int, share: int, told: str) -> None:
    """Checks that a microbatch divides a device's share of the prompts; 0 takes all."""
    if microbatch and share % microbatch:
        fitting = ', '.join(str(n) for n in range(1, share + 1) if share % n == 0)
        raise ValueError(
            f'{key}={microbatch}: must divide the prompts of a {told} = {share}; one of '
            f'{fitting}, or 0 for all at a time'
        )


def check_attention(model) -> None:
    """Checks that the sizes of the model fit each other."""
    text, vision, audio = model.text, model.vision, model.audio
    n, k = text.num_attention_heads, text.num_key_value_heads
    if n % k:
        raise ValueError(
            f'model.text.num_attention_heads={n}: must be a multiple of '
            f'model.text.num_key_value_heads={k}'
        )
    if len(text.mrope_section) != 3 or sum(text.mrope_section) * 2 != text.head_dim:
        raise ValueError(
            f'model.text.mrope_section={tuple(text.mrope_section)}: must be three counts that add '
            f'up to half of model.text.head_dim={text.head_dim}; change one of them'
        )
    if vision.hidden_size % (4 * vision.num_heads):
        raise ValueError(
            f'model.vision.num_heads={vision.num_heads}: four times it must divide '
            f'model.vision.hidden_size={vision.hidden_size}'
        )
    if vision.window_size % 28:
        raise ValueError(
            f'model.vision.window_size={vision.window_size}: must be a multiple of 28, the pixels '
            'along a cell'
        )
    if any(index >= vision.depth for index in vision.fullatt_block_indexes):
        raise ValueError(
            f'model.vision.fullatt_block_indexes={tuple(vision.fullatt_block_indexes)}: must all '
            f'be below model.vision.depth={vision.depth}, e.g. {(vision.depth - 1,)}'
        )
    if audio.d_model % (2 * audio.encoder_attention_heads):
        raise ValueError(
            f'model.audio.encoder_attention_heads={audio.encoder_attention_heads}: twice it must '
            f'divide model.audio.d_model={audio.d_model}'
        )


def check_export(text) -> None:
    """Checks that `transformers` can compute a VL model of these sizes."""
    width, heads = text.hidden_size, text.num_attention_heads
    if text.head_dim * heads != width:
        raise ValueError(
            f'model.text.head_dim={text.head_dim}: with export=True and model.family=vl, times '
            f'model.text.num_attention_heads={heads} it must be model.text.hidden_size={width}; '
            'change one of the three, or set export=False'
        )


def flat(c, prefix: str = '') -> dict:
    """The values of a nested config under their dotted keys; functions as their names."""
    values = {}
    for key, value in c.items():
        if hasattr(value, 'items'):
            values |= flat(value, f'{prefix}{key}.')
        elif key == 'rewards' and isinstance(value, tuple | list):
            values[prefix + key] = tuple(map(title, value))
        else:
            values[prefix + key] = value
    return values
