"""FLOPs of the models' matrix products by formula; products that a mask hides are computed and count."""

from mer_jax.models.spec import Spec, TextSpec
from mer_jax.models.vision import window_patches


def layer_flops(spec: TextSpec, tokens: int, keys: int) -> int:
    """2 · tokens · (weights of projections and MLP) + 4 · tokens · keys · n · h of a decoder layer."""
    d, n, k = spec.hidden_size, spec.num_attention_heads, spec.num_key_value_heads
    weights = d * (2 * n + 2 * k) * spec.head_dim + 3 * d * spec.intermediate_size
    return 2 * tokens * weights + 4 * tokens * keys * n * spec.head_dim


def prefill_flops(spec: TextSpec, b: int, t: int) -> int:
    """l − 1 layers of b · t tokens over t keys; the last one stops at keys and values: 4 · d · k · h."""
    last = 4 * b * t * spec.hidden_size * spec.num_key_value_heads * spec.head_dim
    return (spec.num_hidden_layers - 1) * layer_flops(spec, b * t, t) + last


def extend_flops(spec: TextSpec, tokens: int, keys: int) -> int:
    """l layers of branch tokens, each over the prompt's keys and the slots of its own branch."""
    return spec.num_hidden_layers * layer_flops(spec, tokens, keys)


def head_flops(spec: TextSpec, tokens: int) -> int:
    """2 · tokens · d · v."""
    return 2 * tokens * spec.hidden_size * spec.vocab_size


def vision_flops(spec: Spec, patch_bzpx) -> int:
    """2 · patches · weights, and 4 · patches · keys · d of attention, keys = a window or a frame.

    Weights: the patch embedding x · d, a layer's 4 · d² + 3 · d · f, and the merger, which joins
    m = merge² patches: m · d² + d · out per patch.
    """
    b, z, p, x = patch_bzpx.shape
    if not z:
        return 0
    vision = spec.vision
    d, joined = vision.hidden_size, vision.spatial_merge_size**2
    full = sum(i < vision.depth for i in vision.fullatt_block_indexes)
    keys = full * p + (vision.depth - full) * window_patches(vision)
    weights = x * d + vision.depth * (4 * d * d + 3 * d * vision.intermediate_size)
    weights += joined * d * d + d * vision.out_hidden_size
    return b * z * p * (2 * weights + 4 * keys * d)


def audio_flops(spec: Spec, sound_bjfm, tokens: int) -> int:
    """2 · frames · weights, and 4 · frames · keys · d of attention inside a chunk.

    Of f frames the first convolution (3 · m · d) sees all; the second (3 · d²) and the layers
    (4 · d² + 2 · d · ffn) see half; the output projection (d · out) sees the audio tokens of b.
    """
    b, j, f, m = sound_bjfm.shape
    if not j:
        return 0
    audio = spec.audio
    d, half = audio.d_model, f // 2
    layer = 4 * d * d + 2 * d * audio.encoder_ffn_dim
    weights = 6 * m * d + 3 * d * d + audio.encoder_layers * layer
    attention = 4 * audio.encoder_layers * half * d
    return b * j * half * (2 * weights + attention) + 2 * b * tokens * d * audio.output_dim
