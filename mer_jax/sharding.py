"""The mesh, and one table from the logical axes of arrays to the axes of the mesh."""

import json
import math

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ('data', 'fsdp', 'tensor')
RULES = {
    'batch': ('data', 'fsdp'),  # prompts; the branches of a prompt stay together
    'embed': 'fsdp',
    'heads': 'tensor',
    'mlp': 'tensor',
    'vocab': 'tensor',
}


def make_mesh(data: int, fsdp: int, tensor: int, devices=None) -> jax.sharding.Mesh:
    """A mesh over the devices (default: all); an axis of −1 takes what the others leave."""
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(data, fsdp, tensor, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def mesh_shape(data: int, fsdp: int, tensor: int, devices: int) -> tuple[int, int, int]:
    """The sizes of the mesh's axes on so many devices; ValueError where they do not fit."""
    asked = data, fsdp, tensor
    told = ' * '.join(f'mesh.{axis}={size}' for axis, size in zip(AXES, asked, strict=True))
    if asked.count(-1) > 1 or any(size < 1 and size != -1 for size in asked):
        raise ValueError(f'{told}: each must be at least 1, or one of them -1 (what is left)')
    taken = math.prod(size for size in asked if size != -1)
    shape = tuple(max(devices // taken, 1) if size == -1 else size for size in asked)
    if math.prod(shape) != devices:
        raise ValueError(
            f'{told}: the product must be the number of devices = {devices}; one axis may be -1 '
            'and takes what the others leave'
        )
    return shape


def named(mesh, *axes: str | None) -> NamedSharding:
    """The sharding of an array whose dimensions carry these logical names."""
    return NamedSharding(mesh, PartitionSpec(*[RULES.get(axis) for axis in axes]))


def state_shardings(mesh, tree):
    """The sharding of every leaf of a state: weights by their names, all else replicated.

    A dimension that its mesh axis does not divide (two key heads on four chips) is replicated. The
    optimizer's moments are trees of the same weights and shard like them.
    """

    def of_weight(node):
        if not isinstance(node, nnx.Param):
            return NamedSharding(mesh, PartitionSpec())
        (leaf,) = jax.tree.leaves(node)
        shape = leaf.shape
        names = (None,) * (len(shape) - len(node.axes)) + tuple(node.axes)
        axes = [RULES.get(name) for name in names]
        fits = [
            axis and size % mesh.shape[axis] == 0 for axis, size in zip(axes, shape, strict=True)
        ]
        spec = PartitionSpec(*[a if fit else None for a, fit in zip(axes, fits, strict=True)])
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), node)

    return jax.tree.map(of_weight, tree, is_leaf=lambda node: isinstance(node, nnx.Param))


def constrain(tree, axis: str = 'batch'):
    """Every leaf's first dimension on `axis`, if a mesh is in use (jax.set_mesh)."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    spec = PartitionSpec(RULES[axis])
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec), tree)


def batch_devices() -> int:
    """How many ways the mesh in use (jax.set_mesh) splits a batch; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in RULES['batch'])


def in_pieces(tree, count: int):
    """Every leaf [b, ...] as [count, b / count, ...], each piece spread over all devices.

    Piece i holds the i-th block of every device's share, so that nothing travels.
    """
    shards = batch_devices()

    def split(x):
        b, *rest = x.shape  # of size 0 where a batch has no pictures or no sound
        blocks = x.reshape(shards, count, b // (shards * count), *rest).swapaxes(0, 1)
        pieces = blocks.reshape(count, b // count, *rest)
        if jax.sharding.get_abstract_mesh().empty:
            return pieces
        return jax.lax.with_sharding_constraint(pieces, PartitionSpec(None, RULES['batch']))

    return jax.tree.map(split, tree)


def to_devices(mesh, tree):
    """Host arrays whose first axis is this process's share of the batch, as global arrays."""
    sharding = named(mesh, 'batch')
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def to_host(tree):
    """This process's share of arrays that are sharded along their first axis, as numpy."""

    def local(x):
        if x.is_fully_addressable:
            return np.asarray(x)
        parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
        return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])

    return jax.tree.map(local, tree)


def largest_of_all(numbers) -> list[int]:
    """The largest that any process holds of each number: what all have to pad to."""
    numbers = np.asarray(numbers, np.int64)
    if jax.process_count() > 1:
        numbers = multihost_utils.process_allgather(numbers).max(0)
    return numbers.tolist()


def gather_rows(rows: list) -> list:
    """The JSON values of all processes, those of process 0 first."""
    if jax.process_count() == 1:
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    (size,) = largest_of_all([len(text)])
    padded = np.full(size, ord(' '), np.uint8)
    padded[: len(text)] = text
    all_texts = multihost_utils.process_allgather(padded)
    return [row for text in all_texts for row in json.loads(text.tobytes())]
