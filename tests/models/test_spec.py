"""Sizes and token ids from config.json in its several styles, and values that are refused."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mer_jax.models.missing_keys import DEFAULTS
from mer_jax.models.spec import (
    AudioSpec,
    Spec,
    TextSpec,
    VisionSpec,
    read_spec,
    read_token_ids,
)
from mer_jax.models.vision import window_patches

# Qwen2.5-VL-7B as released: text at the root.
FLAT = {
    'model_type': 'qwen2_5_vl',
    'vision_start_token_id': 151652,
    'vision_end_token_id': 151653,
    'image_token_id': 151655,
    'video_token_id': 151656,
    'hidden_act': 'silu',
    'hidden_size': 3584,
    'intermediate_size': 18944,
    'max_window_layers': 28,
    'num_attention_heads': 28,
    'num_hidden_layers': 28,
    'num_key_value_heads': 4,
    'rms_norm_eps': 1e-06,
    'rope_theta': 1000000.0,
    'sliding_window': 32768,
    'tie_word_embeddings': False,
    'torch_dtype': 'bfloat16',
    'use_sliding_window': False,
    'rope_scaling': {'type': 'mrope', 'mrope_section': [16, 24, 24]},
    'vocab_size': 152064,
    'vision_config': {
        'depth': 32,
        'hidden_act': 'silu',
        'hidden_size': 1280,
        'intermediate_size': 3420,
        'num_heads': 16,
        'in_chans': 3,
        'out_hidden_size': 3584,
        'patch_size': 14,
        'spatial_merge_size': 2,
        'spatial_patch_size': 14,
        'window_size': 112,
        'fullatt_block_indexes': [7, 15, 23, 31],
        'tokens_per_second': 2,
        'temporal_patch_size': 2,
    },
}
TEXT = {key: FLAT[key] for key in (
    'hidden_act', 'hidden_size', 'intermediate_size', 'num_attention_heads', 'num_hidden_layers',
    'num_key_value_heads', 'rms_norm_eps', 'use_sliding_window', 'vocab_size',
)}  # fmt: skip
# The same model in nested sections, as transformers 4.5x and 5.x write it.
NESTED = {key: value for key, value in FLAT.items() if key not in TEXT and 'rope' not in key} | {
    'text_config': TEXT
    | {
        'model_type': 'qwen2_5_vl_text',
        'rope_theta': 1000000.0,
        'rope_scaling': {'mrope_section': [16, 24, 24], 'rope_type': 'default', 'type': 'default'},
    }
}
NEWEST = NESTED | {
    'text_config': TEXT
    | {
        'rope_parameters': {
            'mrope_section': [16, 24, 24],
            'rope_theta': 1000000.0,
            'rope_type': 'default',
        },
        'layer_types': ['full_attention'] * 28,
        'tie_word_embeddings': True,  # wrong in the wild
    },
    'vision_config': FLAT['vision_config']
    | {'in_channels': 3, 'rope_parameters': {'rope_type': 'axial', 'rope_theta': 10000.0}},
}
VL_7B = Spec(
    text=TextSpec(
        vocab_size=152064,
        hidden_size=3584,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        head_dim=128,
        intermediate_size=18944,
        mrope_section=(16, 24, 24),
        rope_theta=1e6,
        rms_norm_eps=1e-6,
    ),
    vision=VisionSpec(
        hidden_size=1280,
        depth=32,
        num_heads=16,
        intermediate_size=3420,
        out_hidden_size=3584,
        fused_qkv=True,
    ),
    audio=None,
    family='vl',
)
# The Thinker of Qwen2.5-Omni-7B as released.
THINKER = {
    'model_type': 'qwen2_5_omni_thinker',
    'audio_config': {
        'activation_function': 'gelu',
        'd_model': 1280,
        'encoder_attention_heads': 20,
        'encoder_ffn_dim': 5120,
        'encoder_layers': 32,
        'model_type': 'qwen2_5_omni_audio_encoder',
        'n_window': 100,
        'num_mel_bins': 128,
        'output_dim': 3584,
        'scale_embedding': False,
    },
    'audio_end_token_id': 151648,
    'audio_start_token_id': 151647,
    'audio_token_index': 151646,
    'image_token_index': 151655,
    'position_id_per_seconds': 25,
    'seconds_per_chunk': 2,
    'text_config': NESTED['text_config'] | {'model_type': 'qwen2_5_omni_text'},
    'video_token_index': 151656,
    'vision_config': FLAT['vision_config'] | {'embed_dim': 1280, 'tokens_per_second': 25},
    'vision_end_token_id': 151653,
    'vision_start_token_id': 151652,
    'vision_token_id': 151654,
}
FULL = {
    'model_type': 'qwen2_5_omni',
    'enable_audio_output': True,
    'talker_config': {'hidden_size': 896},
    'thinker_config': THINKER,
}
OMNI_7B = dataclasses.replace(
    VL_7B,
    vision=dataclasses.replace(VL_7B.vision, fused_qkv=False),
    audio=AudioSpec(
        d_model=1280,
        encoder_layers=32,
        encoder_attention_heads=20,
        encoder_ffn_dim=5120,
        output_dim=3584,
    ),
    family='omni',
)


@pytest.fixture
def write(tmp_path):
    def write(config, *names):
        (tmp_path / 'config.json').write_text(json.dumps(config))
        save_file({name: np.ones(1) for name in names}, tmp_path / 'model.safetensors')
        return tmp_path

    return write


def changed(config, key, value):
    """The config with another value at a dotted key; None removes the key."""
    config = json.loads(json.dumps(config))
    *outer, last = key.split('.')
    section = config
    for name in outer:
        section = section[name]
    section[last] = value
    if value is None:
        del section[last]
    return config


@pytest.mark.parametrize('config', [FLAT, NESTED, NEWEST], ids=['flat', 'nested', 'newest'])
def test_every_style_of_qwen_vl_describes_the_same_model(write, config):
    assert read_spec(write(config, 'lm_head.weight')) == VL_7B


@pytest.mark.parametrize('config', [THINKER, FULL], ids=['thinker', 'full'])
def test_a_thinker_is_the_same_alone_and_in_a_full_omni(write, config):
    name = 'lm_head.weight' if config is THINKER else 'thinker.lm_head.weight'
    assert read_spec(write(config, name)) == OMNI_7B


@pytest.mark.parametrize('flag', [True, False])
@pytest.mark.parametrize('tied', [True, False])
def test_the_head_is_tied_if_the_files_have_none_whatever_the_flag(write, flag, tied):
    config = changed(NESTED, 'tie_word_embeddings', flag)
    names = ['model.embed_tokens.weight', *([] if tied else ['lm_head.weight'])]
    assert read_spec(write(config, *names)).text.tie_word_embeddings == tied


def test_dtype_and_remat_are_those_of_the_call(write):
    spec = read_spec(write(FLAT, 'lm_head.weight'), 'bfloat16', remat=True)
    assert spec == dataclasses.replace(VL_7B, dtype='bfloat16', remat=True)


def test_missing_keys_have_the_defaults_of_transformers(write):
    config = changed(NESTED, 'vision_config.tokens_per_second', None)
    config = changed(config, 'text_config.rms_norm_eps', None)
    spec = read_spec(write(config, 'lm_head.weight'))
    assert (spec.tokens_per_second, spec.text.rms_norm_eps) == (4, 1e-5)
    config = changed(THINKER, 'text_config.rms_norm_eps', None)
    config = changed(config, 'seconds_per_chunk', None)
    spec = read_spec(write(config, 'lm_head.weight'))
    assert (spec.seconds_per_chunk, spec.text.rms_norm_eps) == (2, 1e-6)
    config = changed(FLAT, 'rope_scaling', None)
    assert read_spec(write(config, 'lm_head.weight')).text.mrope_section == (16, 24, 24)


def test_a_vision_config_as_transformers_4_49_writes_it_is_that_of_the_release(write):
    sparse = {
        'hidden_size': 1280,
        'in_chans': 3,
        'model_type': 'qwen2_5_vl',
        'spatial_patch_size': 14,
        'tokens_per_second': 2,
    }
    assert read_spec(write(FLAT | {'vision_config': sparse}, 'lm_head.weight')) == VL_7B


def test_a_thinker_without_keys_that_equal_the_defaults_is_that_of_the_release(write):
    config = THINKER | {
        'text_config': {
            'model_type': 'qwen2_5_omni_text',
            'rope_parameters': {'mrope_section': [16, 24, 24], 'rope_type': 'default'},
        },
        'vision_config': {'hidden_size': 1280, 'model_type': 'qwen2_5_omni_vision_encoder'},
        'audio_config': {'model_type': 'qwen2_5_omni_audio_encoder'},
    }
    assert read_spec(write(config, 'lm_head.weight')) == OMNI_7B


def test_text_without_sizes_has_those_of_72b(write):
    config = {key: value for key, value in NESTED.items() if key != 'text_config'} | {
        'text_config': {'model_type': 'qwen2_5_vl_text', 'rms_norm_eps': 1e-6},
        'vision_config': FLAT['vision_config'] | {'out_hidden_size': 8192},
    }
    text = read_spec(write(config, 'lm_head.weight')).text
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (8192, 80, 64)
    assert (text.num_key_value_heads, text.head_dim, text.intermediate_size) == (8, 128, 29568)


@pytest.mark.parametrize('config', [FLAT, NESTED])
def test_key_heads_that_are_null_are_as_many_as_heads_and_missing_ones_as_in_transformers(
    write, config
):
    section = config if config is FLAT else config['text_config']
    null = json.loads(json.dumps(config))
    (null if config is FLAT else null['text_config'])['num_key_value_heads'] = None
    assert section['num_attention_heads'] == 28
    assert read_spec(write(null, 'lm_head.weight')).text.num_key_value_heads == 28
    prefix = '' if config is FLAT else 'text_config.'
    missing = changed(config, f'{prefix}num_key_value_heads', None)
    with pytest.raises(ValueError, match='num_key_value_heads is missing, .*takes 8, and must div'):
        read_spec(write(missing, 'lm_head.weight'))


@pytest.mark.parametrize(
    ('section', 'key', 'tensor', 'shape', 'told'),
    [
        ('vision_config', 'intermediate_size', 'visual.blocks.0.mlp.up_proj.weight', (3456, 1280),
         r'intermediate_size is missing, .*takes 3420, but model\.visual.* has shape \(3456, 1280'),
        ('vision_config', 'depth', 'visual.blocks.0.norm1.weight', (1280,), 'have 1 layers visual'),
        ('text_config', 'vocab_size', 'model.embed_tokens.weight', (151936, 2), '152064, but'),
        ('audio_config', 'encoder_ffn_dim', 'audio_tower.layers.0.fc1.weight', (8, 1280), '5120'),
    ],
)  # fmt: skip
def test_tensors_that_contradict_a_default_are_named(tmp_path, section, key, tensor, shape, told):
    config = THINKER if section == 'audio_config' else NESTED
    (tmp_path / 'config.json').write_text(json.dumps(changed(config, f'{section}.{key}', None)))
    stored = f'model.{tensor}' if tensor.startswith('visual.') else tensor
    save_file({stored: np.zeros(shape, np.float16)}, tmp_path / 'model.safetensors')
    with pytest.raises(ValueError, match=told) as error:
        read_spec(tmp_path)
    assert f'config.json: {section}: {key} is missing' in str(error.value)


@pytest.mark.parametrize('windows', [False, True, None])
def test_layers_that_all_say_full_attention_are_accepted_whatever_the_flag(write, windows):
    config = changed(NEWEST, 'text_config.use_sliding_window', windows)
    assert read_spec(write(config, 'lm_head.weight')) == VL_7B


@pytest.mark.parametrize(('before', 'now'), [('torch_dtype', 'dtype'), ('dtype', 'torch_dtype')])
def test_the_dtype_of_the_file_has_either_name_and_decides_nothing(write, before, now):
    config = {key: value for key, value in FLAT.items() if key != before} | {now: 'float16'}
    assert read_spec(write(config, 'lm_head.weight')) == VL_7B


def test_defaults_are_those_of_the_installed_transformers():
    transformers = pytest.importorskip('transformers')
    kinds = {
        ('vl', 'text_config'): 'Qwen2_5_VLTextConfig',
        ('omni', 'text_config'): 'Qwen2_5OmniTextConfig',
        ('omni', 'audio_config'): 'Qwen2_5OmniAudioEncoderConfig',
        ('omni', 'Thinker'): 'Qwen2_5OmniThinkerConfig',
    }
    made = {at: getattr(transformers, name)() for at, name in kinds.items()}
    made['vl', 'vision_config'] = transformers.Qwen2_5_VLConfig().vision_config
    made['omni', 'vision_config'] = made['omni', 'Thinker'].vision_config
    for (family, section), theirs in made.items():
        for key, value in DEFAULTS[family][section].items():
            found = getattr(theirs, key)
            assert (tuple(found) if isinstance(found, list) else found) == value, (section, key)
    assert {(family, name) for family, ours in DEFAULTS.items() for name in ours} == made.keys()


# Without these, the default of one key does not fit the others of a release.
TOGETHER = ('hidden_size', 'num_attention_heads', 'num_key_value_heads', 'out_hidden_size')


@pytest.mark.parametrize('seed', range(12))
def test_whichever_keys_are_missing_the_sizes_are_those_of_transformers(write, seed):
    transformers = pytest.importorskip('transformers')
    draw = np.random.default_rng(seed)
    config = json.loads(json.dumps([FLAT, NESTED, NEWEST, THINKER][seed % 4]))
    names = [name for name in ('text_config', 'vision_config', 'audio_config') if name in config]
    for name in names:
        removable = sorted(config[name].keys() - {'rope_scaling', *TOGETHER})
        for key in draw.choice(removable, 4, replace=False):
            del config[name][key]
    folder = write(config, 'lm_head.weight')
    kind = transformers.Qwen2_5OmniThinkerConfig if seed % 4 == 3 else transformers.Qwen2_5_VLConfig
    ours, theirs = read_spec(folder), kind.from_pretrained(folder)
    pairs = [(ours.text, theirs.text_config), (ours.vision, theirs.vision_config)]
    for spec, wanted in [*pairs, *([(ours.audio, theirs.audio_config)] if ours.audio else [])]:
        for field in dataclasses.fields(spec):
            if field.type is int and field.name != 'head_dim':
                assert getattr(spec, field.name) == getattr(wanted, field.name), field.name


def test_position_rates_are_read_from_the_file(write):
    config = changed(THINKER, 'seconds_per_chunk', 3)
    config = changed(config, 'position_id_per_seconds', 10)
    spec = read_spec(write(config, 'lm_head.weight'))
    assert (spec.seconds_per_chunk, spec.position_id_per_seconds) == (3, 10)
    config = changed(FLAT, 'vision_config.tokens_per_second', 5)
    assert read_spec(write(config, 'lm_head.weight')).tokens_per_second == 5


def test_a_head_width_in_the_file_is_kept(write):
    config = changed(THINKER, 'text_config.head_dim', 64)
    config = changed(config, 'text_config.rope_scaling.mrope_section', [8, 12, 12])
    assert read_spec(write(config, 'lm_head.weight')).text.head_dim == 64


@pytest.mark.parametrize('rope', ['rope_parameters', 'rope_scaling'])
@pytest.mark.parametrize('kind', ['default', 'axial'])
def test_the_vision_tower_has_a_theta_of_its_own(write, rope, kind):
    config = changed(NESTED, f'vision_config.{rope}', {'rope_theta': 50.0, 'rope_type': kind})
    spec = read_spec(write(config, 'lm_head.weight'))
    assert (spec.vision.rope_theta, spec.text.rope_theta) == (50.0, 1e6)
    config = changed(NESTED, 'vision_config.rope_theta', 70)
    assert read_spec(write(config, 'lm_head.weight')).vision.rope_theta == 70.0


def test_a_window_is_rounded_down_to_whole_cells_as_in_transformers(write):
    config = changed(FLAT, 'vision_config.window_size', 100)
    assert window_patches(read_spec(write(config, 'lm_head.weight')).vision) == 6 * 6


def test_full_attention_beyond_the_depth_is_accepted_as_in_transformers(write):
    shallow = changed(FLAT, 'vision_config.depth', 4)
    assert read_spec(write(shallow, 'lm_head.weight')).vision.fullatt_block_indexes == (
        7,
        15,
        23,
        31,
    )


def test_a_null_value_counts_as_a_missing_key(write):
    config = json.loads(json.dumps(FLAT)) | {'head_dim': None, 'rope_parameters': None}
    config['vision_config']['rope_parameters'] = None
    assert read_spec(write(config, 'lm_head.weight')) == VL_7B


def test_token_ids_have_the_names_of_a_layout(write):
    vision = {'image': 151655, 'video': 151656, 'vision_start': 151652, 'vision_end': 151653}
    audio = {'audio': 151646, 'audio_start': 151647, 'audio_end': 151648}
    assert read_token_ids(write(FLAT)) == vision
    assert read_token_ids(write(NEWEST)) == vision
    assert read_token_ids(write(FULL)) == vision | audio
    config = changed(THINKER, 'image_token_index', None) | {'image_token_id': 7}
    assert read_token_ids(write(changed(config, 'vision_end_token_id', None))) == vision | audio | {
        'image': 7
    }


def test_a_token_id_beyond_the_vocabulary_is_refused(write):
    with pytest.raises(ValueError, match='config.json: video_token_index=152064 .*=152064'):
        read_token_ids(write(changed(THINKER, 'video_token_index', 152064)))
    with pytest.raises(ValueError, match=r'image_token_id \(absent\)=151655 .* vocab_size=600'):
        small = changed(FLAT, 'image_token_id', None)
        read_token_ids(write(changed(small, 'vocab_size', 600)))


@pytest.mark.parametrize(('key', 'value'), [('image_token_id', 151656), ('video_token_id', 151652)])
def test_two_media_tokens_of_one_id_are_refused(write, key, value):
    with pytest.raises(ValueError, match=f'config.json: .*={value} must be .* no other media'):
        read_token_ids(write(changed(FLAT, key, value)))


@pytest.mark.parametrize(
    ('config', 'key', 'value', 'told'),
    [
        (FLAT, 'model_type', 'qwen3_vl', "model_type='qwen3_vl' .*qwen2_5_omni"),
        (FLAT, 'model_type', None, 'model_type=None'),
        (FLAT, 'hidden_size', None, 'hidden_size is missing, .*takes 8192, and must be .*=28'),
        (FLAT, 'num_hidden_layers', '28', "num_hidden_layers='28' must be a whole number"),
        (FLAT, 'hidden_act', 'gelu', "hidden_act='gelu' must be 'silu'"),
        (FLAT, 'use_sliding_window', True, 'use_sliding_window=True must be False'),
        (FLAT, 'rope_scaling.type', 'yarn', "type='yarn' must be 'default' or 'mrope'"),
        (FLAT, 'rope_scaling.mrope_section', [16, 24, 20], r'\[16, 24, 20\] .*head_dim / 2 = 64'),
        (FLAT, 'rope_scaling.mrope_section', [32, 32], r'\[32, 32\] must be three'),
        (FLAT, 'head_dim', 64, r'mrope_section=\[16, 24, 24\] must be three .*head_dim / 2 = 32'),
        (FLAT, 'use_sliding_window', 1, 'use_sliding_window=1 must be False'),
        (
            NEWEST,
            'text_config.layer_types',
            ['full_attention'] * 20 + ['sliding_attention'] * 8,
            r"'full_attention': 20, 'sliding_attention': 8\} must .* use_sliding_window=False",
        ),
        (NEWEST, 'text_config.layer_types', ['full_attention'] * 27, "'full_attention': 27"),
        (NEWEST, 'text_config.layer_types', 'full_attention', "layer_types='full_attention' must"),
        (FLAT, 'num_key_value_heads', 3, 'num_key_value_heads=3 must divide 28 heads'),
        (FLAT, 'vision_config', None, 'vision_config must be a section, and is None'),
        (FLAT, 'vision_config.hidden_act', 'gelu', "hidden_act='gelu' must be 'silu'"),
        (FLAT, 'vision_config.out_hidden_size', 2048, 'out_hidden_size=2048 must be 3584'),
        (NEWEST, 'vision_config.rope_parameters.rope_type', 'yarn', "'yarn' must be .*'axial'"),
        (FLAT, 'rope_scaling', [1], r'rope_scaling must be a section, and is \[1\]'),
        (FLAT, 'rope_scaling.mrope_section', [-2, 33, 33], 'whole numbers, none below 0'),
        (FLAT, 'rope_scaling.mrope_section', [16.0, 24, 24], r'\[16.0, 24, 24\] must be a list'),
        (FLAT, 'rope_scaling.mrope_section', [16, 24, 'x'], "24, 'x'] must be a list of whole"),
        (FLAT, 'rope_theta', 0, 'rope_theta=0 must be a number above 0'),
        (FLAT, 'rope_theta', 'big', "rope_theta='big' must be a number above 0"),
        (FLAT, 'rms_norm_eps', 'x', "rms_norm_eps='x' must be a number above 0"),
        (FLAT, 'rms_norm_eps', -1e-6, 'rms_norm_eps=-1e-06 must be a number above 0'),
        (FLAT, 'hidden_size', 10**40, 'must be a whole number above 0 and at most'),
        (FLAT, 'rms_norm_eps', 10**40, 'must be a number above 0 and at most'),
        (FLAT, 'head_dim', 128.0, 'head_dim=128.0 must be a whole number above 0'),
        (FLAT, 'vision_config.in_chans', 1, 'in_chans=1 must be 3'),
        (FLAT, 'vision_config.spatial_merge_size', 1, 'spatial_merge_size=1 must be 2'),
        (FLAT, 'vision_config.window_size', 27, 'window_size=27 must be at least a cell, 28'),
        (FLAT, 'vision_config.num_heads', 3, 'num_heads=3 times four must divide .*=1280'),
        (FLAT, 'vision_config.fullatt_block_indexes', [-1], 'whole numbers, none below 0'),
        (FLAT, 'vision_config.fullatt_block_indexes', 'x', "='x' must be a list of whole numbers"),
        (FLAT, 'vision_config.tokens_per_second', 0, 'tokens_per_second=0 must be a whole number'),
        (THINKER, 'position_id_per_seconds', 'x', "position_id_per_seconds='x' must be a whole"),
        (THINKER, 'position_id_per_seconds', -5, 'position_id_per_seconds=-5 must be a whole'),
        (THINKER, 'seconds_per_chunk', 0, 'seconds_per_chunk=0 must be a whole number'),
        (THINKER, 'seconds_per_chunk', 1.5, 'seconds_per_chunk=1.5 must be a whole number'),
        (THINKER, 'text_config', None, 'text_config must be a section, and is None'),
        (THINKER, 'text_config.rope_scaling.rope_type', 'yarn', "rope_type='yarn' must be"),
        (THINKER, 'audio_config', None, 'audio_config must be a section'),
        (THINKER, 'audio_config.scale_embedding', True, 'scale_embedding=True must be False'),
        (THINKER, 'audio_config.output_dim', 1, 'output_dim=1 must be 3584'),
        (FULL, 'thinker_config', None, 'thinker_config is missing'),
    ],
)
def test_an_unsupported_value_is_refused_by_its_key(write, config, key, value, told):
    folder = write(changed(config, key, value), 'lm_head.weight')
    with pytest.raises(ValueError, match=told) as error:
        read_spec(folder)
    assert str(folder / 'config.json') in str(error.value)


def test_a_folder_without_config_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'nowhere/config\.json: there is no such file'):
        read_spec(tmp_path / 'nowhere')


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type"')
    save_file({'lm_head.weight': np.ones(1)}, tmp_path / 'model.safetensors')
    with pytest.raises(ValueError, match=r'config\.json is not JSON'):
        read_spec(tmp_path)
