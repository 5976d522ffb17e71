"""The audio tower: from chunks of log-mel frames to one feature per audio token."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mer_jax.group import Array
from mer_jax.models.attention_plain import attend_within
from mer_jax.models.layers import LayerNorm, Projection, stack
from mer_jax.models.spec import AudioSpec
from mer_jax.sharding import pin


class Attention(nnx.Module):
    """The four projections of a layer's attention; the key has no bias."""

    def __init__(self, rngs, spec: AudioSpec):
        d, n = spec.d_model, spec.encoder_attention_heads
        h = d // n
        self.q_proj = Projection(rngs, (d, n, h), 'embed heads _', bias=True)
        self.k_proj = Projection(rngs, (d, n, h), 'embed heads _')
        self.v_proj = Projection(rngs, (d, n, h), 'embed heads _', bias=True)
        self.out_proj = Projection(rngs, (n, h, d), 'heads _ embed', bias=True, inputs=2)

    def __call__(self, x, mask):
        """f[b, j, i, d] of x f[b, j, i, d]; a frame attends to the valid frames of its chunk."""
        query, key, value = map(pin, (self.q_proj(x), self.k_proj(x), self.v_proj(x)))
        mixed = attend_within(query, key, value, mask, block=x.shape[2])
        return self.out_proj(pin(mixed))


class Layer(nnx.Module):
    """One pre-norm layer (Whisper)."""

    def __init__(self, rngs, spec: AudioSpec):
        d, f = spec.d_model, spec.encoder_ffn_dim
        self.self_attn_layer_norm = LayerNorm(d)
        self.self_attn = Attention(rngs, spec)
        self.final_layer_norm = LayerNorm(d)
        self.fc1 = Projection(rngs, (d, f), 'embed mlp', bias=True)
        self.fc2 = Projection(rngs, (f, d), 'mlp embed', bias=True)

    def __call__(self, x, mask):
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(_gelu(self.fc1(self.final_layer_norm(x))))


class AudioTower(nnx.Module):
    """The tower of Qwen2.5-Omni; its arguments are laid out as in `group.Media`."""

    def __init__(self, rngs: nnx.Rngs, spec: AudioSpec):
        self.spec = spec
        d, m = spec.d_model, spec.num_mel_bins
        self.conv1 = Projection(rngs, (m, 3, d), '_ _ embed', bias=True, inputs=2)
        self.conv2 = Projection(rngs, (d, 3, d), '_ _ embed', bias=True, inputs=2)
        self.layers = stack(lambda layer_rngs: Layer(layer_rngs, spec), rngs, spec.encoder_layers)
        self.ln_post = LayerNorm(d)
        self.proj = Projection(rngs, (d, spec.output_dim), 'embed _', bias=True)

    def __call__(self, sound_bjfm: Array, length_bj: Array, pair_bq2: Array, remat: bool = False):
        """Features f[b, q, output_dim] in the dtype of the sound.

        Features of padding are finite and have no meaning. `remat` recomputes each layer in the
        backward pass.
        """
        x_bjid = self._convolve(sound_bjfm, length_bj)
        mask_bji = jnp.arange(x_bjid.shape[2]) < (length_bj[..., None] + 1) // 2

        def body(x, layer):
            return pin(layer(pin(x), mask_bji)), None

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        x_bjid, _ = jax.lax.scan(body, x_bjid, self.layers)
        frame_brd = x_bjid.reshape(x_bjid.shape[0], -1, self.spec.d_model)
        token_bqd = jax.vmap(lambda frame_rd, pair_q2: frame_rd[pair_q2].mean(1))(
            frame_brd, pair_bq2
        )
        return pin(self.proj(self.ln_post(pin(token_bqd))))

    def _convolve(self, sound_bjfm, length_bj):
        """Convolved frames f[b, j, f / 2, d] plus their positions; each chunk by itself."""
        valid_bjf1 = (jnp.arange(sound_bjfm.shape[2]) < length_bj[..., None])[..., None]
        x = jnp.where(valid_bjf1, sound_bjfm, 0)
        x = jnp.where(valid_bjf1, _gelu(pin(self.conv1(taps(x, stride=1)))), 0)
        x = _gelu(pin(self.conv2(taps(x, stride=2))))
        return x + sinusoids(*x.shape[2:]).astype(x.dtype)


def _gelu(x):
    """The exact GELU."""
    return jax.nn.gelu(x, approximate=False)


def taps(x, stride):
    """Inputs f[..., f / stride, m, 3] of a convolution of width 3 over frames f[..., f, m]."""
    frames = x.shape[-2]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (0, 0)])
    return jnp.stack([padded[..., i : i + frames : stride, :] for i in range(3)], -1)


def sinusoids(frames: int, width: int):
    """Position embeddings f[frames, width] of Whisper: sines, then cosines."""
    half = width // 2
    frequency = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half)).astype(np.float32)
    angle = np.arange(frames, dtype=np.float32)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], -1)
