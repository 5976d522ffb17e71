"""The mesh, where weights and moments lie on it, and arrays on their way there and back."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from tiny_state import shapes_of_state

from mer_jax.models.layers import constant, weight
from mer_jax.run.checkpoints import by_path
from mer_jax.sharding import (
    RULES,
    batch_devices,
    constrain,
    decoding_layout,
    exact_products,
    make_mesh,
    mesh_shape,
    named,
    pin,
    pin_decoding,
    rules_in_use,
    state_shardings,
    to_devices,
    to_host,
    use_rules,
    vocabulary_shards,
)


@pytest.fixture(scope='module')
def mesh():
    return make_mesh(2, 2, 2)


@pytest.mark.parametrize(
    ('asked', 'shape'),
    [((-1, 1, 1), (8, 1, 1)), ((-1, 2, 2), (2, 2, 2)), ((1, 4, 2), (1, 4, 2))],
)
def test_a_mesh_takes_all_devices_and_data_what_the_others_leave(asked, shape):
    assert tuple(make_mesh(*asked).shape.items()) == tuple(
        zip(('data', 'fsdp', 'tensor'), shape, strict=True)
    )


@pytest.mark.parametrize(
    ('asked', 'devices', 'shape'),
    [
        ((0, -1, 1), 16, (2, 8, 1)),
        ((0, -1, 2), 64, (8, 4, 2)),
        ((0, -1, 1), 8, (1, 8, 1)),
        ((0, -1, 1), 12, (1, 12, 1)),
        ((0, -1, 3), 24, (1, 8, 3)),
        ((0, 4, 1), 16, (4, 4, 1)),
    ],
)
def test_a_mesh_may_have_a_copy_for_every_8_devices(asked, devices, shape):
    assert mesh_shape(*asked, devices) == shape


def test_a_mesh_can_be_of_some_devices():
    some = jax.devices()[2:6]
    mesh = make_mesh(-1, 2, 1, some)
    assert mesh.devices.shape == (2, 2, 1)
    assert set(mesh.devices.flat) == set(some)


@pytest.mark.parametrize('asked', [(3, 1, 1), (2, 2, 1), (-1, 3, 1), (-1, 16, 1), (4, 4, 1)])
def test_a_mesh_that_does_not_fit_names_its_axes_and_the_devices(asked):
    with pytest.raises(ValueError) as raised:
        make_mesh(*asked)
    message = str(raised.value)
    for part in (f'mesh.fsdp={asked[1]}', f'mesh.tensor={asked[2]}', 'devices = 8', '-1'):
        assert part in message


def spec_of(mesh, value):
    return jax.tree.leaves(state_shardings(mesh, value))[0].spec


@pytest.mark.parametrize(
    ('shape', 'axes', 'spec'),
    [
        ((4, 6, 8), 'embed heads _', ('fsdp', 'tensor', None)),
        ((6, 8, 4), 'heads _ embed', ('tensor', None, 'fsdp')),
        ((4, 6), 'embed mlp', ('fsdp', 'tensor')),
        ((6, 4), 'vocab embed', ('tensor', 'fsdp')),
        ((4,), '_', (None,)),
    ],
)
def test_a_weight_lies_where_the_table_puts_its_names(mesh, shape, axes, spec):
    assert spec_of(mesh, weight(nnx.Rngs(params=0), shape, axes)) == PartitionSpec(*spec)


def test_a_dimension_that_its_axis_does_not_divide_is_replicated(mesh):
    value = constant(0.0, (4, 3, 8), 'embed heads _')
    assert spec_of(mesh, value) == PartitionSpec('fsdp', None, None)
    jax.device_put(value, state_shardings(mesh, value))


def test_the_layer_axis_of_stacked_weights_is_not_split(mesh):
    stacked = jax.vmap(lambda key: weight(nnx.Rngs(params=key), (4, 6), 'embed mlp'))(
        jax.random.split(jax.random.key(0), 2)
    )
    assert spec_of(mesh, stacked) == PartitionSpec(None, 'fsdp', 'tensor')


def test_what_is_no_weight_is_replicated(mesh):
    shardings = state_shardings(mesh, {'step': jnp.int32(3), 'table': np.zeros((8, 8))})
    assert [s.spec for s in jax.tree.leaves(shardings)] == [PartitionSpec()] * 2


def test_moments_lie_where_their_weights_lie(mesh):
    state = jax.eval_shape(shapes_of_state)
    shardings = {path: s.spec for path, s in by_path(state_shardings(mesh, state)).items()}
    weights = {
        path.removeprefix('policy.decoder.'): spec
        for path, spec in shardings.items()
        if path.startswith('policy.decoder.')
    }
    for moment in ('.mu.', '.nu.'):
        found = {p.split(moment)[1]: spec for p, spec in shardings.items() if moment in p}
        assert found == weights
    assert sum(any(spec) for spec in weights.values()) > len(weights) / 2


@pytest.mark.parametrize('axes', [(2, 2, 2), (1, 8, 1), (1, 1, 8), (1, 4, 2)])
def test_every_weight_of_a_thinker_fits_every_mesh(axes):
    state = jax.eval_shape(shapes_of_state)
    shardings = by_path(state_shardings(make_mesh(*axes), state))
    shapes = {path: leaf.shape for path, leaf in by_path(state).items()}
    shares = {path: shardings[path].shard_shape(shape) for path, shape in shapes.items()}
    whole = [path for path, share in shares.items() if share == shapes[path]]
    assert 0 < len(whole) < len(shares)


def test_an_update_keeps_weights_and_moments_where_they_are(mesh):
    optimizer = optax.adamw(1e-3)
    weights = {'a': constant(1.0, (4, 6), 'embed mlp'), 'b': constant(2.0, (6,), '_')}
    weights = jax.device_put(weights, state_shardings(mesh, weights))
    moments = optimizer.init(weights)
    shardings = state_shardings(mesh, (weights, moments))

    def update(weights, moments):
        updates, moments = optimizer.update(weights, moments, weights)
        return optax.apply_updates(weights, updates), moments

    updated = jax.jit(update, out_shardings=shardings)(weights, moments)
    assert jax.tree.map(lambda x: x.sharding, updated) == shardings


def test_another_table_places_arrays_elsewhere_and_programs_are_traced_anew(mesh):
    value = weight(nnx.Rngs(params=0), (4, 6), 'embed mlp')
    x = np.ones((8, 4), np.float32)
    run = jax.jit(lambda x: pin(x * 1))
    with jax.set_mesh(mesh):
        shares = [run(x).sharding.shard_shape(x.shape)]
        with use_rules(RULES | {'batch': 'data', 'embed': ('data', 'fsdp'), 'mlp': None}):
            shares.append(run(x).sharding.shard_shape(x.shape))
            assert spec_of(mesh, value) == PartitionSpec(('data', 'fsdp'), None)
            assert batch_devices() == 2
        shares.append(run(x).sharding.shard_shape(x.shape))
    assert [share[0] for share in shares] == [2, 4, 2]
    assert spec_of(mesh, value) == PartitionSpec('fsdp', 'tensor') and rules_in_use() == RULES


def test_named_places_axes_by_their_names(mesh):
    assert named(mesh, 'batch', None, 'heads').spec == PartitionSpec(
        ('data', 'fsdp'), None, 'tensor'
    )


def test_arrays_go_to_the_devices_by_prompts_and_come_back(mesh):
    tree = {'token': np.arange(24, dtype=np.int32).reshape(8, 3), 'mask': np.arange(8) % 3 == 0}
    placed = to_devices(mesh, tree)
    for name, array in placed.items():
        assert array.sharding == NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))
        assert array.addressable_shards[0].data.shape[0] == 2
        back = to_host(array)
        assert type(back) is np.ndarray
        np.testing.assert_array_equal(back, tree[name])
        assert back.dtype == tree[name].dtype


def test_the_share_of_a_process_is_put_together_in_order_and_once(mesh):
    whole = to_devices(mesh, np.arange(24).reshape(8, 3))
    # As if rows 0 to 3 lay with another process; a row lies on both devices of `tensor`.
    mine = [shard for shard in whole.addressable_shards if (shard.index[0].start or 0) >= 4]
    assert len(mine) == 4
    share = types.SimpleNamespace(is_fully_addressable=False, addressable_shards=mine[::-1])
    np.testing.assert_array_equal(to_host([share])[0], np.arange(12, 24).reshape(4, 3))


@pytest.mark.parametrize(('axes', 'count'), [((4, 2, 1), 8), ((2, 2, 2), 4), ((1, 4, 2), 4)])
def test_a_batch_is_split_over_data_and_fsdp_and_not_over_tensor(axes, count):
    assert batch_devices() == 1
    with jax.set_mesh(make_mesh(*axes)):
        assert batch_devices() == count


def test_constrain_splits_by_prompts_under_a_mesh_and_is_nothing_without(mesh):
    tree = {'a': jnp.arange(16.0).reshape(8, 2), 'b': jnp.arange(8)}
    same = constrain(tree)
    assert same is tree
    with jax.set_mesh(mesh):
        split = jax.jit(lambda t: constrain(jax.tree.map(lambda x: x * 1, t)))(tree)
    for name, array in split.items():
        assert array.sharding.shard_shape(array.shape)[0] == 2
        np.testing.assert_array_equal(array, tree[name])


@pytest.mark.parametrize(
    ('axes', 'rows', 'share'), [((2, 2, 2), 8, 2), ((1, 1, 8), 8, 8), ((2, 2, 2), 6, 6)]
)
def test_pinned_activations_are_split_by_prompts_where_these_divide(axes, rows, share):
    x = np.arange(rows * 4.0, dtype=np.float32).reshape(rows, 4)
    assert pin(x) is x
    with jax.set_mesh(make_mesh(*axes)):
        split = jax.jit(lambda x: pin(x * 1))(x)
    assert split.sharding.shard_shape(x.shape)[0] == share
    np.testing.assert_array_equal(split, x)


def test_a_pinned_activation_keeps_its_other_dimensions_where_they_lie(mesh):
    x = jax.device_put(np.ones((8, 6), np.float32), named(mesh, 'batch', 'heads'))
    with jax.set_mesh(mesh):
        assert jax.jit(pin)(x).sharding.shard_shape(x.shape) == (2, 3)


def test_one_device_pins_nothing():
    x = jnp.ones((8, 4))
    weights = {'a': constant(1.0, (4, 6), 'embed mlp')}
    with jax.set_mesh(make_mesh(1, 1, 1, jax.devices()[:1])):
        assert pin(x) is x and pin_decoding(x, 'batch') is x
        assert decoding_layout(weights, 'bfloat16') is weights


@pytest.mark.parametrize(
    ('shape', 'axes', 'share'),
    [
        ((8, 4, 16), 'embed heads width', (8, 2, 8)),
        ((4, 16, 8), 'heads width embed', (2, 8, 8)),
        ((8, 12), 'embed mlp', (8, 3)),
        ((12, 8), 'vocab embed', (3, 8)),
        ((6, 8), 'vocab embed', (6, 8)),  # 6 rows for 4 devices
        ((8,), '_', (8,)),
    ],
)
def test_a_weight_for_decoding_is_split_where_no_sum_crosses_it(mesh, shape, axes, share):
    value = weight(nnx.Rngs(params=0), shape, axes)
    with jax.set_mesh(mesh):
        found = jax.jit(lambda value: decoding_layout(value, 'bfloat16'))(value)[...]
    assert found.dtype == 'bfloat16' and found.sharding.shard_shape(shape) == share
    np.testing.assert_array_equal(found, value[...].astype('bfloat16'))


@pytest.mark.parametrize(
    ('axes', 'rows', 'parts'), [((2, 2, 2), 12, 4), ((8, 1, 1), 12, 1), ((1, 2, 4), 12, 1)]
)
def test_the_vocabulary_is_in_as_many_parts_as_devices_share_it(axes, rows, parts):
    assert vocabulary_shards(rows) == 1
    with jax.set_mesh(make_mesh(*axes)):
        assert vocabulary_shards(rows) == parts


def test_on_a_cpu_products_of_float32_need_no_other_precision():
    mesh = make_mesh(8, 1, 1)
    with exact_products('float32', mesh):
        text = str(jax.make_jaxpr(jnp.matmul)(jnp.ones((2, 2)), jnp.ones((2, 2))))
    assert 'HIGHEST' not in text


@pytest.mark.parametrize(('dtype', 'exact'), [('float32', True), ('bfloat16', False)])
def test_elsewhere_a_float32_model_multiplies_in_float32(dtype, exact):
    chip = types.SimpleNamespace(platform='tpu')
    mesh = types.SimpleNamespace(devices=np.array([chip], object))
    with exact_products(dtype, mesh):
        text = str(jax.make_jaxpr(jnp.matmul)(jnp.ones((2, 2)), jnp.ones((2, 2))))
    assert ('HIGHEST' in text) == exact
