"""Adapters in the folder format of PEFT: adapter_config.json and adapter_model.safetensors.

Names are those that `peft` gives to a Qwen2.5-VL or a Qwen2.5-Omni Thinker of `transformers`.
"""

import json
import math
import pathlib
import re
from collections.abc import Iterable

import jax
import numpy as np
from flax import nnx
from jax.sharding import SingleDeviceSharding

from mer_jax.models.checkpoint.kinds import ADAPTER
from mer_jax.models.checkpoint.load import is_stacked, stored_names, stored_shape
from mer_jax.models.checkpoint.safetensors import (
    Entry,
    Plan,
    read_header,
    read_json,
    released_name,
    view,
    write_file,
)
from mer_jax.models.checkpoint.save import appearing, plans_of, refuse_held
from mer_jax.models.lora import FACTORS, TARGETS, Lora, adapters_of, places
from mer_jax.models.omni import Omni
from mer_jax.storage.objects import copy_file, write_whole
from mer_jax.storage.paths import naming, path_of

WEIGHTS = 'adapter_model.safetensors'
PREFIX = 'base_model.model.'
RELEASED = {'decoder': '', 'visual': 'visual.', 'audio_tower': 'audio_tower.'}  # by part
WRAPPED = {  # released beginnings of names, and those of modules in `transformers`
    'model.': 'model.language_model.',
    'visual.': 'model.visual.',
    'audio_tower.': 'model.audio_tower.',
}
# Keys of an adapter_config.json under which an adapter computes something else than x·A·B.
OTHERWISE = (
    *('use_dora', 'use_qalora', 'lora_bias', 'fan_in_fan_out', 'rank_pattern', 'alpha_pattern'),
    *('modules_to_save', 'trainable_token_indices', 'target_parameters', 'layer_replication'),
    *('alora_invocation_tokens', 'use_bdlora'),
)
DECODER_LAYER = re.compile(r'model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)\.lora_A\.weight')


def read_lora(folder: pathlib.Path) -> Lora:
    """Rank, alpha and places of the adapter in a folder of PEFT.

    ValueError if the folder holds none, or one of another kind.
    """
    folder = path_of(folder)
    config = _read_config(folder)
    rank, alpha = config.get('r'), config.get('lora_alpha')
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float) or not 0 < alpha < 1e9:
        raise ValueError(
            f'{folder / ADAPTER}: r={rank!r} must be at least 1 and lora_alpha={alpha!r} above 0; '
            'copy or download it again'
        )
    alpha = alpha * math.sqrt(rank) if config.get('use_rslora') else alpha
    names = _entries(folder)
    found = {match[1] for name in names if (match := DECODER_LAYER.fullmatch(name))}
    targets = tuple(name for name in TARGETS if name in found)
    towers = any(name.startswith(('visual.', 'audio_tower.')) for name in names)
    return Lora(rank, float(alpha), targets, towers)


def _read_config(folder: pathlib.Path) -> dict:
    """The adapter_config.json of a folder; ValueError unless it describes a plain LoRA."""
    path = folder / ADAPTER
    with naming(folder):
        exists = path.exists()
    if not exists:
        raise ValueError(
            f'model.adapter={folder}: holds no {ADAPTER}; name a folder that peft has saved, or '
            'the adapter of a run (python -m mer_jax.export --adapter)'
        )
    config = read_json(path)
    if config.get('peft_type') != 'LORA':
        raise ValueError(
            f'{path}: peft_type={config.get("peft_type")!r} must be LORA; merge this adapter into '
            'its model with peft, and name the merged folder as model.checkpoint'
        )
    odd = [key for key in OTHERWISE if config.get(key)]
    odd += ['bias'] if config.get('bias', 'none') != 'none' else []
    if odd:
        raise ValueError(
            f'{path}: {odd[0]}={config[odd[0]]!r} is not supported, only matrices A and B of one '
            'rank are; merge this adapter into its model with peft, and name the merged folder as '
            'model.checkpoint'
        )
    return config


def _entries(folder: pathlib.Path) -> dict[str, Entry]:
    """The tensors of an adapter under the released names of their layers."""
    path = folder / WEIGHTS
    with naming(folder):
        exists, pickled = path.exists(), (folder / 'adapter_model.bin').exists()
    if not exists:
        found = 'only adapter_model.bin, and a pickle can run any program' if pickled else 'none'
        raise ValueError(
            f'{folder}: must hold {WEIGHTS}, and has {found}; save the adapter with peft, '
            'save_pretrained(folder), which writes it'
        )
    return {
        released_name(entry.key.removeprefix(PREFIX).replace('.default.', '.')): entry
        for entry in read_header(path)
    }


def read_adapter(folder: pathlib.Path, like: dict[str, nnx.Param]) -> dict[str, nnx.Param]:
    """The adapter in a folder of PEFT, with the shapes, dtypes and shardings of `like`.

    `like` holds the adapters of a policy by their paths and may be abstract. ValueError if names or
    shapes differ.
    """
    folder = path_of(folder)
    entries, found = _entries(folder), {}
    wanted = {path: _names(path, weight) for path, weight in like.items()}
    every = {name for names in wanted.values() for name in names}
    missing, left = sorted(every - entries.keys()), sorted(entries.keys() - every)
    if missing or left:
        name, said = (missing or left)[0], 'is missing' if missing else 'has no place in the model'
        raise ValueError(
            f'{folder / WEIGHTS}: {name} {said} ({len(missing or left)} such tensors); it must '
            'have A and B for each layer of its targets, and for all linear layers of the towers '
            'or none: merge it into its model with peft, and name the merged folder as '
            'model.checkpoint'
        )
    for path, weight in like.items():
        rows = [_in_our_order(entries[name], weight) for name in wanted[path]]
        array = np.stack(rows) if is_stacked(path.split('.')) else rows[0]
        found[path] = jax.tree.map(lambda leaf, array=array: _placed(array, leaf), weight)
    return found


def _in_our_order(entry: Entry, weight: nnx.Param) -> np.ndarray:
    """A stored matrix (out, in) in the shape of our weight, or of a layer of it."""
    shape, inputs = weight.shape[weight.ndim - len(weight.axes) :], weight.inputs
    if entry.shape != stored_shape(shape, inputs):
        raise ValueError(
            f'{entry.path}: {entry.key} has shape {entry.shape}, and the model needs '
            f'{stored_shape(shape, inputs)}: name the adapter of a model of these sizes'
        )
    outputs = len(shape) - inputs
    found = view(entry).reshape(shape[inputs:] + shape[:inputs])
    return found.transpose(*range(outputs, len(shape)), *range(outputs))


def _placed(array: np.ndarray, leaf) -> jax.Array:
    """The array on the devices of a leaf, in its dtype."""
    sharding = leaf.sharding or SingleDeviceSharding(jax.local_devices()[0])
    array = array.astype(leaf.dtype)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _names(path: str, weight: nnx.Param) -> list[str]:
    """The released names of an adapter's matrix: one, or one for each layer."""
    part, *below = path.split('.')
    return stored_names(below, weight, RELEASED[part])


def _in_peft(name: str) -> str:
    """The name in `peft` of a tensor with this released name."""
    for before, after in WRAPPED.items():
        if name.startswith(before):
            return PREFIX + after + name.removeprefix(before)
    return PREFIX + name


def save_adapter(
    folder: pathlib.Path,
    omni: Omni,
    lora: Lora,
    base: str,
    beside: Iterable[pathlib.Path] = (),
) -> None:
    """Writes the adapters of a policy as a folder that `peft` loads beside the model `base`.

    The files `beside` are copied. All processes must call this; the first one writes. Raises
    ValueError if the folder is not empty.
    """
    folder = path_of(folder)
    refuse_held(folder)
    plans = [plan for path, weight in adapters_of(omni).items() for plan in _plans(path, weight)]
    plans = [Plan(_in_peft(p.name), p.shape, p.dtype, p.make) for p in plans]
    if jax.process_index():
        for plan in plans:
            plan.make()  # all processes take part in gathering a weight
        return
    text = json.dumps(_config(omni, lora, base), indent=2) + '\n'
    with appearing(folder) as place:
        write_file(place / WEIGHTS, plans)
        for path in beside:
            copy_file(path, place / path.name)
        write_whole(place / ADAPTER, text)


def _plans(path: str, weight: nnx.Param) -> Iterable[Plan]:
    """A plan for each tensor of an adapter's matrix, with its released name."""
    shape = stored_shape(weight.shape[weight.ndim - len(weight.axes) :], weight.inputs)
    return plans_of(weight, _names(path, weight), shape, weight.dtype)


def _config(omni: Omni, lora: Lora, base: str) -> dict:
    """The adapter_config.json of a policy; its targets are a pattern of whole module names."""
    patterns = {}
    for path, layer in places(omni, lora).items():
        name = _names(f'{path}.{FACTORS[0]}.weight', layer.lora_A.weight)[0]
        name = _in_peft(name).removeprefix(PREFIX)
        name = name.removesuffix(f'.{FACTORS[0]}.weight').replace('.', r'\.')
        patterns[re.sub(r'(layers|blocks)\\\.0\\', r'\1\\.\\d+\\', name)] = None
    return {
        'peft_type': 'LORA',
        'task_type': None,
        'base_model_name_or_path': base,
        'r': lora.rank,
        'lora_alpha': int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        'lora_dropout': 0.0,
        'target_modules': '|'.join(patterns),
        'bias': 'none',
        'fan_in_fan_out': False,
        'inference_mode': True,
        'init_lora_weights': True,
        'modules_to_save': None,
        'use_dora': False,
        'use_rslora': False,
    }
