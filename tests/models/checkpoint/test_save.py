"""Exports: every tensor bit by bit, the sizes of files, the files copied, and errors."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file
from tiny_folder import SPEC, TOKENS, assert_same, load, tensors

from mer_jax.models.checkpoint.save import export, hf_config, save_omni
from mer_jax.models.spec import read_spec, read_token_ids
from mer_jax.sharding import make_mesh

UNREAD = 'audio_tower.audio_bos_eos_token.weight'


@pytest.fixture(scope='module')
def omni(tmp_path_factory):
    """A random Thinker, its spec, and the folder that it was saved to."""
    made = tiny.policy(1, SPEC)
    folder = tmp_path_factory.mktemp('saved') / 'omni'
    save_omni(folder, made, hf_config(SPEC, TOKENS))
    return made, SPEC, folder


def test_a_saved_model_is_loaded_bit_by_bit(omni):
    made, spec, folder = omni
    loaded, found = load(folder)
    assert (found, read_token_ids(folder)) == (spec, TOKENS)
    jax.tree.map(np.testing.assert_array_equal, loaded, made)


def test_tensors_have_released_names_and_shapes(omni):
    made, _, folder = omni
    found = load_file(folder / 'model.safetensors')
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes['model.layers.1.self_attn.q_proj.weight'] == (32, 32)
    assert shapes['model.layers.1.self_attn.k_proj.weight'] == (16, 32)
    assert shapes['model.layers.1.self_attn.k_proj.bias'] == (16,)
    assert shapes['visual.patch_embed.proj.weight'] == (16, 3, 2, 2, 2)
    assert shapes['visual.merger.mlp.2.weight'] == (32, 64)
    assert shapes['audio_tower.conv1.weight'] == (16, 6, 3)
    assert shapes[UNREAD] == (2, 32)
    ours = made.audio_tower.conv1.weight[...]  # (in, tap, out)
    np.testing.assert_array_equal(found['audio_tower.conv1.weight'], ours.transpose(2, 0, 1))
    ours = made.decoder.model.layers.mlp.up_proj.weight[1]
    np.testing.assert_array_equal(found['model.layers.1.mlp.up_proj.weight'], ours.T)


def test_a_tensor_that_the_thinker_does_not_use_is_kept(omni, tmp_path):
    loaded, spec, folder = omni
    unread = np.arange(64, dtype=np.float32).reshape(2, 32)
    save_omni(tmp_path / 'source', loaded, hf_config(spec, TOKENS), unread=unread)
    export(tmp_path / 'out', loaded, tmp_path / 'source')
    np.testing.assert_array_equal(tensors(tmp_path / 'out')[UNREAD], unread)
    assert not tensors(folder)[UNREAD].any()


def test_files_hold_at_most_the_bytes_allowed(omni, tmp_path):
    loaded, spec, folder = omni
    save_omni(tmp_path / 'out', loaded, hf_config(spec, TOKENS), shard_bytes=20_000)
    files = sorted((tmp_path / 'out').glob('*.safetensors'))
    sizes = [sum(array.nbytes for array in load_file(path).values()) for path in files]
    assert len(files) > 4 and max(sizes) <= 20_000
    assert_same(tensors(tmp_path / 'out'), tensors(folder))


def test_an_unknown_dtype_is_refused(omni, tmp_path):
    loaded, spec, folder = omni
    with pytest.raises(ValueError, match="dtype='int8' must be one of .*bfloat16"):
        export(tmp_path / 'out', loaded, folder, dtype='int8')


@pytest.mark.slow
def test_no_bit_is_lost_between_meshes(omni, tmp_path):
    *_, folder = omni
    loaded, spec = load(folder, mesh=make_mesh(1, 4, 2))
    export(tmp_path / 'first', loaded, folder)
    other, _ = load(tmp_path / 'first', mesh=make_mesh(2, 2, 2))
    export(tmp_path / 'second', other, folder)
    assert_same(tensors(tmp_path / 'second'), tensors(folder))


@pytest.mark.slow
def test_weights_and_config_have_the_dtype_of_the_call(omni, tmp_path):
    loaded, spec, folder = omni
    export(tmp_path / 'half', loaded, folder, dtype='bfloat16')
    wanted = {name: array.astype(jnp.bfloat16) for name, array in tensors(folder).items()}
    assert_same(tensors(tmp_path / 'half'), wanted)
    assert json.loads((tmp_path / 'half/config.json').read_text())['dtype'] == 'bfloat16'
    again, _ = load(tmp_path / 'half', 'bfloat16')
    export(tmp_path / 'kept', again, folder)  # in the dtype of the leaves, not of the source
    assert_same(tensors(tmp_path / 'kept'), wanted)
    assert json.loads((tmp_path / 'kept/config.json').read_text())['dtype'] == 'bfloat16'


def test_a_full_omni_keeps_its_names_and_turns_speech_output_off(omni, tmp_path):
    loaded, spec, folder = omni
    config = {
        'model_type': 'qwen2_5_omni',
        'enable_audio_output': True,
        'talker_config': {'hidden_size': 8},
        'thinker_config': json.loads((folder / 'config.json').read_text()),
    }
    source = tmp_path / 'source'
    save_omni(source, loaded, config, 'thinker.')
    (source / 'config.json').write_text(json.dumps(config))
    (source / 'spk_dict.pt').write_bytes(b'speakers')
    export(tmp_path / 'out', loaded, source)
    written = json.loads((tmp_path / 'out/config.json').read_text())
    assert written['enable_audio_output'] is False
    assert written['talker_config'] == config['talker_config']
    names = load_file(tmp_path / 'out/model.safetensors')
    assert all(name.startswith('thinker.') for name in names)
    assert (tmp_path / 'out/spk_dict.pt').read_bytes() == b'speakers'
    assert_same(tensors(tmp_path / 'out'), tensors(folder))


def test_a_wrong_flag_of_the_source_is_corrected(omni, tmp_path):
    loaded, spec, _ = omni
    config = hf_config(spec, TOKENS)
    config['tie_word_embeddings'] = config['text_config']['tie_word_embeddings'] = True
    save_omni(tmp_path / 'out', loaded, config)
    written = json.loads((tmp_path / 'out/config.json').read_text())
    assert written['tie_word_embeddings'] is False
    assert written['text_config']['tie_word_embeddings'] is False
    assert config['tie_word_embeddings'] is True  # the argument is not changed


def test_files_of_the_model_are_copied_except_those_that_could_run_code(omni, tmp_path):
    loaded, spec, folder = omni
    source = tmp_path / 'source'
    source.mkdir()
    for path in folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    taken = {
        'tokenizer.json',
        'tokenizer_config.json',
        'vocab.json',
        'merges.txt',
        'chat_template.json',
        'chat_template.jinja',
        'preprocessor_config.json',
        'processor_config.json',
        'video_preprocessor_config.json',
        'generation_config.json',
        'special_tokens_map.json',
        'added_tokens.json',
        'LICENSE',
    }
    left = {
        'modeling.py',
        'tokenizer.py',
        'vocab.bin',
        'spk_dict.pt',
        'optimizer.pt',
        'training_args.bin',
        'README.md',
        'trainer_state.json',
    }
    for name in taken | left:
        (source / name).write_text(name)
    export(tmp_path / 'out', loaded, source)
    held = {path.name for path in (tmp_path / 'out').iterdir()}
    assert held == taken | {'config.json', 'model.safetensors'}
    assert (tmp_path / 'out/merges.txt').read_text() == 'merges.txt'


def test_a_folder_that_is_not_empty_is_left_alone(omni, tmp_path):
    loaded, spec, folder = omni
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='notes.txt exists already: name a new folder'):
        export(tmp_path, loaded, folder)
    with pytest.raises(ValueError, match='notes.txt exists already'):
        export(tmp_path / 'notes.txt', loaded, folder)
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_an_empty_folder_is_filled(omni, tmp_path):
    loaded, spec, folder = omni
    (tmp_path / 'out').mkdir()
    export(tmp_path / 'out', loaded, folder)
    assert_same(tensors(tmp_path / 'out'), tensors(folder))


def test_an_interrupted_export_leaves_nothing(omni, tmp_path, monkeypatch):
    loaded, spec, folder = omni

    def full_disk(*_):
        assert (tmp_path / 'out.partial/model.safetensors').exists()
        raise OSError('no space left')

    monkeypatch.setattr('shutil.copyfile', full_disk)
    config, beside = hf_config(spec, TOKENS), [folder / 'config.json']
    with pytest.raises(OSError, match='no space left'):
        save_omni(tmp_path / 'out', loaded, config, beside=beside)
    assert not list(tmp_path.iterdir())


def test_the_config_of_another_model_is_refused_by_the_first_difference(omni, tmp_path):
    loaded, spec, _ = omni
    config = hf_config(spec, TOKENS)
    config['text_config']['rms_norm_eps'] = 1e-5
    told = 'text.rms_norm_eps=1e-05, and this one has 1e-06'
    with pytest.raises(ValueError, match=told):
        save_omni(tmp_path / 'out', loaded, config)
    with pytest.raises(ValueError, match='seconds_per_chunk=2, and this one has 3'):
        other = loaded.replace(spec=dataclasses.replace(spec, seconds_per_chunk=3))
        save_omni(tmp_path / 'out', other, hf_config(spec, TOKENS))
    assert not list(tmp_path.iterdir())


def test_heads_that_transformers_would_not_compute_are_refused():
    text = dataclasses.replace(SPEC.text, head_dim=16, mrope_section=(2, 2, 4))
    with pytest.raises(ValueError, match='head_dim=16 must be .* = 8'):
        hf_config(dataclasses.replace(SPEC, text=text, audio=None, family='vl'), TOKENS)


def test_folders_may_be_named_by_strings(omni, tmp_path):
    loaded, spec, folder = omni
    export(str(tmp_path / 'out'), loaded, str(folder))
    assert read_spec(str(tmp_path / 'out')) == spec
