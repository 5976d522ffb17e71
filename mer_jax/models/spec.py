"""The sizes of a model as frozen dataclasses; field names follow the checkpoints' config.json."""

import dataclasses
import pathlib

from mer_jax.models.checkpoint.safetensors import read_json, scan

# Token ids of the released checkpoints, for configs that leave one out.
SEEN = {'image': 151655, 'video': 151656, 'vision_start': 151652, 'vision_end': 151653}
HEARD = {'audio': 151646, 'audio_start': 151647, 'audio_end': 151648}
TOKEN_IDS = {'vl': SEEN, 'omni': SEEN | HEARD}
LARGEST = {int: 2**31 - 1, float: 1e38}
WAY_OUT = 'take a checkpoint that does so, or the config.json of the release'


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
    """The vision tower; `fused_qkv` is how Qwen2.5-VL stores what Omni keeps as three matrices."""

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
    """A Thinker. `family` is 'omni' or 'vl': they differ in positions, token names and audio."""

    text: TextSpec
    vision: VisionSpec | None
    audio: AudioSpec | None
    family: str = 'omni'
    dtype: str = 'float32'  # of activations; sums that can lose are float32 in any case
    remat: bool = False  # recompute each layer in the backward pass
    position_id_per_seconds: int = 25  # temporal positions of 'omni'
    seconds_per_chunk: int = 2  # of video, then of its sound, in turns
    tokens_per_second: int = 2  # temporal positions of 'vl'


def read_spec(folder: pathlib.Path, dtype: str = 'float32', remat: bool = False) -> Spec:
    """The spec of a Qwen2.5-VL or Qwen2.5-Omni folder, from its config.json and tensor names.

    Whether the head is tied is seen in the files: flags of configs are wrong at times. Raises
    ValueError naming file, key and value for whatever the decoder and the towers do not compute.
    """
    path = config_path(folder)
    tied = 'lm_head.weight' not in scan(folder)
    try:
        return spec_of(read_json(path), path, tied, dtype, remat)
    except (TypeError, AttributeError, KeyError) as error:  # a value of another kind than named
        raise ValueError(
            f'{path}: holds a value of the wrong kind ({error}): copy config.json from the release'
        ) from error


def spec_of(config: dict, path: pathlib.Path, tied: bool, dtype='float32', remat=False) -> Spec:
    """The spec that a config.json describes; `path` is named where it does not."""
    family, whole = thinker_of(config, path)
    text = Section(path, whole.get('text_config', whole if family == 'vl' else None), 'text_config')
    vision = Section(path, whole.get('vision_config'), 'vision_config')
    more = Section(path, whole, 'Thinker').sizes(Spec)
    if family == 'vl':
        more['tokens_per_second'] = vision.number('tokens_per_second', 4, int)
    audio = Section(path, whole.get('audio_config'), 'audio_config') if family == 'omni' else None
    decoder = text_spec(text, tied, 1e-6 if family == 'omni' else 1e-5)
    return Spec(
        text=decoder,
        vision=vision_spec(vision, decoder.hidden_size, fused_qkv=family == 'vl'),
        audio=audio_spec(audio, decoder.hidden_size) if audio else None,
        family=family,
        dtype=dtype,
        remat=remat,
        **more,
    )


def read_token_ids(folder: pathlib.Path) -> dict[str, int]:
    """The ids of the media tokens, under the names of `data.positions.Layout`."""
    path = config_path(folder)
    family, whole = thinker_of(read_json(path), path)
    text = Section(path, whole.get('text_config', whole), 'text_config')
    rows, ids = text.number('vocab_size', None, int), {}
    for name, default in TOKEN_IDS[family].items():
        keys = [key for key in (f'{name}_token_id', f'{name}_token_index') if key in whole]
        own = whole[keys[0]] if keys else default
        if type(own) is not int or not 0 <= own < rows or own in ids.values():
            raise ValueError(
                f'{path}: {keys[0] if keys else f"{name}_token_id (absent)"}={own!r} must be a '
                f'number below vocab_size={rows} that no other media token has: write the id that '
                'the tokenizer has'
            )
        ids[name] = own
    return ids


def config_path(folder: pathlib.Path) -> pathlib.Path:
    """Where the config.json of a folder is; ValueError if it is not."""
    path = pathlib.Path(folder) / 'config.json'
    if not path.exists():
        raise ValueError(
            f'{path}: there is no such file; give the folder of a Qwen2.5-VL or Qwen2.5-Omni '
            'checkpoint, with config.json, safetensors and tokenizer'
        )
    return path


def thinker_of(config: dict, path: pathlib.Path) -> tuple[str, dict]:
    """The family of a config.json and the part of it that describes the Thinker."""
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
        f'{path}: model_type={kind!r} cannot be computed here; the choices are qwen2_5_omni, '
        'qwen2_5_omni_thinker and qwen2_5_vl: take a Qwen2.5-Omni or Qwen2.5-VL checkpoint'
    )


def text_spec(section: 'Section', tied: bool, default_eps: float) -> TextSpec:
    """The decoder that a section of a config describes, in any of its styles."""
    sizes = section.sizes(TextSpec, derived='head_dim')
    width, heads = sizes['hidden_size'], sizes['num_attention_heads']
    head_dim = section.number('head_dim', width // heads, int)
    groups = sizes['num_key_value_heads']
    section.require(
        'num_key_value_heads', heads % groups == 0, f'must divide {heads} heads', groups
    )
    section.require_value('hidden_act', 'silu')
    section.require_value('use_sliding_window', False)
    rope, theta = rope_of(section, ('default', 'mrope'), TextSpec.rope_theta)
    split = rope.wholes('mrope_section', ())
    rope.require(
        'mrope_section',
        len(split) == 3 and 2 * sum(split) == head_dim,
        f'must be three numbers with the sum head_dim / 2 = {head_dim / 2:g}',
        list(split),
    )
    return TextSpec(
        **sizes,
        head_dim=head_dim,
        mrope_section=split,
        rope_theta=theta,
        rms_norm_eps=section.number('rms_norm_eps', default_eps),
        tie_word_embeddings=tied,
    )


def rope_of(section: 'Section', kinds: tuple[str, str], theta: float) -> tuple['Section', float]:
    """What a section says of rotary positions, which must be of these kinds, and their theta."""
    named = [key for key in ('rope_scaling', 'rope_parameters') if section.get(key, {})]
    key = named[0] if named else 'rope_parameters'
    rope = Section(section.path, section.get(key, {}), f'{section.name}: {key}')
    for key in ('rope_type', 'type'):
        kind = rope.get(key, 'default')
        rope.require(key, kind in kinds, f'must be {kinds[0]!r} or {kinds[1]!r}', kind)
    return rope, rope.number('rope_theta', section.number('rope_theta', theta))


def vision_spec(section: 'Section', width: int, fused_qkv: bool) -> VisionSpec:
    """The vision tower that a section describes; `width` is that of the decoder."""
    section.require_value('hidden_act', 'silu')
    section.require_value('out_hidden_size', width)
    section.require_value('in_channels', 3)
    section.require_value('in_chans', 3)
    section.require_value('spatial_merge_size', 2)
    vision = VisionSpec(
        **section.sizes(VisionSpec),
        fullatt_block_indexes=section.wholes(
            'fullatt_block_indexes', VisionSpec.fullatt_block_indexes
        ),
        rope_theta=rope_of(section, ('default', 'axial'), VisionSpec.rope_theta)[1],
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


def audio_spec(section: 'Section', width: int) -> AudioSpec:
    """The audio tower that a section describes; `width` is that of the decoder."""
    section.require_value('activation_function', 'gelu')
    section.require_value('scale_embedding', False)
    section.require_value('output_dim', width)
    return AudioSpec(**section.sizes(AudioSpec))


class Section:
    """A section of a config.json; its refusals name the file, the section and the key."""

    def __init__(self, path: pathlib.Path, values: dict | None, name: str):
        if not isinstance(values, dict):
            raise ValueError(f'{path}: {name} must be a section, and is {values!r}: {WAY_OUT}')
        self.path, self.name = path, name
        self.values = {key: value for key, value in values.items() if value is not None}

    def get(self, key: str, default):
        """The value of a key that may be left out or null."""
        return self.values.get(key, default)

    def number(self, key: str, default: float | None, kind: type = float):
        """The number above 0, of that kind, under a key; without a default it must be there."""
        value, largest = self.get(key, default), LARGEST[kind]
        rule = f'must be a {"whole " * (kind is int)}number above 0 and at most {largest:.2g}'
        right = type(value) in (int, kind) and 0 < value <= largest
        self.require(key, right, rule, value)
        return kind(value)

    def wholes(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The whole numbers, none below 0, in the list under a key."""
        value = self.get(key, default)
        right = isinstance(value, list | tuple) and all(type(n) is int and n >= 0 for n in value)
        self.require(key, right, 'must be a list of whole numbers, none below 0', value)
        return tuple(value)

    def sizes(self, kind: type, derived: str = '') -> dict[str, int]:
        """The whole numbers among the fields of a spec; without a default they must be there."""
        return {
            field.name: self.number(
                field.name, None if field.default is dataclasses.MISSING else field.default, int
            )
            for field in dataclasses.fields(kind)
            if field.type is int and field.name != derived
        }

    def require(self, key: str, holds: bool, rule: str, value) -> None:
        """Raises ValueError unless the rule holds for the value of the key."""
        if not holds:
            told = f'{key}={value!r}' if key in self.values or value else f'{key} is missing and'
            raise ValueError(f'{self.path}: {self.name}: {told} {rule}: {WAY_OUT}')

    def require_value(self, key: str, wanted) -> None:
        """Raises ValueError if the key is there with another value, for no other is computed."""
        value = self.get(key, wanted)
        self.require(key, value == wanted, f'must be {wanted!r}, all that is computed here', value)
