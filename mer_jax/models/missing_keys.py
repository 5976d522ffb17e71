"""Values of keys that a config.json leaves out, and tensors by which such a value is checked.

`save_pretrained` of `transformers` leaves out of a nested section each key whose value is the
default of its configuration class. The values are those of transformers 5.24.0, in
models/qwen2_5_vl/configuration_qwen2_5_vl.py and models/qwen2_5_omni/configuration_qwen2_5_omni.py;
a test compares them with the installed version. They are no sizes of a release: the text of
Qwen2.5-VL has those of 72B.
"""

import pathlib

from mer_jax.models.checkpoint.safetensors import Entry

VISION = {
    'depth': 32,
    'hidden_size': 3584,
    'intermediate_size': 3420,
    'num_heads': 16,
    'out_hidden_size': 3584,
    'patch_size': 14,
    'temporal_patch_size': 2,
    'spatial_merge_size': 2,
    'in_channels': 3,
    'hidden_act': 'silu',
    'window_size': 112,
    'fullatt_block_indexes': (7, 15, 23, 31),
}
DEFAULTS = {
    'vl': {
        'text_config': {
            'vocab_size': 152064,
            'hidden_size': 8192,
            'intermediate_size': 29568,
            'num_hidden_layers': 80,
            'num_attention_heads': 64,
            'num_key_value_heads': 8,
            'rms_norm_eps': 1e-5,
            'hidden_act': 'silu',
            'use_sliding_window': False,
        },
        'vision_config': VISION | {'tokens_per_second': 4},
    },
    'omni': {
        'text_config': {
            'vocab_size': 152064,
            'hidden_size': 3584,
            'intermediate_size': 18944,
            'num_hidden_layers': 28,
            'num_attention_heads': 28,
            'num_key_value_heads': 4,
            'rms_norm_eps': 1e-6,
            'hidden_act': 'silu',
            'use_sliding_window': False,
        },
        'vision_config': VISION,
        'audio_config': {
            'd_model': 1280,
            'encoder_layers': 32,
            'encoder_attention_heads': 20,
            'encoder_ffn_dim': 5120,
            'num_mel_bins': 128,
            'n_window': 100,
            'output_dim': 3584,
            'activation_function': 'gelu',
            'scale_embedding': False,
        },
        'Thinker': {'position_id_per_seconds': 25, 'seconds_per_chunk': 2},
    },
}
# Of the rotary settings of either text: not in a class, but taken by the model where it is missing.
MROPE_SECTION, ROPE_THETA = (16, 24, 24), 1e6
# The tensor, under its released name, and its axis that has as many rows as the key says.
ROWS = {
    'text_config': {
        'vocab_size': ('model.embed_tokens.weight', 0),
        'hidden_size': ('model.embed_tokens.weight', 1),
        'intermediate_size': ('model.layers.0.mlp.up_proj.weight', 0),
    },
    'vision_config': {
        'hidden_size': ('visual.patch_embed.proj.weight', 0),
        'intermediate_size': ('visual.blocks.0.mlp.up_proj.weight', 0),
        'out_hidden_size': ('visual.merger.mlp.2.weight', 0),
    },
    'audio_config': {
        'd_model': ('audio_tower.conv1.weight', 0),
        'num_mel_bins': ('audio_tower.conv1.weight', 1),
        'encoder_ffn_dim': ('audio_tower.layers.0.fc1.weight', 0),
        'output_dim': ('audio_tower.proj.weight', 0),
    },
}
# The beginning of the names of all layers, of which there are as many as the key says.
LAYERS = {
    'text_config': ('num_hidden_layers', 'model.layers.'),
    'vision_config': ('depth', 'visual.blocks.'),
    'audio_config': ('encoder_layers', 'audio_tower.layers.'),
}
WAY_OUT = 'take the config.json that belongs to these files, with the key in it'


def refuse_contradicted(
    path: pathlib.Path, name: str, assumed: dict[str, int], entries: dict[str, Entry]
) -> None:
    """Raises ValueError if the tensors have other sizes than the defaults `assumed` of a section.

    `assumed` holds the keys that config.json leaves out. A tensor that is absent contradicts
    nothing.
    """
    for key, (tensor, axis) in ROWS.get(name, {}).items():
        if key in assumed and tensor in entries:
            entry = entries[tensor]
            if entry.shape[axis : axis + 1] != (assumed[key],):
                raise ValueError(
                    f'{path}: {name}: {_assumed(key, assumed)}, but {entry.key} in {entry.path} '
                    f'has shape {entry.shape}: {WAY_OUT}'
                )
    key, prefix = LAYERS.get(name, ('', ''))
    found = {
        tensor.removeprefix(prefix).partition('.')[0]
        for tensor in entries
        if prefix and tensor.startswith(prefix)
    }
    if key in assumed and found and len(found) != assumed[key]:
        raise ValueError(
            f'{path}: {name}: {_assumed(key, assumed)}, but the files have {len(found)} layers '
            f'{prefix}N: {WAY_OUT}'
        )


def _assumed(key: str, assumed: dict[str, int]) -> str:
    """The value taken for a missing key, in words."""
    return f'{key} is missing, for which `transformers` takes {assumed[key]}'
