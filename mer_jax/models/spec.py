"""The sizes of a model as frozen dataclasses; field names follow the checkpoints' config.json."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TextSpec:
    """The decoder (Qwen2): `mrope_section` splits head_dim / 2 between time, height and width."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    mrope_section: tuple[int, int, int]
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False


@dataclasses.dataclass(frozen=True)
class VisionSpec:
    """The vision tower; `fused_qkv` is how Qwen2.5-VL stores what Omni keeps as three matrices."""

    hidden_size: int
    depth: int
    num_heads: int
    intermediate_size: int
    out_hidden_size: int
    patch_size: int = 14
    temporal_patch_size: int = 2
    in_channels: int = 3
    spatial_merge_size: int = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    fused_qkv: bool = False


@dataclasses.dataclass(frozen=True)
class AudioSpec:
    """The audio tower; a chunk is 2 · n_window log-mel frames."""

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    output_dim: int
    num_mel_bins: int = 128
    n_window: int = 100


@dataclasses.dataclass(frozen=True)
class Spec:
    """A Thinker. `family` is 'omni' or 'vl': they differ in positions, token names and audio."""

    text: TextSpec
    vision: VisionSpec | None
    audio: AudioSpec | None
    family: str = 'omni'
    dtype: str = 'float32'  # of activations; sums that can lose are float32 in any case
    remat: bool = False  # recompute each layer in the backward pass
