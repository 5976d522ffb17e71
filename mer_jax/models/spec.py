"""The sizes of a model as frozen dataclasses, with the field names of a config.json."""

import collections
import dataclasses
import pathlib

from mer_jax.models.checkpoint.kinds import refuse_other_kinds, refuse_quantised
from mer_jax.models.checkpoint.safetensors import read_json, scan
from mer_jax.models.missing_keys import (
    DEFAULTS,
    MROPE_SECTION,
    ROPE_THETA,
    refuse_contradicted,
)
from mer_jax.storage.paths import naming, path_of

# Token ids of the releases, for a config.json without them.
VISION_IDS = {'image': 151655, 'video': 151656, 'vision_start': 151652, 'vision_end': 151653}
AUDIO_IDS = {'audio': 151646, 'audio_start': 151647, 'audio_end': 151648}
TOKEN_IDS = {'vl': VISION_IDS, 'omni': VISION_IDS | AUDIO_IDS}
LARGEST = {int: 2**31 - 1, float: 1e38}
WAY_OUT = 'take a checkpoint with such a value, or the config.json of the release'


@dataclasses.dataclass(frozen=True)
class TextSpec:
    """The decoder (Qwen2): `mrope_section` splits head_dim / 2 between time, height and width."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    mrope_section: tuple[int, int, int]
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False


@dataclasses.dataclass(frozen=True)
class VisionSpec:
    """The vision tower; `fused_qkv`: query, key and value are one matrix (VL), not three (Omni)."""

    hidden_size: int
    depth: int
    num_heads: int
    intermediate_size: int
    out_hidden_size: int
    patch_size: int = 14
    temporal_patch_size: int = 2
    in_channels: int = 3
    spatial_merge_size: int = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    rope_theta: float = 10_000.0
    fused_qkv: bool = False


@dataclasses.dataclass(frozen=True)
class AudioSpec:
    """The audio tower; a chunk is 2 · n_window log-mel frames."""

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    output_dim: int
    num_mel_bins: int = 128
    n_window: int = 100


@dataclasses.dataclass(frozen=True)
class Spec:
    """A Thinker; the families 'omni' and 'vl' differ in positions, token names and audio."""

    text: TextSpec
    vision: VisionSpec | None
    audio: AudioSpec | None
    family: str = 'omni'
    dtype: str = 'float32'  # of activations; softmax, norms and logits are float32 in any case
    remat: bool = False  # recompute each layer in the backward pass
    attention: str = 'auto'  # the kind that models.attention takes
    position_id_per_seconds: int = 25  # temporal positions of 'omni'
    seconds_per_chunk: int = 2  # of video, then the same seconds of its sound, in turns
    tokens_per_second: int = 2  # temporal positions of 'vl'


def read_spec(
    folder: pathlib.Path, dtype: str = 'float32', remat: bool = False, attention: str = 'auto'
) -> Spec:
    """The spec of a Qwen2.5-VL or Qwen2.5-Omni folder, from its config.json and tensor names.

    The head is tied if the folder has no `lm_head.weight`; flags in config.json can be wrong. A
    missing key has the value that `transformers` takes. Raises ValueError with file, key and value
    for a setting that this package does not compute, and for a LoRA adapter and quantised weights
    before a tensor is read.
    """
    path = config_path(folder)
    config = read_json(path)
    refuse_quantised(path, config)
    entries = scan(folder)
    try:
        spec = spec_of(config, path, 'lm_head.weight' not in entries, dtype, remat, attention)
        for section in _sections_of(config, path)[1].values():
            refuse_contradicted(path, section.name, section.assumed(), entries)
        return spec
    except (TypeError, AttributeError, KeyError) as error:  # a value of an unexpected type
        raise ValueError(
            f'{path}: holds a value of the wrong type ({error}): copy config.json from the release'
        ) from error


def spec_of(
    config: dict, path: pathlib.Path, tied: bool, dtype='float32', remat=False, attention='auto'
) -> Spec:
    """The spec that a config.json describes; errors name `path`."""
    family, sections = _sections_of(config, path)
    vision, audio = sections['vision_config'], sections.get('audio_config')
    more = sections['Thinker'].sizes(Spec)
    if family == 'vl':
        more['tokens_per_second'] = vision.number('tokens_per_second', int)
    decoder = _text_spec(sections['text_config'], tied)
    return Spec(
        text=decoder,
        vision=_vision_spec(vision, decoder.hidden_size, fused_qkv=family == 'vl'),
        audio=_audio_spec(audio, decoder.hidden_size) if audio else None,
        family=family,
        dtype=dtype,
        remat=remat,
        attention=attention,
        **more,
    )


def _sections_of(config: dict, path: pathlib.Path) -> tuple[str, dict[str, '_Section']]:
    """The family of a config.json, and its sections by name; 'Thinker' is what holds them."""
    family, whole = _thinker_of(config, path)
    found = {'Thinker': whole, 'text_config': whole.get('text_config')}
    if family == 'vl' and found['text_config'] is None:
        found['text_config'] = whole  # transformers up to 4.51 puts the text at the root
    for name in ('vision_config', 'audio_config')[: 1 if family == 'vl' else 2]:
        found[name] = whole.get(name)
    defaults = DEFAULTS[family]
    return family, {
        name: _Section(path, values, name, defaults.get(name, {})) for name, values in found.items()
    }


def read_token_ids(folder: pathlib.Path) -> dict[str, int]:
    """The ids of the media tokens by name: image, video, vision_start and so on."""
    path = config_path(folder)
    config = read_json(path)
    family, whole = _thinker_of(config, path)
    rows = _sections_of(config, path)[1]['text_config'].number('vocab_size', int)
    ids = {}
    for name, default in TOKEN_IDS[family].items():
        keys = [key for key in (f'{name}_token_id', f'{name}_token_index') if key in whole]
        own = whole[keys[0]] if keys else default
        if type(own) is not int or not 0 <= own < rows or own in ids.values():
            raise ValueError(
                f'{path}: {keys[0] if keys else f"{name}_token_id (absent)"}={own!r} must be a '
                f'number below vocab_size={rows} that no other media token has: write the id from '
                'the tokenizer'
            )
        ids[name] = own
    return ids


def config_path(folder: pathlib.Path) -> pathlib.Path:
    """The path of a folder's config.json; ValueError if there is none, or a LoRA adapter."""
    refuse_other_kinds(path_of(folder))
    path = path_of(folder) / 'config.json'
    with naming(path):
        exists = path.exists()
    if not exists:
        raise ValueError(
            f'{path}: there is no such file; give the folder of a Qwen2.5-VL or Qwen2.5-Omni '
            'checkpoint, with config.json, safetensors and tokenizer'
        )
    return path


def _thinker_of(config: dict, path: pathlib.Path) -> tuple[str, dict]:
    """The family of a config.json, and its section that describes the Thinker."""
    kind = config.get('model_type')
    if kind == 'qwen2_5_vl':
        return 'vl', config
    if kind == 'qwen2_5_omni_thinker':
        return 'omni', config
    if kind == 'qwen2_5_omni' and isinstance(config.get('thinker_config'), dict):
        return 'omni', config['thinker_config']
    if kind == 'qwen2_5_omni':
        raise ValueError(f'{path}: thinker_config is missing; copy config.json from the release')
    raise ValueError(
        f'{path}: model_type={kind!r} is not supported; the choices are qwen2_5_omni, '
        'qwen2_5_omni_thinker and qwen2_5_vl: take a Qwen2.5-Omni or Qwen2.5-VL checkpoint'
    )


def _text_spec(section: '_Section', tied: bool) -> TextSpec:
    """The decoder that a section describes, in the style of any `transformers` version."""
    heads = section.number('num_attention_heads', int)
    if section.get('head_dim') is None:
        width = section.number('hidden_size', int)
        rule = f'must be a multiple of num_attention_heads={heads}'
        section.require('hidden_size', width % heads == 0, rule, width)
        section.defaults['head_dim'] = width // heads
    if section.is_null('num_key_value_heads'):
        section.defaults['num_key_value_heads'] = heads
    sizes = section.sizes(TextSpec)
    head_dim, groups = sizes['head_dim'], sizes['num_key_value_heads']
    section.require(
        'num_key_value_heads', heads % groups == 0, f'must divide {heads} heads', groups
    )
    section.require_value('hidden_act', 'silu')
    _refuse_windows(section, sizes['num_hidden_layers'])
    rope, theta = _rope_of(section, ('default', 'mrope'), ROPE_THETA)
    split = rope.wholes('mrope_section')
    rope.require(
        'mrope_section',
        len(split) == 3 and 2 * sum(split) == head_dim,
        f'must be three numbers with the sum head_dim / 2 = {head_dim / 2:g}',
        list(split),
    )
    return TextSpec(
        **sizes,
        mrope_section=split,
        rope_theta=theta,
        rms_norm_eps=section.number('rms_norm_eps'),
        tie_word_embeddings=tied,
    )


def _refuse_windows(section: '_Section', layers: int) -> None:
    """Raises ValueError if a layer attends to a sliding window.

    `layer_types` decides where it is given, as in `transformers`, which derives it from
    `use_sliding_window` where it is not.
    """
    kinds = section.get('layer_types')
    if kinds is None:
        section.require_value('use_sliding_window', False)
        return
    full = isinstance(kinds, list) and kinds == ['full_attention'] * layers
    said = f', though use_sliding_window={section.get("use_sliding_window")!r}'
    counted = collections.Counter(map(str, kinds)) if isinstance(kinds, list) else kinds
    section.require(
        'layer_types',
        full,
        f"must be 'full_attention' for each of the {layers} layers{said}",
        dict(counted) if isinstance(kinds, list) else kinds,
    )


def _rope_of(section: '_Section', kinds: tuple[str, str], theta: float) -> tuple['_Section', float]:
    """The rotary settings of a section, and their theta; the type must be one of `kinds`."""
    named = [key for key in ('rope_scaling', 'rope_parameters') if section.get(key)]
    key = named[0] if named else 'rope_parameters'
    section.defaults['rope_theta'] = theta
    taken = {'mrope_section': MROPE_SECTION, 'rope_theta': section.number('rope_theta')}
    rope = _Section(section.path, section.get(key) or {}, f'{section.name}: {key}', taken)
    for key in ('rope_type', 'type'):
        kind = rope.get(key) or 'default'
        rope.require(key, kind in kinds, f'must be {kinds[0]!r} or {kinds[1]!r}', kind)
    return rope, rope.number('rope_theta')


def _vision_spec(section: '_Section', width: int, fused_qkv: bool) -> VisionSpec:
    """The vision tower that a section describes, for a decoder of this width."""
    section.require_value('hidden_act', 'silu')
    section.require_value('out_hidden_size', width)
    section.require_value('in_channels', 3)
    if section.get('in_chans') is not None:  # in 4.49 and the releases beside in_channels
        section.require_value('in_chans', 3)
    section.require_value('spatial_merge_size', 2)
    vision = VisionSpec(
        **section.sizes(VisionSpec),
        fullatt_block_indexes=section.wholes('fullatt_block_indexes'),
        rope_theta=_rope_of(section, ('default', 'axial'), VisionSpec.rope_theta)[1],
        fused_qkv=fused_qkv,
    )
    heads, window = vision.num_heads, vision.window_size
    least = vision.patch_size * vision.spatial_merge_size
    section.require('window_size', window >= least, f'must be at least a cell, {least}', window)
    section.require(
        'num_heads',
        vision.hidden_size % (4 * heads) == 0,
        f'times four must divide hidden_size={vision.hidden_size}',
        heads,
    )
    return vision


def _audio_spec(section: '_Section', width: int) -> AudioSpec:
    """The audio tower that a section describes, for a decoder of this width."""
    section.require_value('activation_function', 'gelu')
    section.require_value('scale_embedding', False)
    section.require_value('output_dim', width)
    return AudioSpec(**section.sizes(AudioSpec))


class _Section:
    """A section of a config.json; its errors name the file, the section and the key."""

    def __init__(self, path: pathlib.Path, values: dict | None, name: str, defaults: dict):
        if not isinstance(values, dict):
            raise ValueError(f'{path}: {name} must be a section, and is {values!r}: {WAY_OUT}')
        self.path, self.name, self.defaults = path, name, dict(defaults)
        self.values = {key: value for key, value in values.items() if value is not None}
        self.nulls = values.keys() - self.values.keys()

    def get(self, key: str):
        """The value of a key; its default if it is missing or null, None without a default."""
        return self.values.get(key, self.defaults.get(key))

    def is_null(self, key: str) -> bool:
        """Whether the section has the key with the value null."""
        return key in self.nulls

    def assumed(self) -> dict[str, int]:
        """The defaults of keys that the section leaves out."""
        return {key: value for key, value in self.defaults.items() if key not in self.values}

    def number(self, key: str, kind: type = float):
        """The number above 0, of type `kind`, under a key; 0 or a missing number is refused."""
        value, largest = self.get(key), LARGEST[kind]
        noun = 'whole number' if kind is int else 'number'
        valid = type(value) in (int, kind) and 0 < value <= largest
        self.require(key, valid, f'must be a {noun} above 0 and at most {largest:.2g}', value)
        return kind(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """The list of whole numbers, none below 0, under a key."""
        value = self.get(key)
        valid = isinstance(value, list | tuple) and all(type(n) is int and n >= 0 for n in value)
        self.require(key, valid, 'must be a list of whole numbers, none below 0', value)
        return tuple(value)

    def sizes(self, kind: type) -> dict[str, int]:
        """The whole numbers of a spec of which the section has the key or a default."""
        return {
            field.name: self.number(field.name, int)
            for field in dataclasses.fields(kind)
            if field.type is int and self.get(field.name) is not None
        }

    def require(self, key: str, holds: bool, rule: str, value) -> None:
        """Raises ValueError unless the rule holds for the value of the key."""
        if not holds:
            found = f'{key}={value!r}'
            if key not in self.values:
                found = f'{key} is missing, for which `transformers` takes {value!r}, and'
            raise ValueError(f'{self.path}: {self.name}: {found} {rule}: {WAY_OUT}')

    def require_value(self, key: str, wanted) -> None:
        """Raises ValueError if the key has another value than the one supported."""
        value = self.get(key)
        self.require(key, value == wanted, f'must be {wanted!r}, the only supported value', value)
