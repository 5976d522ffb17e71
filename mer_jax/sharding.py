"""The mesh, and one table from the logical axes of arrays to the axes of the mesh."""

import contextlib
import functools
import math

import jax
import numpy as np
from flax import nnx
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ('data', 'fsdp', 'tensor')
DECODERS = 8  # devices that decode together with mesh.data=0: those of a host, often
RULES = {  # config.mesh.rules may name others: `use_rules`
    'batch': ('data', 'fsdp'),  # prompts; the branches of a prompt stay together
    'embed': 'fsdp',
    'heads': 'tensor',
    'mlp': 'tensor',
    'vocab': 'tensor',
}
# While tokens are decoded: every weight lies where it is used, over all devices that share it, and
# the branches of a prompt on all of these, so that no weight travels.
DECODING = {
    'batch': 'data',
    'heads': 'tensor',
    'width': 'fsdp',  # of a head
    'mlp': ('tensor', 'fsdp'),
    'vocab': ('tensor', 'fsdp'),
}
# jax.jit traces anew what it has traced under another table.
_IN_USE = jax.make_user_context(tuple(RULES.items()))


def use_rules(rules: dict):
    """A context in which this table takes the place of RULES, in this thread."""
    return _IN_USE(tuple(rules.items()))


def rules_in_use() -> dict:
    """The mesh axis, or axes, of each logical axis; None where it is not split."""
    return dict(_IN_USE.value)


def make_mesh(data: int, fsdp: int, tensor: int, devices=None) -> jax.sharding.Mesh:
    """A mesh over the devices (default: all); an axis of −1 takes what the others leave.

    Neighbours on the mesh are neighbours on the machine, as far as its own axes have factors of
    these sizes (4 x 4 chips have no 8). Only `data` spans several slices.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(data, fsdp, tensor, len(devices))
    place = functools.partial(mesh_utils.create_device_mesh, shape, devices)
    if count_slices(devices) > 1:
        place = functools.partial(over_slices, shape, devices)
    split = devices[0].device_kind in ('TPU v5 lite', 'TPU v5e')  # as in jax.make_mesh
    try:
        placed = place(allow_split_physical_axes=split)
    except NotImplementedError:
        placed = place(allow_split_physical_axes=True)
    return jax.sharding.Mesh(placed, AXES, axis_types=(AxisType.Auto,) * 3)


def exact_products(dtype: str, mesh: jax.sharding.Mesh):
    """A context in which a float32 model multiplies float32 matrices in float32.

    By default GPUs round their factors to TF32 (10 bits) and TPUs to bfloat16 (7 bits). CPUs do
    not. A bfloat16 model keeps the default: its few products of float32 need no more.
    """
    exact = dtype == 'float32' and mesh.devices.flat[0].platform != 'cpu'
    return jax.default_matmul_precision('highest') if exact else contextlib.nullcontext()


def count_slices(devices) -> int:
    """How many slices the devices belong to; CPU devices and those of one host belong to one."""
    return len({device.slice_index for device in devices if hasattr(device, 'slice_index')}) or 1


def over_slices(
    shape: tuple[int, int, int], devices, allow_split_physical_axes: bool = True
) -> np.ndarray:
    """Devices of several slices in the shape of a mesh, whose `data` leads from slice to slice.

    GPUs of several hosts count as slices too. There `fsdp` may span hosts. ValueError if `data` is
    no multiple of the slices.
    """
    data, fsdp, tensor = shape
    slices = count_slices(devices)
    if data % slices == 0:
        return mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp, tensor),
            (slices, 1, 1),
            devices,
            allow_split_physical_axes=allow_split_physical_axes,
        )
    if devices[0].platform == 'gpu':
        ordered = sorted(devices, key=lambda device: (device.slice_index, device.id))
        return np.array(ordered).reshape(shape)
    raise ValueError(
        f'mesh.data={data}: must be a multiple of the {slices} slices of these devices, for only '
        f'sums of gradients travel between them; set mesh.data={slices} and mesh.fsdp=-1'
    )


def mesh_shape(data: int, fsdp: int, tensor: int, devices: int) -> tuple[int, int, int]:
    """The sizes of the mesh's axes on so many devices; ValueError where they do not fit."""
    asked = data, fsdp, tensor
    if data == 0:  # a copy of the decoding layout for every so many devices
        spread = fsdp == -1 and devices % DECODERS == 0 and tensor > 0 and DECODERS % tensor == 0
        data = -1 if fsdp != -1 else devices // DECODERS if spread else 1
    told = ' * '.join(f'mesh.{axis}={size}' for axis, size in zip(AXES, asked, strict=True))
    sizes = data, fsdp, tensor
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ValueError(
            f'{told}: each must be at least 1, or one of them -1 (what is left); mesh.data may be '
            f'0, a copy for every {DECODERS} devices'
        )
    taken = math.prod(size for size in sizes if size != -1)
    shape = tuple(max(devices // taken, 1) if size == -1 else size for size in sizes)
    if math.prod(shape) != devices:
        raise ValueError(
            f'{told}: the product must be the number of devices = {devices}; one axis may be -1 '
            'and takes what the others leave'
        )
    return shape


def named(mesh, *axes: str | None) -> NamedSharding:
    """The sharding of an array whose dimensions carry these logical names."""
    rules = rules_in_use()
    return NamedSharding(mesh, PartitionSpec(*[rules.get(axis) for axis in axes]))


def state_shardings(mesh, tree):
    """The sharding of every leaf of a state: weights by their names, all else replicated.

    A dimension that its mesh axis does not divide (two key heads on four chips) is replicated. The
    optimizer's moments are trees of the same weights and shard like them.
    """

    rules = rules_in_use()

    def of_weight(node):
        spec = weight_spec(mesh, node, rules) if is_weight(node) else PartitionSpec()
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), node)

    return jax.tree.map(of_weight, tree, is_leaf=is_weight)


def with_shardings(tree, shardings):
    """Abstract arrays with these shardings."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )


def is_weight(node) -> bool:
    """Whether a node of a tree is a weight with named dimensions."""
    return isinstance(node, nnx.Param)


def weight_spec(mesh, node: nnx.Param, rules: dict) -> PartitionSpec:
    """The layout of a weight, stacked or not, by the names of its dimensions."""
    (leaf,) = jax.tree.leaves(node)
    names = (None,) * (leaf.ndim - len(node.axes)) + tuple(node.axes)
    return spec_by_name(mesh, leaf.shape, names, rules)


def spec_by_name(mesh, shape, names, rules: dict) -> PartitionSpec:
    """The layout of an array whose dimensions carry these names; what does not divide is whole."""
    axes = [rules.get(name) for name in names] + [None] * (len(shape) - len(names))
    fits = [a and n % axis_size(mesh, a) == 0 for a, n in zip(axes, shape, strict=True)]
    return PartitionSpec(*[a if fit else None for a, fit in zip(axes, fits, strict=True)])


def axis_size(mesh, axes: str | tuple[str, ...] | None) -> int:
    """The number of devices along one axis of a mesh, or along several together; None: 1."""
    return math.prod(mesh.shape[axis] for axis in axes_of(axes))


def axes_of(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The axes of the mesh that an entry of a table names."""
    return (axes,) if isinstance(axes, str) else axes or ()


def constrain(tree, axis: str = 'batch'):
    """Every leaf's first dimension on `axis`, if a mesh is in use (jax.set_mesh)."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    spec = PartitionSpec(rules_in_use()[axis])
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec), tree)


def pin(x):
    """x with its first dimension, prompts, split over the batch axes of the mesh in use.

    All other dimensions are left to XLA. Without this XLA would let each device compute the whole
    batch with its share of the weights' `embed` dimension, and add up activations over devices. A
    batch that does not divide, or that one device holds, stays as it is.
    """
    if share_of_batch(x.shape[0]) == x.shape[0]:
        return x
    free = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(rules_in_use()['batch'], *free))


def pin_rows(x_brd):
    """`pin` for activations between layers: their rows are split over the devices of `heads` too.

    Where several devices share the heads of a prompt, each then keeps its share of what the
    backward pass needs of a layer, not all of it. Rows that do not divide stay whole.
    """
    rules, (b, rows, _) = rules_in_use(), x_brd.shape
    if b % batch_devices() or share_of_heads(rows) == rows:
        return pin(x_brd)
    return jax.lax.with_sharding_constraint(x_brd, PartitionSpec(rules['batch'], rules['heads']))


def pin_whole(x_brd):
    """`pin` for what layers multiply by weights: all dimensions but prompts are whole."""
    return _pin_as(x_brd, 'batch')


def pin_heads(x_brnh):
    """`pin` for queries, keys, values and mixed values, split by heads as their weights are."""
    return _pin_as(x_brnh, 'batch', None, 'heads')


def pin_columns(x_brm):
    """`pin` for the columns inside an MLP, split as its weights are."""
    return _pin_as(x_brm, 'batch', None, 'mlp')


def _pin_as(x, *names: str | None):
    """x laid out by the names of its dimensions; as it is where prompts do not divide."""
    if not several_devices() or x.shape[0] % batch_devices():
        return x
    mesh = jax.sharding.get_abstract_mesh()
    return jax.lax.with_sharding_constraint(x, spec_by_name(mesh, x.shape, names, rules_in_use()))


def pin_decoding(x, *names: str | None):
    """x laid out for decoding, its first dimensions by their names; one without a name is whole."""
    if not several_devices():
        return x
    mesh = jax.sharding.get_abstract_mesh()
    return jax.lax.with_sharding_constraint(x, spec_by_name(mesh, x.shape, names, DECODING))


def decoding_layout(tree, dtype):
    """Weights in this dtype, laid out for decoding on the mesh in use; as they are on one device.

    There XLA takes the casts out of the token loop by itself. Weights that are spread over copies
    of the decoding layout too are first gathered from these: XLA would gather them from all.
    """
    if not several_devices():
        return tree
    mesh, rules = jax.sharding.get_abstract_mesh(), rules_in_use()
    embed = tuple(
        axis for axis in axes_of(rules['embed']) if axis not in axes_of(DECODING['batch'])
    )
    within = rules | {'embed': embed or None}

    def of_weight(node):
        for layout in (within, DECODING):
            spec = weight_spec(mesh, node, layout)
            node = jax.tree.map(
                lambda leaf, spec=spec: jax.lax.with_sharding_constraint(leaf.astype(dtype), spec),
                node,
            )
        return node

    return jax.tree.map(of_weight, tree, is_leaf=is_weight)


def gathered(tree, dtype):
    """Weights in this dtype, whole along `embed`, for products with each device's own prompts.

    Gathered where they are used, a layer at a time; their gradients are summed over devices in the
    weights' own dtype and end where the weights lie. As they are where nothing is split.
    """
    if not several_devices():
        return tree
    mesh = jax.sharding.get_abstract_mesh()

    rules = rules_in_use()

    def of_weight(node):
        own = weight_spec(mesh, node, rules)
        whole = weight_spec(mesh, node, rules | {'embed': None})
        if own == whole:
            return node
        return jax.tree.map(lambda leaf: _gather(leaf, dtype, own, whole), node)

    return jax.tree.map(of_weight, tree, is_leaf=is_weight)


def _gather(leaf, dtype, own, whole):
    """A weight that lies as `own`, laid out as `whole`; its gradient lies as `own`."""

    @jax.custom_vjp
    def gather(leaf):
        return jax.lax.with_sharding_constraint(leaf.astype(dtype), whole)

    def backward(_, gradient):
        return (jax.lax.with_sharding_constraint(gradient.astype(leaf.dtype), own),)

    gather.defvjp(lambda leaf: (gather(leaf), None), backward)
    return gather(leaf)


def platform_in_use() -> str:
    """The platform of the mesh in use, or of this machine without one: cpu, gpu or tpu.

    A mesh may be that of a slice which is not here: programs are compiled for it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return jax.default_backend() if mesh.empty else mesh.abstract_device.platform


def several_devices() -> bool:
    """Whether the mesh in use (jax.set_mesh) has more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1


def weight_devices() -> int:
    """How many devices share one copy of the weights; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else axis_size(mesh, DECODING['vocab'])


def vocabulary_shards(v: int) -> int:
    """How many parts v vocabulary rows are in while tokens are decoded; 1 without a mesh."""
    count = weight_devices()
    return 1 if v % count else count


def batch_devices() -> int:
    """How many ways the mesh in use (jax.set_mesh) splits a batch; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else axis_size(mesh, rules_in_use()['batch'])


def share_of_batch(b: int) -> int:
    """How many of b rows a device of the mesh in use has; all, if they do not divide."""
    count = batch_devices()
    return b if b % count else b // count


def share_of_heads(n: int) -> int:
    """How many of n heads a device of the mesh in use has; all, if they do not divide."""
    mesh = jax.sharding.get_abstract_mesh()
    count = 1 if mesh.empty else axis_size(mesh, rules_in_use()['heads'])
    return n if n % count else n // count


def to_devices(mesh, tree):
    """Host arrays of this process's rows of a batch (`run.shares.rows_here`), as global arrays."""
    sharding = named(mesh, 'batch')
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def to_each_device(mesh, tree):
    """Host values that all processes have alike, as global arrays of which each device has all."""
    sharding = named(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def to_host(tree):
    """This process's rows of arrays that are sharded along their first axis, as numpy."""

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
