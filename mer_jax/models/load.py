"""The walk that fills a module from checkpoint tensors: an attribute path is a checkpoint name."""

import re
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

STACKED = ('layers', 'blocks')  # attributes whose weights lead with the layer axis


def fill(module: nnx.Module, tensor: Callable[[str], np.ndarray], prefix: str = ''):
    """The module with each weight replaced by the checkpoint's, in the weight's dtype and sharding.

    `tensor(name)` gives the array that a checkpoint stores under a name and raises KeyError where
    there is none. The module may be abstract (`jax.eval_shape`): its values are not read. Raises
    ValueError where a tensor is missing or has another shape than the model wants.
    """

    def filled(path, weight):
        array = np.empty(weight.shape, weight.dtype)
        parts = array if is_stacked(path) else [array]
        for part, name in zip(parts, stored_names(path, weight, prefix), strict=True):
            part[...] = laid_out(tensor, name, part.shape, weight.inputs)
        return jax.device_put(array, weight.sharding)

    found = [filled(path, weight) for path, weight in weights(module)]
    return jax.tree.unflatten(jax.tree.structure(module), found)


def names(module: nnx.Module, prefix: str = '') -> list[str]:
    """The checkpoint names that `fill` reads, each once."""
    return [name for path, weight in weights(module) for name in stored_names(path, weight, prefix)]


def weights(module: nnx.Module) -> list[tuple[list[str], nnx.Param]]:
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
    return [prefix + '.'.join(parts) for parts in numbered]


def laid_out(tensor, name: str, shape: tuple[int, ...], inputs: int) -> np.ndarray:
    """The checkpoint's tensor in our `shape`: (out, in, …) becomes (in, …, out, …).

    `inputs` counts the leading dimensions of `shape` that a checkpoint stores last. One rule covers
    matrices, heads, patch embeddings and convolutions; with 0 inputs the order stays (a bias may
    be stored flat).
    """
    rows, columns = int(np.prod(shape[inputs:])), int(np.prod(shape[:inputs]))
    wanted = (rows, columns) if inputs else shape
    try:
        found = tensor(name)
    except KeyError as error:
        raise ValueError(
            f'{name} is not in the checkpoint, and the model wants it with shape {wanted}: '
            'is the spec that of this checkpoint?'
        ) from error
    if inputs:
        fits = found.shape[:1] == (rows,) and found.size == rows * columns
    else:
        fits = found.shape in (shape, (rows,))
    if not fits:
        raise ValueError(
            f'{name} has shape {found.shape} in the checkpoint, and the model wants {wanted}: '
            'is the spec that of this checkpoint?'
        )
    return (found.reshape(rows, columns).T if inputs else found).reshape(shape)
