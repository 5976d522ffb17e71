"""The sizes of the published checkpoints, for a plan that has no checkpoint at hand."""

import dataclasses

from mer_jax.models.spec import AudioSpec, Spec, TextSpec, VisionSpec

SMALL = TextSpec(  # of 3B
    vocab_size=151_936,
    hidden_size=2048,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    head_dim=128,
    intermediate_size=11_008,
    mrope_section=(16, 24, 24),
)
LARGE = TextSpec(  # of 7B
    vocab_size=152_064,
    hidden_size=3584,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    head_dim=128,
    intermediate_size=18_944,
    mrope_section=(16, 24, 24),
)


def omni(text: TextSpec) -> Spec:
    """Qwen2.5-Omni with this decoder."""
    return Spec(text=text, vision=vision(text), audio=audio(text), family='omni')


def vl(text: TextSpec, tied: bool) -> Spec:
    """Qwen2.5-VL with this decoder."""
    text = dataclasses.replace(text, tie_word_embeddings=tied)
    return Spec(text=text, vision=vision(text, fused_qkv=True), audio=None, family='vl')


def vision(text: TextSpec, fused_qkv: bool = False) -> VisionSpec:
    """The vision tower, the same in all checkpoints, before this decoder."""
    return VisionSpec(
        hidden_size=1280,
        depth=32,
        num_heads=16,
        intermediate_size=3420,
        out_hidden_size=text.hidden_size,
        fused_qkv=fused_qkv,
    )


def audio(text: TextSpec) -> AudioSpec:
    """The audio tower, the same in all checkpoints, before this decoder."""
    return AudioSpec(
        d_model=1280,
        encoder_layers=32,
        encoder_attention_heads=20,
        encoder_ffn_dim=5120,
        output_dim=text.hidden_size,
    )


SPECS = {  # by the variant of a config
    'qwen2_5_omni_7b': omni(LARGE),
    'qwen2_5_omni_3b': omni(SMALL),
    'qwen2_5_vl_7b': vl(LARGE, tied=False),
    'qwen2_5_vl_3b': vl(SMALL, tied=True),
}
