"""Safetensors folders: reading and writing against the library, and damaged files."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mer_jax.models.checkpoint.safetensors import (
    INDEX,
    SINGLE,
    Plan,
    read_json,
    released_name,
    scan,
    view,
    write_folder,
)


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    return {
        'model.norm.weight': rng.normal(size=4).astype(np.float32),
        'lm_head.weight': rng.normal(size=(5, 4)).astype(jnp.bfloat16),
        'visual.a.weight': rng.normal(size=(2, 3, 4)).astype(np.float16),
        'visual.b.weight': rng.normal(size=(1, 3)).astype(np.float64),
    }


def plans(arrays):
    return [Plan(name, array.shape, array.dtype, array.copy) for name, array in arrays.items()]


def cut_off(path, bytes_lost):
    path.write_bytes(path.read_bytes()[:-bytes_lost])


@pytest.fixture
def sharded(tmp_path):
    write_folder(tmp_path, plans(tensors()), shard_bytes=72)
    return tmp_path


def test_the_library_reads_our_files(tmp_path):
    arrays = tensors()
    write_folder(tmp_path, plans(arrays), shard_bytes=1e9)
    assert [path.name for path in tmp_path.iterdir()] == [SINGLE]
    found = load_file(tmp_path / SINGLE)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safe_open(tmp_path / SINGLE, 'np') as file:
        assert file.metadata() == {'format': 'pt'}


def test_files_of_the_library_are_read(tmp_path):
    arrays = tensors()
    save_file(arrays, tmp_path / SINGLE)
    entries = scan(tmp_path)
    assert entries.keys() == arrays.keys()
    for name, array in arrays.items():
        found = view(entries[name])
        assert found.dtype == array.dtype and not found.flags.writeable
        np.testing.assert_array_equal(found, array)


def test_arrays_in_another_memory_order_are_written_right(tmp_path):
    array = np.arange(6.0).reshape(2, 3).T
    write_folder(tmp_path, [Plan('a', (3, 2), array.dtype, lambda: array)], shard_bytes=1e9)
    np.testing.assert_array_equal(load_file(tmp_path / SINGLE)['a'], array)


def test_files_hold_at_most_the_bytes_allowed_and_the_index_names_each_tensor(sharded):
    arrays, index = tensors(), json.loads((sharded / INDEX).read_text())
    assert sorted(set(index['weight_map'].values())) == [
        'model-00001-of-00002.safetensors',
        'model-00002-of-00002.safetensors',
    ]
    assert index['metadata']['total_size'] == sum(array.nbytes for array in arrays.values())
    for name, file in index['weight_map'].items():
        np.testing.assert_array_equal(load_file(sharded / file)[name], arrays[name])
    for file in set(index['weight_map'].values()):
        assert sum(array.nbytes for array in load_file(sharded / file).values()) <= 72


def test_a_tensor_larger_than_the_limit_gets_a_file_of_its_own(tmp_path):
    write_folder(tmp_path, plans(tensors()), shard_bytes=1)
    assert len(list(tmp_path.glob('*.safetensors'))) == 4
    assert len(scan(tmp_path)) == 4


def test_one_tensor_at_a_time_is_made(tmp_path):
    made = []
    several = [
        Plan(name, (2,), np.dtype('float32'), lambda name=name: made.append(name) or np.ones(2))
        for name in 'abc'
    ]
    with pytest.raises(StopIteration):
        several[1] = Plan('b', (2,), np.dtype('float32'), iter(()).__next__)
        write_folder(tmp_path, several, shard_bytes=1e9)
    assert made == ['a']


@pytest.mark.parametrize(
    ('key', 'name'),
    [
        ('model.layers.0.mlp.up_proj.weight', 'model.layers.0.mlp.up_proj.weight'),
        ('model.language_model.layers.0.mlp.up_proj.weight', 'model.layers.0.mlp.up_proj.weight'),
        ('thinker.model.norm.weight', 'model.norm.weight'),
        ('thinker.model.language_model.norm.weight', 'model.norm.weight'),
        ('model.visual.merger.ln_q.weight', 'visual.merger.ln_q.weight'),
        ('thinker.visual.merger.ln_q.weight', 'visual.merger.ln_q.weight'),
        ('model.audio_tower.conv1.bias', 'audio_tower.conv1.bias'),
        ('thinker.lm_head.weight', 'lm_head.weight'),
        ('talker.model.norm.weight', 'talker.model.norm.weight'),
    ],
)
def test_every_layout_has_the_released_names(key, name):
    assert released_name(key) == name


def test_a_duplicate_weight_is_named_with_both_files(tmp_path):
    arrays = {'model.norm.weight': np.ones(2), 'thinker.model.norm.weight': np.ones(2)}
    save_file(arrays, tmp_path / SINGLE)
    with pytest.raises(ValueError, match='thinker.model.norm.weight .*is the same weight as model'):
        scan(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match='nowhere: there is no such folder'):
        scan(tmp_path / 'nowhere')


def test_an_empty_folder_says_which_files_were_expected(tmp_path):
    with pytest.raises(
        ValueError, match=r'has model\.safetensors or .*index\.json, and this folder has neither'
    ):
        scan(tmp_path)


@pytest.mark.parametrize(
    ('files', 'told'),
    [
        (['pytorch_model.bin'], r'only pytorch_model\.bin, .*unpickled.*save_pretrained'),
        (['consolidated.00.pth'], r'only consolidated\.00\.pth, .*unpickled'),
        ([f'pytorch_model-0000{i}-of-00005.bin' for i in range(1, 6)], '00003.* and 2 more, which'),
        (['Qwen2.5-VL-7B-Q4_K_M.gguf', 'mmproj.gguf'], r'gguf, mmproj\.gguf, .*llama\.cpp'),
    ],
)
def test_weights_of_other_formats_are_refused_with_the_way_to_safetensors(tmp_path, files, told):
    for name in files:
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(ValueError, match=told) as error:
        scan(tmp_path)
    assert 'download the safetensors files' in str(error.value)


def test_a_pointer_of_git_lfs_is_named(sharded):
    pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4\n'
    (sharded / 'model-00002-of-00002.safetensors').write_text(pointer)
    with pytest.raises(ValueError, match=r'00002\.safetensors is a git-lfs pointer .*git lfs pull'):
        scan(sharded)
    (sharded / INDEX).write_text(pointer)
    with pytest.raises(ValueError, match=r'index\.json is a git-lfs pointer'):
        scan(sharded)


def test_a_whole_set_of_files_is_read_without_its_index(sharded):
    (sharded / INDEX).unlink()
    assert scan(sharded).keys() == tensors().keys()
    (sharded / 'model-00001-of-00002.safetensors').unlink()
    with pytest.raises(ValueError, match=r'set of 2: model-00001-of-00002\.safetensors is missing'):
        scan(sharded)


def test_files_of_two_sets_without_an_index_are_refused(sharded):
    (sharded / INDEX).unlink()
    save_file({'a': np.ones(1)}, sharded / 'model-00001-of-00001.safetensors')
    with pytest.raises(ValueError, match='not one whole set of 2: download all of them'):
        scan(sharded)


def test_a_tensor_that_the_index_names_in_another_file_is_named(sharded):
    index = json.loads((sharded / INDEX).read_text())
    index['weight_map']['lm_head.extra'] = 'model-00001-of-00002.safetensors'
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match=r'names lm_head\.extra in model-00001.*not there \(1 such'
    ):
        scan(sharded)


def test_tensors_that_the_index_leaves_out_are_read_from_the_files_that_it_names(sharded):
    index = json.loads((sharded / INDEX).read_text())
    one_of_each = {file: name for name, file in index['weight_map'].items()}
    index['weight_map'] = {name: file for file, name in one_of_each.items()}
    assert len(index['weight_map']) == 2 < len(tensors())
    (sharded / INDEX).write_text(json.dumps(index))
    assert scan(sharded).keys() == tensors().keys()


def test_a_missing_file_of_the_index_is_named(sharded):
    (sharded / 'model-00002-of-00002.safetensors').unlink()
    with pytest.raises(ValueError, match=r'index\.json names model-00002-of-00002.* for 2 tensors'):
        scan(sharded)


@pytest.mark.parametrize(
    'text',
    [
        '{',
        '[]',
        '{}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../b"}}',
        '{"weight_map": {"a": 1}}',
    ],
)
def test_a_damaged_index_is_named(sharded, text):
    (sharded / INDEX).write_text(text)
    with pytest.raises(ValueError, match=r'model\.safetensors\.index\.json'):
        scan(sharded)


def test_a_file_that_is_cut_off_is_named_with_both_sizes(tmp_path):
    write_folder(tmp_path, plans(tensors()), shard_bytes=1e9)
    size = (tmp_path / SINGLE).stat().st_size
    cut_off(tmp_path / SINGLE, 10)
    with pytest.raises(
        ValueError, match=f'visual.b.weight ends at byte {size}, .* has {size - 10}'
    ):
        scan(tmp_path)
    cut_off(tmp_path / SINGLE, size - 30)
    with pytest.raises(ValueError, match='has 20 bytes and should have a header of'):
        scan(tmp_path)


@pytest.mark.parametrize(
    'header',
    [
        b'{"a": 1}',
        b'not json',
        b'[1, 2]',
        b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0.0, 8.0]}}',
        b'{"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        b' "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        pytest.param(b'[' * 100_000, id='deep'),
    ],
)
def test_a_damaged_header_is_named(tmp_path, header):
    (tmp_path / SINGLE).write_bytes(len(header).to_bytes(8, 'little') + header + bytes(8))
    with pytest.raises(ValueError, match=r'model\.safetensors has a damaged header'):
        scan(tmp_path)


def test_json_that_is_nested_too_deeply_is_named(tmp_path):
    (tmp_path / 'config.json').write_text('{"a": ' + '[' * 100_000)
    with pytest.raises(ValueError, match=r'config\.json is not JSON'):
        read_json(tmp_path / 'config.json')


def test_weights_that_are_not_floats_are_refused_when_they_are_read(tmp_path):
    save_file({'model.norm.weight': np.ones(3, np.int8)}, tmp_path / SINGLE)
    with pytest.raises(ValueError, match='model.norm.weight has type I8, and only F64, F32'):
        view(scan(tmp_path)['model.norm.weight'])
