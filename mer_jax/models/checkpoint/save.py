"""Saves a Thinker as a Hugging Face folder that `transformers` and others can load."""

import contextlib
import copy
import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from mer_jax.models.checkpoint.load import (
    UNREAD,
    is_stacked,
    parts,
    stored_names,
    stored_shape,
    weights,
)
from mer_jax.models.checkpoint.safetensors import CODES, Plan, read_json, scan, view, write_folder
from mer_jax.models.omni import Omni, make_omni
from mer_jax.models.spec import TOKEN_IDS, Spec, VisionSpec, config_path, spec_of
from mer_jax.storage.objects import copy_file, write_whole
from mer_jax.storage.paths import is_remote, naming, path_of

# Files of a model besides its weights; files that could run code are never copied.
BESIDE = (
    'tokenizer*',
    'vocab*',
    'merges*',
    'chat_template*',
    'preprocessor*',
    'processor*',
    'video_preprocessor*',
    'generation_config*',
    'special_tokens_map*',
    'added_tokens*',
    'LICENSE*',
)
RUNNING = ('.bin', '.pt', '.py')
SPEAKERS = 'spk_dict.pt'  # `transformers` needs it to load a full Omni; copied, never opened
# The class in `transformers`, then model_type of the model, of its text and of its vision.
KINDS = {
    'omni': (
        'Qwen2_5OmniThinkerForConditionalGeneration',
        'qwen2_5_omni_thinker',
        'qwen2_5_omni_text',
        'qwen2_5_omni_vision_encoder',
    ),
    'vl': (
        'Qwen2_5_VLForConditionalGeneration',
        'qwen2_5_vl',
        'qwen2_5_vl_text',
        'qwen2_5_vl_vision',
    ),
}


def export(
    folder: pathlib.Path,
    omni: Omni,
    source: pathlib.Path,
    dtype: str | None = None,
    more: Iterable[pathlib.Path] = (),
) -> None:
    """Write the policy as a folder like its `source`, with tokenizer, templates and licence.

    If the source is a full Omni, tensors keep the names of the full model and config.json turns
    speech output off. The files `more` are copied too and replace those of the same name. Raises
    ValueError as `save_omni` does.
    """
    source = path_of(source)
    config = read_json(config_path(source))
    full = 'thinker_config' in config
    found = {path for pattern in BESIDE for path in source.glob(pattern)}
    beside = sorted(path for path in found if path.is_file() and path.suffix not in RUNNING)
    if full and (source / SPEAKERS).exists():
        beside.append(source / SPEAKERS)
    names = {path.name for path in more}
    beside = [*(path for path in beside if path.name not in names), *more]
    entries = scan(source)
    unread = view(entries[UNREAD]) if UNREAD in entries else None
    prefix = 'thinker.' if full else ''
    save_omni(folder, omni, config, prefix, dtype=dtype, beside=beside, unread=unread)


def save_omni(
    folder: pathlib.Path,
    omni: Omni,
    config: dict,
    prefix: str = '',
    dtype: str | None = None,
    shard_bytes: float = 5e9,
    beside: Iterable[pathlib.Path] = (),
    unread: np.ndarray | None = None,
) -> None:
    """Write a Thinker as a Hugging Face folder; names are `prefix` + the released name.

    Files hold at most `shard_bytes`. Weights are written in `dtype`, by default in their own.
    `config` becomes config.json, with the flags of tied head and dtype corrected, and the files
    `beside` are copied. The folder appears when it is complete; in a bucket config.json is written
    last. All processes must call this; the
    first one writes. Raises ValueError if the folder is not empty, or the config describes another
    model.
    """
    folder = path_of(folder)
    refuse_held(folder)
    if dtype not in (None, *map(str, CODES)):
        raise ValueError(f'dtype={dtype!r} must be one of {", ".join(map(str, CODES))}')
    spec = omni.spec
    config = _settled(config, spec, dtype or _stored_dtype(omni))
    plans = [*planned(omni, prefix, dtype)]
    if spec.audio:
        plans.append(_plan_unread(spec, prefix, plans[0].dtype, unread))
    if jax.process_index():
        for plan in plans:
            plan.make()  # all processes take part in gathering a weight
        return
    text = json.dumps(config, indent=2) + '\n'
    with appearing(folder) as place:
        write_folder(place, plans, shard_bytes)
        for path in beside:
            copy_file(path, place / path.name)
        write_whole(place / 'config.json', text)


@contextlib.contextmanager
def appearing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where to write a folder that appears at the end of the block, and not after an error.

    In a bucket it is the folder itself.
    """
    if is_remote(folder):
        yield folder
        return
    partial = folder.with_name(f'{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_held(folder: pathlib.Path) -> None:
    """Raises ValueError if the path is a file, or a folder that is not empty."""
    with naming(folder):
        exists = folder.exists()
    if exists:
        held = next(folder.iterdir(), None) if folder.is_dir() else folder
        if held:
            raise ValueError(f'{folder}: {held.name} exists already: name a new folder')


def _stored_dtype(omni: Omni) -> str:
    """The dtype of the decoder's weights."""
    return omni.decoder.model.embed_tokens.weight.dtype.name


def _settled(config: dict, spec: Spec, dtype: str) -> dict:
    """The config with its flags set for this export: dtype, tied head, no speech output.

    Raises ValueError if the config describes another model than the spec.
    """
    config, tied = copy.deepcopy(config), spec.text.tie_word_embeddings
    how = spec.dtype, spec.remat, spec.attention
    described = spec_of(config, pathlib.Path('config.json'), tied, *how)
    found, wanted = _numbers(described), _numbers(spec)
    for key in found.keys() | wanted.keys():
        if found.get(key) != wanted.get(key):
            raise ValueError(
                f'the config describes a model with {key}={found.get(key)}, and this one has '
                f'{wanted.get(key)}: give the config of this model'
            )
    whole = config.get('thinker_config', config)
    whole['tie_word_embeddings'] = tied
    if 'text_config' in whole:
        whole['text_config']['tie_word_embeddings'] = tied
    if 'thinker_config' in config:
        config['enable_audio_output'] = False
    for level in (config, *_sections(config)):
        for key in ('dtype', 'torch_dtype'):
            level |= {key: dtype} if key in level else {}
    if 'torch_dtype' not in config:
        config['dtype'] = dtype
    return config


def _numbers(spec: Spec) -> dict:
    """The values of a spec under dotted keys."""
    found = {}
    for key, value in dataclasses.asdict(spec).items():
        inner = value.items() if isinstance(value, dict) else ()
        found |= {f'{key}.{name}': number for name, number in inner} or {key: value}
    return found


def _sections(config: dict) -> list[dict]:
    """All sections of a config, nested ones included."""
    found = [value for value in config.values() if isinstance(value, dict)]
    return found + [inner for section in found for inner in _sections(section)]


def with_fused_qkv(omni: Omni) -> Omni:
    """The same model with query, key and value of the vision tower as one matrix.

    Qwen2.5-VL is released so, and Qwen2.5-Omni with three matrices.
    """
    spec = omni.spec
    fused = dataclasses.replace(spec, vision=dataclasses.replace(spec.vision, fused_qkv=True))
    like, structure = _leaves(jax.eval_shape(lambda: make_omni(None, fused)))
    held, _ = _leaves(omni)

    def leaf(path: str):
        if '.qkv.' not in path:
            return held[path]
        return jnp.stack([held[path.replace('.qkv.', f'.{part}.')] for part in 'qkv'], -3)

    return jax.tree.unflatten(structure, [leaf(path) for path in like])


def _leaves(tree) -> tuple[dict, object]:
    """The leaves of a tree under their dotted paths, in order, and its structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator='.') for path, _ in leaves]
    return dict(zip(names, (leaf for _, leaf in leaves), strict=True)), structure


def planned(omni: Omni, prefix: str, dtype: str | None) -> Iterable[Plan]:
    """A plan for every tensor of a release: its name and shape there, and how to make it."""
    for _, module, own in parts(omni):
        for path, weight in weights(module):
            names = stored_names(path, weight, prefix + own)
            shape = weight.shape[1:] if is_stacked(path) else weight.shape
            shape = _released_shape(path, shape, weight.inputs, omni.spec.vision)
            yield from plans_of(weight, names, shape, np.dtype(dtype or weight.dtype))


def plans_of(weight: nnx.Param, names: list[str], shape, dtype: np.dtype) -> Iterable[Plan]:
    """A plan for a weight, or for each layer of a stack, with these names and this stored shape."""
    layers = range(len(names)) if weight.ndim > len(weight.axes) else [None]
    for name, layer in zip(names, layers, strict=True):
        yield Plan(name, shape, dtype, functools.partial(_to_host, weight, layer, dtype, shape))


def _plan_unread(spec: Spec, prefix: str, dtype: np.dtype, unread: np.ndarray | None) -> Plan:
    """A tensor that loaders expect and the Thinker does not use; zeros if the source has none."""
    shape = (2, spec.audio.output_dim)
    array = np.zeros(shape, dtype) if unread is None else unread.astype(dtype)
    return Plan(prefix + UNREAD, shape, dtype, lambda: array)


def _released_shape(path: list[str], shape: tuple[int, ...], inputs: int, vision: VisionSpec):
    """The shape of a weight of our `shape` in the releases, where convolutions have more axes."""
    if path[-1] == 'bias':
        return (int(np.prod(shape)),)
    if path[0] in ('conv1', 'conv2'):
        return shape[inputs:] + shape[:inputs]
    if path[0] == 'patch_embed':
        side = vision.patch_size
        return (*shape[inputs:], vision.in_channels, vision.temporal_patch_size, side, side)
    return stored_shape(shape, inputs)


def _to_host(weight: nnx.Param, layer: int | None, dtype: np.dtype, shape) -> np.ndarray:
    """A weight, or one layer of a stack, as an array of the host in the released shape."""
    array = _in_stored_order(weight[...], layer, weight.inputs, dtype)
    if not array.is_fully_addressable:
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array).reshape(shape)


@functools.partial(jax.jit, static_argnames=('inputs', 'dtype'))
def _in_stored_order(weight, layer, inputs, dtype):
    """The weight, or one layer of a stack, with axes (in, …, out, …) as (out, …, in, …)."""
    row = weight if layer is None else jax.lax.dynamic_index_in_dim(weight, layer, keepdims=False)
    return row.transpose(*range(inputs, row.ndim), *range(inputs)).astype(dtype)


def hf_config(spec: Spec, token_ids: dict[str, int]) -> dict:
    """A config.json for a model without a source; `token_ids` as from `read_token_ids`.

    Raises ValueError if `transformers` could not compute the model.
    """
    text, vision, omni = spec.text, spec.vision, spec.family == 'omni'
    if text.head_dim * text.num_attention_heads != text.hidden_size and not omni:
        raise ValueError(
            f'head_dim={text.head_dim} must be hidden_size / num_attention_heads = '
            f'{text.hidden_size / text.num_attention_heads:g} in a Qwen2.5-VL of `transformers`: '
            'change one of the three'
        )
    model, kind, text_kind, vision_kind = KINDS[spec.family]
    text_config = dataclasses.asdict(text) | {'model_type': text_kind, 'hidden_act': 'silu'}
    rope = {'mrope_section': list(text_config.pop('mrope_section')), 'rope_theta': text.rope_theta}
    text_config['rope_scaling'] = rope | {'rope_type': 'default', 'type': 'default'}
    text_config |= {'use_sliding_window': False, 'bos_token_id': None, 'eos_token_id': None}
    vision_config = dataclasses.asdict(vision) | {'model_type': vision_kind, 'hidden_act': 'silu'}
    vision_config['fullatt_block_indexes'] = list(vision.fullatt_block_indexes)
    vision_config['rope_parameters'] = {
        'rope_type': 'default',
        'rope_theta': vision_config.pop('rope_theta'),
    }
    del vision_config['fused_qkv']  # follows from the family
    config = {
        'architectures': [model],
        'model_type': kind,
        'tie_word_embeddings': text.tie_word_embeddings,
        'text_config': text_config,
        'vision_config': vision_config,
    }
    if omni:
        audio_config = dataclasses.asdict(spec.audio) | {'activation_function': 'gelu'}
        config['audio_config'] = audio_config | {'model_type': 'qwen2_5_omni_audio_encoder'}
        config['position_id_per_seconds'] = spec.position_id_per_seconds
        config['seconds_per_chunk'] = spec.seconds_per_chunk
    else:
        vision_config['tokens_per_second'] = spec.tokens_per_second
    for name in TOKEN_IDS[spec.family]:
        ending = 'index' if omni and name in ('image', 'video', 'audio') else 'id'
        config[f'{name}_token_{ending}'] = token_ids[name]
    return config
