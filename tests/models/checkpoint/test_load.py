"""Filling a module from checkpoint tensors: names, layouts, stacking, and errors."""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from tiny_folder import SPEC, like

from mer_jax.models.checkpoint.load import fill, load_omni, names
from mer_jax.models.checkpoint.save import planned
from mer_jax.models.layers import Projection, RMSNorm, stack, weight
from mer_jax.sharding import make_mesh, state_shardings


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.norm = RMSNorm(4, 1e-6)
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


@functools.cache
def abstract():
    return jax.eval_shape(lambda: Tiny(nnx.Rngs(0)))


@pytest.fixture
def tiny():
    return jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), abstract())


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


@pytest.mark.parametrize('wanted', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('kept', [np.float32, jnp.bfloat16, np.float16])
def test_values_are_cast_from_the_dtype_of_the_checkpoint(tiny, checkpoint, kept, wanted):
    tiny = jax.tree.map(lambda leaf: leaf.astype(wanted), tiny)
    stored = {name: array.astype(kept) for name, array in checkpoint.items()}
    filled = fill(tiny, stored.__getitem__)
    for found, name in [
        (filled.embed.weight[...], 'embed.weight'),
        (filled.mlp_0.weight[...].T, 'mlp.0.weight'),
        (filled.layers.up.weight[2].reshape(4, 6).T, 'layers.2.up.weight'),
    ]:
        assert found.dtype == wanted
        np.testing.assert_array_equal(found, stored[name].astype(np.float32).astype(wanted))


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


# Folders of a whole Thinker, and damage to them.


@pytest.fixture(scope='module')
def stored():
    """The tensors of a Thinker under their released names, in bfloat16."""
    rng, found = np.random.default_rng(0), {}
    for plan in planned(like(), '', None):
        found[plan.name] = rng.normal(size=plan.shape).astype(jnp.bfloat16)
    return found


@pytest.fixture
def folder(tmp_path, stored):
    save_file(stored, tmp_path / 'model.safetensors')
    return tmp_path


@pytest.fixture(scope='module')
def loaded(stored, tmp_path_factory):
    place = tmp_path_factory.mktemp('stored')
    save_file(stored, place / 'model.safetensors')
    return load_omni(place, like())


def same(omni, other):
    jax.tree.map(np.testing.assert_array_equal, omni, other)
    return True


def released_to_module_names(name):
    if name.startswith(('visual.', 'audio_tower.')):
        return f'model.{name}'
    return name.replace('model.', 'model.language_model.', 1)


def test_a_thinker_is_filled_with_the_tensors_of_the_file(loaded, stored):
    wide = {name: array.astype(np.float32) for name, array in stored.items()}
    found = loaded.decoder.model.layers.self_attn.o_proj.weight[1]
    wanted = wide['model.layers.1.self_attn.o_proj.weight']
    np.testing.assert_array_equal(found.reshape(32, 32), wanted.T)
    found = loaded.visual.patch_embed.proj.weight[...]
    np.testing.assert_array_equal(found, wide['visual.patch_embed.proj.weight'].reshape(16, -1).T)
    found = loaded.audio_tower.conv2.weight[3, 2]
    np.testing.assert_array_equal(found, wide['audio_tower.conv2.weight'][:, 3, 2])
    found = loaded.decoder.model.embed_tokens.weight[...]
    np.testing.assert_array_equal(found, wide['model.embed_tokens.weight'])


@pytest.mark.parametrize('files', [1, 3])
@pytest.mark.parametrize(
    'rename',
    [
        lambda name: name,
        released_to_module_names,
        lambda name: f'thinker.{name}',
        lambda name: f'thinker.{released_to_module_names(name)}',
    ],
    ids=['released', 'module', 'full', 'full_module'],
)
def test_every_layout_of_names_and_files_gives_the_same_thinker(
    tmp_path, stored, loaded, rename, files
):
    arrays = {rename(name): array for name, array in stored.items()}
    arrays['talker.model.norm.weight'] = np.ones(3)
    if files == 1:
        save_file(arrays, tmp_path / 'model.safetensors')
    else:
        names = [f'model-{i}.safetensors' for i in range(files)]
        for i, name in enumerate(names):
            save_file(dict([*arrays.items()][i::files]), tmp_path / name)
        index = {key: names[i % files] for i, key in enumerate(arrays)}
        text = json.dumps({'weight_map': index})
        (tmp_path / 'model.safetensors.index.json').write_text(text)
    assert same(load_omni(tmp_path, like()), loaded)


def test_tensors_of_other_parts_are_skipped_with_a_warning(tmp_path, stored, loaded, caplog):
    more = ('talker.a.weight', 'talker.b.weight', 'token2wav.c.weight')
    unread = 'thinker.audio_tower.audio_bos_eos_token.weight'
    arrays = {f'thinker.{name}': array for name, array in stored.items()}
    arrays |= dict.fromkeys((*more, unread), np.ones(2))
    save_file(arrays, tmp_path / 'model.safetensors')
    assert same(load_omni(tmp_path, like()), loaded)
    (line,) = caplog.messages
    assert '2 of talker.*' in line and '1 of token2wav.*' in line
    assert 'audio_tower' not in line


@pytest.mark.parametrize('shape', [pytest.param((8, 1, 1), marks=pytest.mark.slow), (2, 2, 2)])
def test_a_mesh_gets_the_same_thinker_in_its_shardings(folder, loaded, shape):
    mesh = make_mesh(*shape)
    shardings = state_shardings(mesh, like())
    with jax.set_mesh(mesh):
        omni = load_omni(folder, like(mesh=mesh))
    assert [leaf.sharding for leaf in jax.tree.leaves(omni)] == jax.tree.leaves(shardings)
    assert same(omni, loaded)


def test_a_device_receives_only_the_part_that_it_keeps(stored, monkeypatch):
    sizes, put = [], jax.make_array_from_callback

    def watched(shape, sharding, part):
        return put(shape, sharding, lambda index: sizes.append(part(index).size) or part(index))

    monkeypatch.setattr(jax, 'make_array_from_callback', watched)
    decoder = like(mesh=make_mesh(1, 4, 2)).decoder
    filled = jax.tree.leaves(fill(decoder, stored.__getitem__))
    once, parted = 0, 0
    for leaf in filled:
        if leaf.is_fully_replicated:
            once += leaf.size
        else:
            parted += sum(shard.data.size for shard in leaf.addressable_shards)
    assert sum(sizes) == once + parted
    assert parted < 2 * sum(leaf.size for leaf in filled)  # twice where only fsdp splits it


def test_arrays_do_not_depend_on_the_file(folder, loaded):
    omni = load_omni(folder, like(dtype='bfloat16'))
    before = np.array(omni.decoder.model.embed_tokens.weight[...])
    with (folder / 'model.safetensors').open('r+b') as file:
        file.seek(-20_000, 2)
        file.write(bytes(20_000))
    np.testing.assert_array_equal(omni.decoder.model.embed_tokens.weight[...], before)
    assert same(jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float32), omni), loaded)


def rewritten(folder, **changes):
    """The folder with some tensors of its file replaced, or removed (None)."""
    arrays = load_file(folder / 'model.safetensors') | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    save_file(arrays, folder / 'model.safetensors')
    return folder


def test_a_missing_weight_is_named_with_its_shape_before_anything_is_read(folder, stored):
    name = 'model.layers.1.self_attn.k_proj.weight'
    unreadable = {key: array.astype(np.int8) for key, array in stored.items()}
    rewritten(folder, **unreadable | {name: None, 'visual.merger.ln_q.weight': None})
    with pytest.raises(ValueError, match=rf'{name} \(and 1 more\) .* shape \(16, 32\)') as error:
        load_omni(folder, like())
    assert str(folder) in str(error.value)


def test_a_missing_weight_in_a_file_that_the_index_leaves_out_is_named_with_that_file(
    tmp_path, stored
):
    names = sorted(stored)
    for number, part in enumerate((names[:5], names[5:]), 1):
        save_file({key: stored[key] for key in part}, tmp_path / f'part-{number}.safetensors')
    index = {'weight_map': dict.fromkeys(names[:5], 'part-1.safetensors')}
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    told = r'files \(part-2\.safetensors was not read: model\.safetensors\.index\.json names no'
    with pytest.raises(ValueError, match=told):
        load_omni(tmp_path, like())


def test_a_weight_without_a_place_is_named_with_its_file(folder):
    rewritten(folder, **{'model.layers.2.mlp.up_proj.weight': np.ones((3, 2), np.float32)})
    told = r'model\.safetensors: model\.layers\.2\.mlp\.up_proj\.weight of shape \(3, 2\) has no'
    with pytest.raises(ValueError, match=told):
        load_omni(folder, like())


def test_a_head_in_the_file_of_a_tied_model_has_no_place(folder):
    tied = dataclasses.replace(SPEC, text=dataclasses.replace(SPEC.text, tie_word_embeddings=True))
    with pytest.raises(ValueError, match=r'lm_head\.weight of shape \(64, 32\) has no place'):
        load_omni(folder, like(tied))


@pytest.mark.parametrize(
    ('name', 'found', 'wanted'),
    [
        ('model.norm.weight', (31,), r'\(32,\)'),
        ('model.layers.0.mlp.up_proj.weight', (32, 48), r'\(48, 32\)'),
        ('visual.patch_embed.proj.weight', (16, 3, 2, 2, 3), r'\(16, 24\)'),
        ('lm_head.weight', (63, 32), r'\(64, 32\)'),
    ],
)
def test_a_weight_of_another_shape_is_named_with_both(folder, name, found, wanted):
    rewritten(folder, **{name: np.ones(found, np.float32)})
    told = ', '.join(map(str, found))
    with pytest.raises(ValueError, match=rf'{name} has shape \({told},?\), .*needs {wanted}'):
        load_omni(folder, like())


def test_a_file_that_is_cut_off_is_not_loaded(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r'model\.safetensors is cut off'):
        load_omni(folder, like())


@pytest.mark.slow
def test_loading_needs_little_memory_above_the_arrays():
    script = pathlib.Path(__file__).parents[3] / 'experiments' / 'load_speed.py'
    command = [sys.executable, str(script), '--gigabytes', '0.3']
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert 0.29 < figures['gigabytes'] < 0.31 and figures['array_gb'] > 0.58
    # The embeddings, a tenth of a GB, are the largest tensor that the host may hold.
    assert figures['above_arrays_gb'] - figures['before_gb'] < 0.2
