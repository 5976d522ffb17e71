"""Loads weights from a Hugging Face folder; the attribute path of a weight is its name there."""

import collections
import functools
import logging
import pathlib
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from mer_jax.models.checkpoint.safetensors import INDEX, SINGLE, Entry, scan, view
from mer_jax.models.omni import Omni
from mer_jax.storage.paths import path_of

log = logging.getLogger(__name__)

STACKED = ('layers', 'blocks')  # attributes whose weights have a leading layer axis
SPEECH = ('talker.', 'token2wav.')  # parts of a full Omni checkpoint besides the Thinker
UNREAD = 'audio_tower.audio_bos_eos_token.weight'  # in checkpoints, not used by the Thinker
WAY_OUT = 'take the config.json that belongs to these files'


def load_omni(folder: pathlib.Path, like: Omni) -> Omni:
    """The Thinker in a folder, with the shapes, dtypes and shardings of `like`.

    `like` may be abstract (`jax.eval_shape`). Each process reads the parts that its devices hold,
    tensor by tensor. Before that, raises ValueError if the safetensors files are incomplete or
    their names and shapes are not those of the weights of `like`.
    """
    folder = path_of(folder)
    entries = scan(folder)
    skipped = collections.Counter(
        prefix for name in entries for prefix in SPEECH if name.startswith(prefix)
    )
    if skipped:
        counts = ', '.join(f'{count} of {prefix}*' for prefix, count in skipped.items())
        log.warning('%s: skips tensors that the Thinker does not need: %s', folder, counts)
    entries = {
        name: entry
        for name, entry in entries.items()
        if not name.startswith(SPEECH) and name != UNREAD
    }
    _check_tensors(folder, entries, like)

    def tensor(name):
        return view(entries[name])

    return like.replace(
        **{part: fill(module, tensor, prefix) for part, module, prefix in parts(like)}
    )


def parts(omni: Omni) -> list[tuple[str, nnx.Module | None, str]]:
    """The fields of a Thinker, each with the prefix of its names in a checkpoint."""
    return [
        ('decoder', omni.decoder, ''),
        ('visual', omni.visual, 'visual.'),
        ('audio_tower', omni.audio_tower, 'audio_tower.'),
    ]


def _check_tensors(folder: pathlib.Path, entries: dict[str, Entry], like: Omni) -> None:
    """Raises ValueError if the tensors differ from the weights in name or shape."""
    wanted = {}
    for _, module, prefix in parts(like):
        for path, weight in weights(module):
            shape = weight.shape[1:] if is_stacked(path) else weight.shape
            wanted |= dict.fromkeys(stored_names(path, weight, prefix), (shape, weight.inputs))
    missing = [name for name in wanted if name not in entries]
    if missing:
        shape = stored_shape(*wanted[missing[0]])
        raise ValueError(
            f'{folder}: {missing[0]}{_and_more(missing)} is in none of its files'
            f'{_unread_files(folder, entries)}, and the model needs it with shape {shape}: '
            f'{WAY_OUT}'
        )
    left = [name for name in entries if name not in wanted]
    if left:
        entry = entries[left[0]]
        raise ValueError(
            f'{entry.path}: {entry.key} of shape {entry.shape}{_and_more(left)} has no place in '
            f'the model: {WAY_OUT}'
        )
    for name, (shape, inputs) in wanted.items():
        entry = entries[name]
        if not _has_shape(entry.shape, shape, inputs):
            raise ValueError(
                f'{entry.path}: {entry.key} has shape {entry.shape}, and the model needs '
                f'{stored_shape(shape, inputs)}: {WAY_OUT}'
            )


def _unread_files(folder: pathlib.Path, entries: dict[str, Entry]) -> str:
    """The safetensors files of a folder that are no part of the checkpoint, in words."""
    read = {entry.path.name for entry in entries.values()}
    unread = sorted(path.name for path in folder.glob('*.safetensors') if path.name not in read)
    if not unread:
        return ''
    why = 'model.safetensors is read alone' if SINGLE in read else f'{INDEX} names no tensor of it'
    return f' ({unread[0]}{_and_more(unread)} was not read: {why})'


def _and_more(names: list[str]) -> str:
    """The number of names besides the first, in words."""
    return f' (and {len(names) - 1} more)' if len(names) > 1 else ''


def fill(module: nnx.Module | None, tensor: Callable[[str], np.ndarray], prefix: str = ''):
    """The module with the weights of a checkpoint, in the dtypes and shardings of the module.

    `tensor(name)` returns the stored array of that name or raises KeyError. The module may be
    abstract (`jax.eval_shape`): its values are not read. The host holds one tensor at a time;
    layers are cast and stacked on the devices. Raises ValueError if a tensor is missing or has
    another shape than the weight.
    """

    def filled(path, weight):
        sharding = weight.sharding or SingleDeviceSharding(jax.local_devices()[0])
        sources, inputs = stored_names(path, weight, prefix), weight.inputs
        whole, with_layer = _compiled_for(sharding)
        if not is_stacked(path):
            row = _on_devices(tensor, sources[0], weight.shape, inputs, sharding)
            return whole(row, weight.dtype)
        stack = jnp.zeros(weight.shape, weight.dtype, device=sharding)
        for layer, name in enumerate(sources):
            row = _on_devices(tensor, name, weight.shape[1:], inputs, _layer_sharding(sharding))
            stack = with_layer(stack, row, layer)
            stack.block_until_ready()  # otherwise rows of later layers fill the host's memory
        return stack

    found = [filled(path, weight) for path, weight in weights(module)]
    return jax.tree.unflatten(jax.tree.structure(module), found)


def names(module: nnx.Module, prefix: str = '') -> list[str]:
    """The checkpoint names that `fill` reads, each once."""
    return [name for path, weight in weights(module) for name in stored_names(path, weight, prefix)]


def weights(module: nnx.Module | None) -> list[tuple[list[str], nnx.Param]]:
    """Each weight with its attribute path, in the order of the module's leaves."""
    found = jax.tree.leaves_with_path(module, is_leaf=lambda leaf: isinstance(leaf, nnx.Param))
    return [([key.name for key in path], weight) for path, weight in found]


def is_stacked(path: list[str]) -> bool:
    """Whether the weight at the path has a leading layer axis."""
    return not set(STACKED).isdisjoint(path)


def stored_names(path: list[str], weight: nnx.Param, prefix: str) -> list[str]:
    """The names of the weight in a checkpoint: one, or one for each layer.

    `layers.fc1.weight` is stored as `layers.0.fc1.weight` and so on. The attribute `mlp_0` is
    `mlp.0` in a checkpoint, since no attribute can be a number.
    """
    dotted = [re.sub(r'_(\d+)$', r'.\1', part) for part in path]
    if not is_stacked(path):
        return [prefix + '.'.join(dotted)]
    at = next(i for i, part in enumerate(path) if part in STACKED) + 1
    numbered = [[*dotted[:at], str(layer), *dotted[at:]] for layer in range(weight.shape[0])]
    return [prefix + '.'.join(words) for words in numbered]


def stored_shape(shape: tuple[int, ...], inputs: int) -> tuple[int, ...]:
    """The shape in a checkpoint of a weight of our `shape`; a matrix if the weight has inputs.

    `inputs` is the number of leading dimensions that a checkpoint stores last: (in, …, out, …) is
    stored as (out, in). One rule covers matrices, heads, patch embeddings and convolutions.
    """
    if not inputs:
        return shape
    return int(np.prod(shape[inputs:])), int(np.prod(shape[:inputs]))


def _has_shape(found: tuple[int, ...], shape: tuple[int, ...], inputs: int) -> bool:
    """Whether a stored tensor has our `shape`; its inputs may be split, its bias may be flat."""
    if not inputs:
        return found in (shape, (int(np.prod(shape)),))
    rows, columns = stored_shape(shape, inputs)
    return found[:1] == (rows,) and int(np.prod(found)) == rows * columns


def _on_devices(tensor, name: str, shape: tuple[int, ...], inputs: int, sharding) -> jax.Array:
    """The stored tensor on the devices, in our `shape` and order of axes and in its own dtype."""
    try:
        found = tensor(name)
    except KeyError as error:
        raise ValueError(
            f'{name} is not in the checkpoint, and the model needs it with shape '
            f'{stored_shape(shape, inputs)}: {WAY_OUT}'
        ) from error
    if not _has_shape(found.shape, shape, inputs):
        raise ValueError(
            f'{name} has shape {found.shape} in the checkpoint, and the model needs '
            f'{stored_shape(shape, inputs)}: {WAY_OUT}'
        )
    outputs = len(shape) - inputs
    found = found.reshape(shape[inputs:] + shape[:inputs])
    found = found.transpose(*range(outputs, len(shape)), *range(outputs))
    # Still a view of the file: each device copies only its own part.
    return jax.make_array_from_callback(shape, sharding, lambda index: found[index])


def _layer_sharding(sharding):
    """The sharding of one layer, from that of the stack."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    return sharding


@functools.cache
def _compiled_for(sharding):
    """Compiled functions for a sharding: cast a whole weight; put one layer into a stack."""

    def whole(row, dtype):
        # Always copy: the array may share its memory with the file.
        return jnp.array(row, dtype, copy=True)

    def with_layer(stack, row, layer):
        # As bits: XLA on the CPU would convert the whole stack from bfloat16 to float32 and back.
        bits = jnp.dtype(f'uint{8 * stack.dtype.itemsize}')
        row = row.astype(stack.dtype).view(bits)
        updated = jax.lax.dynamic_update_index_in_dim(stack.view(bits), row, layer, 0)
        return updated.view(stack.dtype)

    return (
        jax.jit(whole, static_argnums=1, out_shardings=sharding),
        jax.jit(with_layer, out_shardings=sharding, donate_argnums=0),
    )
