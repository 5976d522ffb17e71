"""FLOPs of the models' matrix products by formula: two for each multiplication with its addition.

XLA's own count takes the body of a scan once, whatever its length. Masked products are computed,
so they count.
"""

import jax
import jax.numpy as jnp

from experiments.workloads import Workload
from mer_jax.models.attention_plain import pieces
from mer_jax.models.decoder import Decoder
from mer_jax.models.spec import AudioSpec, TextSpec, VisionSpec
from mer_jax.models.vision import window_patches


def layer(spec: TextSpec, tokens: int, keys: int) -> int:
    """A decoder layer whose tokens see `keys` keys: 2 · tokens · (weights + 2 · keys · n · h).

    weights = d · (2n + 2k) · h of the projections + 3 · d · f of the MLP.
    """
    d, n, k = spec.hidden_size, spec.num_attention_heads, spec.num_key_value_heads
    weights = d * (2 * n + 2 * k) * spec.head_dim + 3 * d * spec.intermediate_size
    return 2 * tokens * (weights + 2 * keys * n * spec.head_dim)


def prefill(spec: TextSpec, b: int, t: int) -> int:
    """l − 1 layers of b · t tokens, and the last layer's keys and values.

    A token sees the keys up to the end of its piece.
    """
    last = 4 * b * t * spec.hidden_size * spec.num_key_value_heads * spec.head_dim
    whole = sum(layer(spec, b * (end - first), end) for first, end in pieces(t))
    return (spec.num_hidden_layers - 1) * whole + last


def extend(spec: TextSpec, tokens: int, keys: int) -> int:
    """l layers of branch tokens; keys = those of the prompt + the slots of their own branch."""
    return spec.num_hidden_layers * layer(spec, tokens, keys)


def head(spec: TextSpec, tokens: int) -> int:
    """Vocabulary logits: 2 · tokens · d · v."""
    return 2 * tokens * spec.hidden_size * spec.vocab_size


def vision(spec: VisionSpec | None, shape_bzpx: tuple[int, ...]) -> int:
    """The vision tower: 2 · patches · (weights + 2 · keys · d), keys summed over the layers.

    weights = x · d of the embedding + 4 · d² + 3 · d · f of each layer + m · d² + d · out of the
    merger, which joins m patches. A patch sees the p patches of its frame, or those of a window.
    """
    b, z, p, x = shape_bzpx
    if spec is None or not z:
        return 0
    d, depth = spec.hidden_size, spec.depth
    fully = sum(index < depth for index in spec.fullatt_block_indexes)
    keys = fully * p + (depth - fully) * window_patches(spec)
    weights = x * d + depth * (4 * d * d + 3 * d * spec.intermediate_size)
    weights += spec.spatial_merge_size**2 * d * d + d * spec.out_hidden_size
    return 2 * b * z * p * (weights + 2 * keys * d)


def audio(spec: AudioSpec | None, shape_bjfm: tuple[int, ...], tokens: int) -> int:
    """The audio tower: 2 · b · j · f/2 · (weights + l · f · d) + 2 · b · tokens · d · out.

    weights = 6 · m · d of the first convolution (twice 3 · m · d: it sees all f frames, the rest
    half of them) + 3 · d² of the second + 4 · d² + 2 · d · ffn of each layer.
    """
    b, j, f, m = shape_bjfm
    if spec is None or not j:
        return 0
    d, layers, half = spec.d_model, spec.encoder_layers, f // 2
    weights = 6 * m * d + 3 * d * d + layers * (4 * d * d + 2 * d * spec.encoder_ffn_dim)
    frames = 2 * b * j * half * (weights + 2 * layers * half * d)
    return frames + 2 * b * tokens * d * spec.output_dim


def part_flops(work: Workload) -> dict[str, int]:
    """FLOPs of each part.

    An update is 3 times its forward pass, and once more the recomputed part: the head always,
    prompts and branches under remat.
    """
    text, media = work.spec.text, work.prompts.media
    (b, t), g, s = work.prompts.token.shape, work.g, work.s
    towers = vision(work.spec.vision, media.patch.shape)
    towers += audio(work.spec.audio, media.sound.shape, media.sound_pair.shape[1])
    read = prefill(text, b, t)
    branches = extend(text, b * g * s, t + s)
    logits = head(text, b * g * (s - 1))
    echo = extend(text, b * g * work.echo, t + work.echo)
    return {
        'prefill': towers + read,
        'grow': extend(text, b * g * (s - 1), t + s) + logits,
        'score': read + branches + logits,
        'echo': echo + head(text, b * g * work.anchors),
        'update': (3 + work.spec.remat) * (read + branches) + 4 * logits,
    }


def grow_bytes(work: Workload, decoder: Decoder) -> int:
    """Bytes that decoding must read.

    At each step the weights of layers and head, in the dtype of activations, the keys and values of
    the prompts, and those that the branches have written so far.
    """
    text = work.spec.text
    read = decoder.model if text.tie_word_embeddings else (decoder.model.layers, decoder.lm_head)
    size = jnp.dtype(work.spec.dtype).itemsize
    weights = size * sum(leaf.size for leaf in jax.tree.leaves(read))
    token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * size
    (b, t), steps = work.prompts.token.shape, work.s - 1
    own = b * work.g * token * steps * (steps + 1) // 2
    return steps * (weights + b * t * token) + own
