"""Filling a module from checkpoint tensors: names, layouts, stacking, and what goes wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mer_jax.models.layers import Projection, RMSNorm, stack, weight
from mer_jax.models.load import fill, names


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.norm = RMSNorm(4)
        self.up = Projection(rngs, (4, 2, 3), 'embed heads _', bias=True)
        self.down = Projection(rngs, (2, 3, 4), 'heads _ embed', inputs=2)


class Table(nnx.Module):
    def __init__(self, rngs):
        self.weight = weight(rngs, (5, 4), 'vocab embed')


class Tiny(nnx.Module):
    def __init__(self, rngs):
        self.embed = Table(rngs)
        self.conv1 = Projection(rngs, (2, 3, 4), '_ _ embed', inputs=2)
        self.layers = stack(Layer, rngs, 3)
        self.mlp_0 = Projection(rngs, (4, 6), 'embed mlp', bias=True)


STORED = {
    'embed.weight': (5, 4),
    'conv1.weight': (4, 2, 3),
    'mlp.0.weight': (6, 4),
    'mlp.0.bias': (6,),
    **{f'layers.{i}.norm.weight': (4,) for i in range(3)},
    **{f'layers.{i}.up.weight': (6, 4) for i in range(3)},
    **{f'layers.{i}.up.bias': (6,) for i in range(3)},
    **{f'layers.{i}.down.weight': (4, 6) for i in range(3)},
}


def abstract():
    return jax.eval_shape(lambda: Tiny(nnx.Rngs(0)))


@pytest.fixture
def tiny():
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract())


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in STORED.items()}


def test_the_names_are_those_of_the_checkpoint_each_once(tiny):
    assert sorted(names(tiny)) == sorted(STORED)
    assert sorted(names(tiny, 'visual.')) == sorted(f'visual.{name}' for name in STORED)


def test_fill_reads_exactly_the_names(tiny, checkpoint):
    read = []
    fill(tiny, lambda name: read.append(name) or checkpoint[name.removeprefix('a.')], 'a.')
    assert read == names(tiny, 'a.')


def test_embeddings_and_norms_stay_as_they_are(tiny, checkpoint):
    filled = fill(tiny, checkpoint.__getitem__)
    np.testing.assert_array_equal(filled.embed.weight[...], checkpoint['embed.weight'])
    np.testing.assert_array_equal(filled.layers.norm.weight[1], checkpoint['layers.1.norm.weight'])


def test_a_projection_to_heads_is_the_checkpoints_matrix_product(tiny, checkpoint):
    filled = fill(tiny, checkpoint.__getitem__)
    layer = jax.tree.map(lambda leaf: leaf[2], filled.layers)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    matrix, bias = checkpoint['layers.2.up.weight'], checkpoint['layers.2.up.bias']
    np.testing.assert_allclose(layer.up(x).reshape(2, 6), x @ matrix.T + bias, rtol=1e-6)
    y = np.arange(6, dtype=np.float32)
    wanted = checkpoint['layers.2.down.weight'] @ y
    np.testing.assert_allclose(layer.down(y.reshape(2, 3)), wanted, rtol=1e-6)


def test_a_convolution_keeps_its_taps_beside_their_channel(tiny, checkpoint):
    filled = fill(tiny, checkpoint.__getitem__)
    np.testing.assert_array_equal(filled.conv1.weight[1, 2], checkpoint['conv1.weight'][:, 1, 2])


def test_a_number_ends_an_attribute_after_an_underscore(tiny, checkpoint):
    filled = fill(tiny, checkpoint.__getitem__)
    np.testing.assert_array_equal(filled.mlp_0.weight[...], checkpoint['mlp.0.weight'].T)


def test_a_module_without_values_can_be_filled(tiny, checkpoint):
    filled, wanted = (fill(module, checkpoint.__getitem__) for module in (abstract(), tiny))
    assert jax.tree.structure(filled) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, filled, wanted)


def test_weights_keep_their_dtype_and_the_old_module_its_values(tiny, checkpoint):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tiny)
    before = np.array(half.embed.weight[...])
    filled = fill(half, checkpoint.__getitem__)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(filled))
    np.testing.assert_array_equal(half.embed.weight[...], before)
    assert not np.array_equal(filled.embed.weight[...], before)


def test_weights_keep_their_sharding(tiny, checkpoint):
    mesh = jax.make_mesh((1,), ('fsdp',), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.NamedSharding(mesh, jax.P())
    filled = fill(jax.device_put(tiny, sharding), checkpoint.__getitem__)
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(filled))


def test_a_missing_tensor_is_named_with_the_shape_it_should_have(tiny, checkpoint):
    del checkpoint['layers.1.up.weight']
    with pytest.raises(ValueError, match=r'layers\.1\.up\.weight is not .* shape \(6, 4\)'):
        fill(tiny, checkpoint.__getitem__)


@pytest.mark.parametrize(
    ('name', 'found', 'wanted'),
    [
        ('layers.0.down.weight', (4, 5), (4, 6)),
        ('layers.0.down.weight', (6, 4), (4, 6)),
        ('mlp.0.bias', (7,), (6,)),
        ('embed.weight', (6, 4), (5, 4)),
        ('embed.weight', (4, 5), (5, 4)),
        ('conv1.weight', (4, 2, 5), (4, 6)),
    ],
)
def test_a_wrong_shape_is_named_with_both_shapes(tiny, checkpoint, name, found, wanted):
    checkpoint[name] = np.zeros(found, np.float32)
    with pytest.raises(ValueError) as error:
        fill(tiny, checkpoint.__getitem__)
    assert name in str(error.value)
    assert str(found) in str(error.value) and str(wanted) in str(error.value)
