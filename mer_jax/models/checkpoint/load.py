"""Weights from a Hugging Face folder onto the devices: an attribute path is a checkpoint name."""

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

from mer_jax.models.checkpoint.safetensors import Entry, scan, view
from mer_jax.models.omni import Omni

log = logging.getLogger(__name__)

STACKED = ('layers', 'blocks')  # attributes whose weights lead with the layer axis
SPEECH = ('talker.', 'token2wav.')  # what a full Omni checkpoint holds besides the Thinker
UNREAD = 'audio_tower.audio_bos_eos_token.weight'  # stored, and never used by the Thinker
WAY_OUT = 'is the spec that of this checkpoint?'


def load_omni(folder: pathlib.Path, like: Omni) -> Omni:
    """The Thinker in a folder, with the shapes, dtypes and shardings of `like`.

    `like` may be abstract (`jax.eval_shape`). The files are read tensor by tensor, each process
    reading what its devices hold. Raises ValueError if the folder holds no whole safetensors
    checkpoint, or other tensors than `like` has weights; nothing is read before that is known.
    """
    folder = pathlib.Path(folder)
    entries = scan(folder)
    skipped = collections.Counter(
        prefix for name in entries for prefix in SPEECH if name.startswith(prefix)
    )
    if skipped:
        told = ', '.join(f'{count} of {prefix}*' for prefix, count in skipped.items())
        log.warning('%s: tensors that the Thinker does not need are skipped: %s', folder, told)
    entries = {
        name: entry
        for name, entry in entries.items()
        if not name.startswith(SPEECH) and name != UNREAD
    }
    check_tensors(folder, entries, like)

    def tensor(name):
        return view(entries[name])

    return like.replace(
        **{part: fill(module, tensor, prefix) for part, module, prefix in parts(like)}
    )


def parts(omni: Omni) -> list[tuple[str, nnx.Module | None, str]]:
    """The fields of a Thinker, with the prefix that a checkpoint gives to the names of each."""
    return [
        ('decoder', omni.decoder, ''),
        ('visual', omni.visual, 'visual.'),
        ('audio_tower', omni.audio_tower, 'audio_tower.'),
    ]


def check_tensors(folder: pathlib.Path, entries: dict[str, Entry], like: Omni) -> None:
    """Raises ValueError if the tensors and the weights differ in name or shape."""
    wanted = {}
    for _, module, prefix in parts(like):
        for path, weight in weights(module):
            shape = weight.shape[1:] if is_stacked(path) else weight.shape
            wanted |= dict.fromkeys(stored_names(path, weight, prefix), (shape, weight.inputs))
    missing = [name for name in wanted if name not in entries]
    if missing:
        shape = stored_shape(*wanted[missing[0]])
        raise ValueError(
            f'{folder}: {missing[0]}{more(missing)} is in none of its files, and the model wants '
            f'it with shape {shape}: {WAY_OUT}'
        )
    left = [name for name in entries if name not in wanted]
    if left:
        entry = entries[left[0]]
        raise ValueError(
            f'{entry.path}: {entry.key} of shape {entry.shape}{more(left)} has no place in the '
            f'model: {WAY_OUT}'
        )
    for name, (shape, inputs) in wanted.items():
        entry = entries[name]
        if not fits(entry.shape, shape, inputs):
            raise ValueError(
                f'{entry.path}: {entry.key} has shape {entry.shape}, and the model wants '
                f'{stored_shape(shape, inputs)}: {WAY_OUT}'
            )


def more(names: list[str]) -> str:
    """How many there are besides the first, in words."""
    return f' (and {len(names) - 1} more)' if len(names) > 1 else ''


def fill(module: nnx.Module | None, tensor: Callable[[str], np.ndarray], prefix: str = ''):
    """The module with each weight replaced by the checkpoint's, in the weight's dtype and sharding.

    `tensor(name)` gives the array that a checkpoint stores under a name and raises KeyError where
    there is none. The module may be abstract (`jax.eval_shape`): its values are not read. The host
    holds one tensor at a time; layers are cast and stacked on the devices.
    Raises ValueError where a tensor is missing or has another shape than the model wants.
    """

    def filled(path, weight):
        sharding = weight.sharding or SingleDeviceSharding(jax.local_devices()[0])
        sources, inputs = stored_names(path, weight, prefix), weight.inputs
        whole, with_layer = placing(sharding)
        if not is_stacked(path):
            row = brought(tensor, sources[0], weight.shape, inputs, sharding)
            return whole(row, weight.dtype)
        stack = jnp.zeros(weight.shape, weight.dtype, device=sharding)
        for layer, name in enumerate(sources):
            row = brought(tensor, name, weight.shape[1:], inputs, without_layers(sharding))
            stack = with_layer(stack, row, layer)
            stack.block_until_ready()  # else the host runs ahead, and rows pile up
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
    """Whether the weight at the path holds one row for each layer."""
    return not set(STACKED).isdisjoint(path)


def stored_names(path: list[str], weight: nnx.Param, prefix: str) -> list[str]:
    """The names under which a checkpoint stores the weight: one, or one for each layer.

    `layers.fc1.weight` is stored as `layers.0.fc1.weight` and so on. An attribute cannot be called
    by a number, so `mlp_0` stands for `mlp.0`.
    """
    dotted = [re.sub(r'_(\d+)$', r'.\1', part) for part in path]
    if not is_stacked(path):
        return [prefix + '.'.join(dotted)]
    at = next(i for i, part in enumerate(path) if part in STACKED) + 1
    numbered = [[*dotted[:at], str(layer), *dotted[at:]] for layer in range(weight.shape[0])]
    return [prefix + '.'.join(words) for words in numbered]


def stored_shape(shape: tuple[int, ...], inputs: int) -> tuple[int, ...]:
    """The shape that a checkpoint gives to a weight of our `shape`, as a matrix if it has inputs.

    `inputs` counts the leading dimensions of `shape` that a checkpoint stores last: (in, …, out, …)
    is stored as (out, in). One rule covers matrices, heads, patch embeddings and convolutions.
    """
    if not inputs:
        return shape
    return int(np.prod(shape[inputs:])), int(np.prod(shape[:inputs]))


def fits(found: tuple[int, ...], shape: tuple[int, ...], inputs: int) -> bool:
    """Whether a stored tensor has the shape wanted; inputs may be split, a bias may be flat."""
    if not inputs:
        return found in (shape, (int(np.prod(shape)),))
    rows, columns = stored_shape(shape, inputs)
    return found[:1] == (rows,) and int(np.prod(found)) == rows * columns


def brought(tensor, name: str, shape: tuple[int, ...], inputs: int, sharding) -> jax.Array:
    """The stored tensor on the devices in our `shape` and order of axes, in its own dtype."""
    try:
        found = tensor(name)
    except KeyError as error:
        raise ValueError(
            f'{name} is not in the checkpoint, and the model wants it with shape '
            f'{stored_shape(shape, inputs)}: {WAY_OUT}'
        ) from error
    if not fits(found.shape, shape, inputs):
        raise ValueError(
            f'{name} has shape {found.shape} in the checkpoint, and the model wants '
            f'{stored_shape(shape, inputs)}: {WAY_OUT}'
        )
    outputs = len(shape) - inputs
    found = found.reshape(shape[inputs:] + shape[:inputs])
    found = found.transpose(*range(outputs, len(shape)), *range(outputs))
    # A view still: it is laid out on its way to the devices, each of which gets its own part.
    return jax.make_array_from_callback(shape, sharding, lambda index: found[index])


def without_layers(sharding):
    """The sharding of one layer of a stack."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    return sharding


@functools.cache
def placing(sharding):
    """The programs that make a weight on its devices: as a whole, or one more layer of a stack."""

    def whole(row, dtype):
        # A copy in any case: what was brought may share the memory of a file.
        return jnp.array(row, dtype, copy=True)

    def with_layer(stack, row, layer):
        # In bits, for XLA on the CPU would take a whole stack of bfloat16 to float32 and back.
        bits = jnp.dtype(f'uint{8 * stack.dtype.itemsize}')
        row = row.astype(stack.dtype).view(bits)
        updated = jax.lax.dynamic_update_index_in_dim(stack.view(bits), row, layer, 0)
        return updated.view(stack.dtype)

    return (
        jax.jit(whole, static_argnums=1, out_shardings=sharding),
        jax.jit(with_layer, out_shardings=sharding, donate_argnums=0),
    )
