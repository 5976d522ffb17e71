"""Rules for single values of a config: their kinds and their bounds."""

import dataclasses
import difflib
import math
from collections.abc import Collection, Mapping

from mer_jax.models.spec import AudioSpec, TextSpec, VisionSpec

WEIGHTS = 'learn.weights.'  # keys that begin so are names of rewards
SIZES = {'model.text.': TextSpec, 'model.vision.': VisionSpec, 'model.audio.': AudioSpec}
DERIVED = ('vocab_size', 'out_hidden_size', 'output_dim')  # sizes that follow from others
NOUNS = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a text'}
TEXTS = ('data.wheels', 'learn.rewards')  # lists of texts, empty in the defaults
AT_LEAST = {
    'steps': 0,
    'prompts_per_step': 1,
    'cold_start.steps': 0,
    'cold_start.prompts_per_step': 1,
    'cold_start.learning_rate': 0,
    'data.clips': 1,
    'data.max_bad_clips': 0,
    'data.threads': 1,
    'data.max_frames': 2,
    'data.min_pixels': 784,
    'data.max_pixels': 784,
    'rollout.slow_tokens': 8,
    'rollout.microbatch': 0,
    'learn.kl': 0,
    'learn.clip_low': 0,
    'learn.clip_high': 0,
    'learn.minibatches': 1,
    'learn.epochs': 1,
    'learn.microbatch': 0,
    'learn.packing': 0,
    'learn.lora.rank': 1,
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
    'spike.factor': 0,
    'spike.stop': 0,
}
ABOVE_ZERO = (
    'data.fps',
    'optim.decay_to',
    'rollout.temperature',
    'learn.lora.alpha',
    'optim.clip_norm',
    'evaluate.temperature',
)
SHARES_OF_TOKENS = ('rollout.top_p', 'evaluate.top_p')
MOST_STEPS = 10_000_000
MOST_CLIPS = 100_000_000
MOST_TOKENS = 1_048_576
MOST_PROMPTS = 1_048_576
MOST_WEIGHT = 1e6
AT_MOST = {  # far above every published setting: a larger value is a slip of the pen
    'steps': MOST_STEPS,
    'prompts_per_step': MOST_PROMPTS,
    'cold_start.steps': MOST_STEPS,
    'cold_start.prompts_per_step': MOST_PROMPTS,
    'cold_start.learning_rate': 1.0,
    'data.clips': MOST_CLIPS,
    'data.max_bad_clips': MOST_CLIPS,
    'data.threads': 1024,
    'data.max_frames': 65_536,
    'data.min_pixels': 1 << 26,  # that a decoder accepts: 8192 x 8192
    'data.max_pixels': 1 << 26,
    'data.fps': 1000.0,
    'rollout.group': 4096,
    'rollout.temperature': 100.0,
    'rollout.slow_tokens': MOST_TOKENS,
    'learn.kl': MOST_WEIGHT,
    'learn.clip_low': 1000.0,
    'learn.clip_high': 1000.0,
    'learn.clip_dual': 1000.0,
    'learn.ratio_cap': 1e6,
    'learn.minibatches': MOST_PROMPTS,
    'learn.epochs': 1000,
    'learn.microbatch': MOST_PROMPTS,
    'learn.packing': 64,
    'rollout.microbatch': MOST_PROMPTS,
    'learn.lora.rank': 65_536,
    'learn.lora.alpha': MOST_WEIGHT,
    'learn.chunk': MOST_TOKENS,
    'optim.learning_rate': 1.0,
    'optim.warmup': MOST_STEPS,
    'optim.weight_decay': 10.0,
    'optim.clip_norm': 1e9,  # in effect none
    'optim.decay_to': 1.0,
    'evaluate.clips': MOST_CLIPS,
    'evaluate.batch': MOST_PROMPTS,
    'evaluate.temperature': 100.0,
    'every.save': MOST_STEPS,
    'every.keep': MOST_STEPS,
    'every.validate': MOST_STEPS,
    'validation.clips': MOST_CLIPS,
    'early_stop': MOST_STEPS,
    'spike.factor': 1e6,
    'spike.stop': MOST_STEPS,
}
MOST_SIZE = 262_144  # of a model
MOST_LAYERS = 1024
MOST_THETA = 1e12
LAYERS = ('num_hidden_layers', 'depth', 'encoder_layers')
NO_DEFAULT = 'the value of the release'


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The bounds of single values by their keys."""

    at_least: Mapping[str, float]
    at_most: Mapping[str, float]
    above_zero: tuple[str, ...]
    shares: tuple[str, ...]  # keys of numbers above 0 and at most 1


def check_names(values: Mapping, allowed: Collection[str], kind: str) -> None:
    """Checks that all keys are allowed or name weights; `kind` tells whose keys they are."""
    for key, value in values.items():
        if key in allowed or key.startswith(WEIGHTS):
            continue
        if within := sorted(one for one in allowed if one.startswith(f'{key}.')):
            raise ValueError(
                f'{key}={value!r}: must be a section of keys; set single ones of it, '
                f'e.g. {within[0]}'
            )
        close = difflib.get_close_matches(key, sorted(allowed), 1)
        hint = f'; did you mean {close[0]}?' if close else ''
        raise ValueError(f'{key}={value!r}: {kind} has no such key; remove it{hint}')


def check_choices(values: dict, choices: dict[str, tuple[str, ...]]) -> None:
    """Checks that values are among their choices."""
    for key, allowed in choices.items():
        if values[key] not in allowed:
            named = ', '.join(one or "''" for one in allowed)
            raise ValueError(f'{key}={values[key]!r}: must be one of {named}')


def check_values(values: Mapping, defaults: Mapping, bounds: Bounds) -> None:
    """Checks the kind and the bounds of each value; messages name the default as an example."""
    for key, value in values.items():
        check_kind(key, value, defaults)
        example = defaults.get(key, NO_DEFAULT)
        numbers = value if isinstance(value, tuple | list) else (value,)
        for number in numbers:
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f'{key}={value}: must be a finite number, e.g. {example}')
        if key in bounds.above_zero and value <= 0:
            raise ValueError(f'{key}={value}: must be above 0, e.g. 1.0')
        if key in bounds.shares and not 0 < value <= 1:
            raise ValueError(f'{key}={value}: must be in (0, 1]; 1 keeps every token')
        least, most = bounds_of(key, value, bounds)
        if least is not None and any(number < least for number in numbers):
            raise ValueError(f'{key}={value}: must be at least {least}, e.g. {example}')
        if most is not None and any(number > most for number in numbers):
            raise ValueError(f'{key}={value}: must be at most {most}, e.g. {example}')


def bounds_of(key: str, value, bounds: Bounds) -> tuple[float | None, float | None]:
    """The least and the most that a value, or each number of a list, may be."""
    if key.startswith(WEIGHTS):
        return 0, MOST_WEIGHT
    section, _, name = key.rpartition('.')
    if f'{section}.' not in SIZES or isinstance(value, bool):
        return bounds.at_least.get(key), bounds.at_most.get(key)
    if isinstance(value, tuple | list):
        return 0, MOST_SIZE
    if name == 'rms_norm_eps':
        return 1e-12, 1
    if name == 'rope_theta':
        return 1, MOST_THETA
    return 1, MOST_LAYERS if name in LAYERS else MOST_SIZE


def check_kind(key: str, value, defaults: Mapping) -> None:
    """Checks that a value is of the kind of its default, or of its field of a model's sizes."""
    kind, listed = kind_of(key, defaults)
    example = repr(defaults[key]) if key in defaults else NO_DEFAULT
    if not listed and not is_a(value, kind):
        raise ValueError(f'{key}={value!r}: must be {NOUNS[kind]}, e.g. {example}')
    if listed and not (isinstance(value, tuple | list) and all(is_a(one, kind) for one in value)):
        noun = NOUNS[kind].removeprefix('a ')
        raise ValueError(f'{key}={value!r}: must be a list, each of it a {noun}, e.g. {example}')


def kind_of(key: str, defaults: Mapping) -> tuple[type, bool]:
    """The type that a value must have, or its elements have if it is a list; whether it is one."""
    if key.startswith(WEIGHTS):
        return float, False
    section, _, name = key.rpartition('.')
    if f'{section}.' in SIZES:
        fields = dataclasses.fields(SIZES[f'{section}.'])
        kind = next(field.type for field in fields if field.name == name)
        return (kind, False) if kind in NOUNS else (int, True)
    default = defaults[key]
    if isinstance(default, tuple):
        return (str if key in TEXTS else type(default[0]) if default else int), True
    return type(default), False


def is_a(value, kind: type) -> bool:
    """Whether a value is of a kind; a whole number is a number too, and True is neither."""
    return type(value) in ((int, float) if kind is float else (kind,))


def check_lengths(key: str, lengths: tuple[int, ...], example: str, count: int = 0) -> None:
    """Checks a list of at least `count` lengths in tokens."""
    if len(lengths) < count or not all(length > 0 for length in lengths):
        raise ValueError(f'{key}={lengths}: must be lengths of at least 1 token, e.g. {example}')
    if max(lengths, default=1) > MOST_TOKENS:
        raise ValueError(f'{key}={lengths}: must be at most {MOST_TOKENS} tokens, e.g. {example}')
