"""Tiny random Hugging Face checkpoints of both families, made with `transformers`, for tests."""

import copy
import pathlib

import pytest

torch = pytest.importorskip('torch')

from transformers import (  # noqa: E402, after torch is known to be there
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

TOKENS = {
    'image': 120,
    'video': 121,
    'audio': 122,
    'vision_start': 123,
    'vision_end': 124,
    'audio_start': 125,
    'audio_end': 126,
}

# What differs from BASE. Patches of 14 pixels and 2 frames, and 10 ms mel frames, as released.
BASE = {
    'tied': False,
    'text': {
        'vocab_size': 128,
        'hidden_size': 32,
        'num_hidden_layers': 3,
        'num_attention_heads': 4,
        'num_key_value_heads': 2,
        'intermediate_size': 48,
        'rms_norm_eps': 1e-6,
        'rope_theta': 10_000.0,
        'mrope_section': [1, 1, 2],
    },
    'vision': {
        'hidden_size': 32,
        'depth': 3,
        'num_heads': 2,
        'intermediate_size': 40,
        'window_size': 112,
        'fullatt_block_indexes': [1],
    },
    'audio': {
        'd_model': 32,
        'encoder_layers': 2,
        'encoder_attention_heads': 2,
        'encoder_ffn_dim': 48,
        'n_window': 10,
        'num_mel_bins': 128,
    },
}
VL = {
    'vl_tied': {
        'tied': True,
        'vision': {'rope_parameters': {'rope_type': 'axial', 'rope_theta': 50.0}},
    },
    'vl_narrow_window': {
        'text': {'num_attention_heads': 6, 'num_key_value_heads': 2, 'hidden_size': 96,
                 'mrope_section': [2, 3, 3], 'rope_theta': 1e6, 'num_hidden_layers': 2},
        'vision': {'window_size': 56, 'fullatt_block_indexes': [0, 3], 'depth': 4},
    },
    'vl_wide_heads': {
        'text': {'hidden_size': 64, 'num_key_value_heads': 4, 'mrope_section': [4, 2, 2],
                 'rms_norm_eps': 1e-5},
        'vision': {'window_size': 84, 'hidden_size': 48, 'num_heads': 3, 'depth': 2,
                   'tokens_per_second': 2},
    },
}  # fmt: skip
OMNI = {
    'omni': {},
    'omni_odd_chunk': {
        'text': {'num_attention_heads': 6, 'num_key_value_heads': 2, 'hidden_size': 96,
                 'mrope_section': [2, 3, 3], 'rope_theta': 1e6, 'num_hidden_layers': 2},
        'vision': {'window_size': 56, 'fullatt_block_indexes': [0, 3], 'depth': 4},
        'audio': {'n_window': 13, 'd_model': 24, 'encoder_attention_heads': 3},
    },
    'omni_tied': {
        'tied': True,
        'text': {'num_key_value_heads': 1, 'num_hidden_layers': 4},
        'vision': {'window_size': 84, 'hidden_size': 48, 'num_heads': 3, 'depth': 2},
        'audio': {'n_window': 50, 'encoder_layers': 3},
    },
}  # fmt: skip
SHAPES = VL | OMNI


def make_hf(name: str, seed: int = 0, tokens: dict = TOKENS, vocab_size: int = 128):
    """The float32 model of that shape in eval mode, with random weights; logits have a std of 1.

    An Omni shape makes a Thinker. `tokens` are the ids of the media tokens.
    """
    parts = {part: copy.deepcopy(BASE[part]) for part in ('text', 'vision', 'audio')}
    for part, values in parts.items():
        values |= SHAPES[name].get(part, {})
    text, vision, audio = parts['text'], parts['vision'], parts['audio']
    text['vocab_size'] = vocab_size
    text['rope_parameters'] = {
        'rope_type': 'default',
        'rope_theta': text.pop('rope_theta'),
        'mrope_section': text.pop('mrope_section'),
    }
    vision['out_hidden_size'] = audio['output_dim'] = text['hidden_size']
    tied = SHAPES[name].get('tied', False)
    text['tie_word_embeddings'] = tied
    sections = {'text_config': text, 'vision_config': vision, 'tie_word_embeddings': tied}
    edges = {
        f'{token}_token_id': tokens[token]
        for token in ('vision_start', 'vision_end', 'audio_start', 'audio_end')
    }
    torch.manual_seed(seed)
    if name in VL:
        kinds = {f'{kind}_token_id': tokens[kind] for kind in ('image', 'video')}
        del edges['audio_start_token_id'], edges['audio_end_token_id']
        config = Qwen2_5_VLConfig(**sections, **kinds, **edges)
        model = Qwen2_5_VLForConditionalGeneration(config)
    else:
        kinds = {f'{kind}_token_index': tokens[kind] for kind in ('image', 'video', 'audio')}
        config = Qwen2_5OmniThinkerConfig(**sections, audio_config=audio, **kinds, **edges)
        model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    randomise(model)
    return model.eval()


def make_full_omni(name: str = 'omni', seed: int = 0):
    """A full Omni model with that Thinker, without talker and vocoder."""
    thinker = make_hf(name, seed)
    config = Qwen2_5OmniConfig(thinker_config=thinker.config.to_dict(), enable_audio_output=False)
    full = Qwen2_5OmniForConditionalGeneration(config)
    full.thinker.load_state_dict(thinker.state_dict())
    return full.eval()


@torch.no_grad()
def randomise(model) -> None:
    """Every weight random, none zero or one, so that nothing is hidden; rows of length 1."""
    for weight in model.parameters():
        weight.normal_()
        if weight.ndim > 1:
            weight.mul_(weight[0].numel() ** -0.5)
        else:
            weight.mul_(0.1)
    for name, weight in model.named_parameters():
        if 'norm' in name or 'ln_' in name:
            weight.add_(0.0 if name.endswith('bias') else 1.0)


def save_hf(model, folder: pathlib.Path, dtype: str = 'float32', max_shard_size='5GB') -> None:
    """The model as `transformers` saves it, in that dtype; the model itself is left alone."""
    copied = copy.deepcopy(model).to(getattr(torch, dtype))
    copied.save_pretrained(folder, max_shard_size=max_shard_size)
