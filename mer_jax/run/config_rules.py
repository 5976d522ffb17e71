"""Rules that a config must satisfy before anything is built or written.

Tables of rules for single keys come first, then functions for rules of several keys.
"""

import dataclasses
import difflib
import math

import jax

from mer_jax.data.clip_sources import STAGES
from mer_jax.data.clips import label_of
from mer_jax.data.media.sound import STARTS
from mer_jax.data.positions import VIDEO_POSITIONS
from mer_jax.methods import METHODS
from mer_jax.methods.own_rewards import title
from mer_jax.models.attention import KINDS, PLATFORMS
from mer_jax.models.spec import AudioSpec, TextSpec, VisionSpec
from mer_jax.rl.objective import AGGREGATES, CLIPS, RATIOS
from mer_jax.rl.optimizer import PARTS
from mer_jax.run.all_defaults import DEFAULTS
from mer_jax.run.mesh_rules import count_shards, read_rules
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
}
POLICIES = ('last', 'best')
AT_LEAST = {
    'steps': 0,
    'prompts_per_step': 1,
    'cold_start.steps': 0,
    'cold_start.prompts_per_step': 1,
    'cold_start.learning_rate': 0,
    'data.clips': 1,
    'data.max_bad_clips': 0,
    'data.max_frames': 2,
    'data.min_pixels': 784,
    'data.max_pixels': 784,
    'rollout.slow_tokens': 8,
    'learn.kl': 0,
    'learn.clip_low': 0,
    'learn.clip_high': 0,
    'learn.minibatches': 1,
    'learn.epochs': 1,
    'learn.microbatch': 0,
    'learn.chunk': 1,
    'optim.learning_rate': 0,
    'optim.warmup': 0,
    'optim.weight_decay': 0,
    'evaluate.clips': 2,
    'evaluate.batch': 1,
    'every.save': 1,
    'every.keep': 1,
    'every.validate': 0,
    'validation.clips': 2,
    'early_stop': 0,
}
ABOVE_ZERO = (
    'data.fps',
    'optim.decay_to',
    'rollout.temperature',
    'optim.clip_norm',
    'evaluate.temperature',
)
SHARES_OF_TOKENS = ('rollout.top_p', 'evaluate.top_p')
WEIGHTS = 'learn.weights.'  # keys that begin so are names of rewards
SIZES = {'model.text.': TextSpec, 'model.vision.': VisionSpec, 'model.audio.': AudioSpec}
DERIVED = ('vocab_size', 'out_hidden_size', 'output_dim')  # sizes that follow from others
BATCHES = ('prompts_per_step', 'cold_start.prompts_per_step', 'evaluate.batch')


def check_config(c, devices: int = 0) -> None:
    """Checks all rules; ValueError names the key, its value, the rule and the way out.

    The mesh has so many devices, or all of this machine if `devices` is 0.
    """
    values = flat(c)
    check_choices(values, {'method': CHOICES['method']})
    check_keys(values)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{key}={value}: must be a finite number')
    method = METHODS[c.method]
    for key, least in (AT_LEAST | method.AT_LEAST).items():
        if values[key] < least:
            raise ValueError(f'{key}={values[key]}: must be at least {least}')
    for key in ABOVE_ZERO + method.ABOVE_ZERO:
        if values[key] <= 0:
            raise ValueError(f'{key}={values[key]}: must be above 0, e.g. 1.0')
    for key in SHARES_OF_TOKENS + method.SHARES_OF_TOKENS:
        if not 0 < values[key] <= 1:
            raise ValueError(f'{key}={values[key]}: must be in (0, 1]; 1 keeps every token')
    check_choices(values, CHOICES | method.CHOICES)
    check_numbers(c)
    check_data(c.data)
    for key, example in method.WORDS.items():
        check_words(key, tuple(values[key]), example)
    check_validation(c)
    check_batches(c, devices or jax.device_count())
    for section in ('text', 'vision', 'audio'):
        check_sizes_given(c.model[section], section)
    if c.model.text:
        check_attention(c.model)
        if c.export and c.model.family == 'vl':
            check_export(c.model.text)


def check_keys(values: dict) -> None:
    """Checks that a config has all keys of the default one of its method, and no others.

    Rewards may have other names; sizes of the model may be left to a checkpoint.
    """
    method = values['method']
    known = flat(DEFAULTS[method].stage())
    sizes = {
        prefix + field.name
        for prefix, spec in SIZES.items()
        for field in dataclasses.fields(spec)
        if field.name not in DERIVED
    }
    allowed = sorted(known.keys() | sizes)
    for key, value in values.items():
        if key not in allowed and not key.startswith(WEIGHTS):
            close = difflib.get_close_matches(key, allowed, 1)
            hint = f'; did you mean {close[0]}?' if close else ''
            raise ValueError(
                f'{key}={value!r}: a config of method={method!r} has no such key; remove it{hint}'
            )
    given = {key.rpartition('.')[0] for key in values}
    for key, value in known.items():
        section = key.rpartition('.')[0]
        if key not in values and (section in given or f'{section}.' not in SIZES):
            raise ValueError(
                f'{key}: is missing in the config, and method={method!r} needs it; put it back, '
                f'e.g. {value!r}, or start from configs/{method}.py'
            )


def check_choices(values: dict, choices: dict[str, tuple[str, ...]]) -> None:
    """Checks that values are among their choices."""
    for key, allowed in choices.items():
        if values[key] not in allowed:
            raise ValueError(f'{key}={values[key]!r}: must be one of {", ".join(allowed)}')


def check_numbers(c) -> None:
    """Checks the ranges of single numbers that no table holds."""
    if not 0 <= c.seed < 2**32:
        raise ValueError(f'seed={c.seed}: must be from 0 to 2**32 - 1 = {2**32 - 1}')
    if c.rollout.group < 2:
        raise ValueError(
            f'rollout.group={c.rollout.group}: a group needs at least two branches to be relative'
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
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f'learn.weights.{name}={weight!r}: must be a number, e.g. 0.5')
    method = METHODS[c.method]
    idle = set(method.TERMS) - set(method.acting_terms(flat(c)))
    acting = {name: weight for name, weight in weights.items() if name not in idle}
    if min(weights.values()) < 0 or not any(acting.values()):
        raise ValueError(
            f'learn.weights={weights}: must be at least 0, and one of those that act '
            f'({", ".join(acting)}) above 0'
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
    tokens = tuple(data.prompt_tokens)
    if not tokens or not all(isinstance(n, int) and n > 0 for n in tokens):
        raise ValueError(
            f'data.prompt_tokens={tokens}: must be lengths of at least 1 token, e.g. 768,2048'
        )
    if data.subtitle.count('{}') != 1:
        raise ValueError(
            f'data.subtitle={data.subtitle!r}: must hold {{}} once, in place of the subtitle'
        )
    if data.min_pixels > data.max_pixels:
        raise ValueError(
            f'data.min_pixels={data.min_pixels}: must not be above '
            f'data.max_pixels={data.max_pixels}'
        )


def check_validation(c) -> None:
    """Checks the keys that need validations."""
    if c.evaluate.policy not in POLICIES:
        raise ValueError(
            f'evaluate.policy={c.evaluate.policy!r}: must be one of {", ".join(POLICIES)}'
        )
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
    shape = mesh_shape(c.mesh.data, c.mesh.fsdp, c.mesh.tensor, devices)
    sizes = dict(zip(AXES, shape, strict=True))
    shards, computed = count_shards(read_rules(c.mesh.rules), sizes)
    values = flat(c)
    for key in BATCHES:
        size = values[key]
        if size % shards:
            raise ValueError(
                f'{key}={size}: must be a multiple of {computed} = {shards}, '
                f'e.g. {-(-size // shards) * shards}'
            )
    check_parts(c, shards, computed)


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
    if microbatch and share % microbatch:
        fitting = ', '.join(str(n) for n in range(1, share + 1) if share % n == 0)
        raise ValueError(
            f'learn.microbatch={microbatch}: must divide the prompts of a minibatch on a device, '
            f'prompts_per_step / learn.minibatches / ({computed}) = {share}; one of '
            f'{fitting}, or 0 for all at a time'
        )


def check_sizes_given(sizes, section: str) -> None:
    """Checks that the numbers of a part of the model are at least 1, those in lists at least 0."""
    for key, value in sizes.items():
        least, numbers = (0, value) if isinstance(value, tuple) else (1, (value,))
        if any(number < least for number in numbers if not isinstance(number, bool)):
            raise ValueError(f'model.{section}.{key}={value}: must be at least {least}')


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
            f'up to half of model.text.head_dim={text.head_dim}'
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
            f'be below model.vision.depth={vision.depth}'
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
        elif key == 'rewards':
            values[prefix + key] = tuple(map(title, value))
        else:
            values[prefix + key] = value
    return values
