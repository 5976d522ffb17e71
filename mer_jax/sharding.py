"""The mesh, and one table from the logical axes of arrays to the axes of the mesh."""

import jax
import numpy as np
from flax import nnx
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
    """A mesh over the devices (default: all); `data` = −1 takes what the other axes leave."""
    devices = jax.devices() if devices is None else devices
    if data == -1:
        data = len(devices) // (fsdp * tensor)
    if data * fsdp * tensor != len(devices):
        raise ValueError(
            f'mesh.data={data} * mesh.fsdp={fsdp} * mesh.tensor={tensor} = {data * fsdp * tensor} '
            f'must be the number of devices = {len(devices)}; mesh.data=-1 takes what the others '
            'leave'
        )
    shape, types = (data, fsdp, tensor), (AxisType.Auto,) * 3
    return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)


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
