"""The vision tower: from patches in window order to one feature per cell of merged patches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mer_jax.group import Array
from mer_jax.models.attention import attend_within
from mer_jax.models.layers import Projection, RMSNorm, rotate, stack
from mer_jax.models.spec import VisionSpec
from mer_jax.sharding import pin

EPS = 1e-6  # of every norm of the tower; no config.json has a key for it


class PatchEmbed(nnx.Module):
    """A linear map from the values of a patch (channel, time, row, column) to the width."""

    def __init__(self, rngs, spec: VisionSpec):
        values = spec.in_channels * spec.temporal_patch_size * spec.patch_size**2
        self.proj = Projection(rngs, (values, spec.hidden_size), '_ embed')


class Attention(nnx.Module):
    """The projections of a block's attention; query, key and value are one matrix or three."""

    def __init__(self, rngs, spec: VisionSpec):
        self.spec = spec
        d, n = spec.hidden_size, spec.num_heads
        h = d // n
        if spec.fused_qkv:
            self.qkv = Projection(rngs, (d, 3, n, h), 'embed _ heads _', bias=True)
        else:
            self.q = Projection(rngs, (d, n, h), 'embed heads _', bias=True)
            self.k = Projection(rngs, (d, n, h), 'embed heads _', bias=True)
            self.v = Projection(rngs, (d, n, h), 'embed heads _', bias=True)
        self.proj = Projection(rngs, (n, h, d), 'heads _ embed', bias=True, inputs=2)

    def project(self, x):
        """Query, key and value f[..., n, h] of x f[..., d]."""
        if self.spec.fused_qkv:
            return tuple(jnp.moveaxis(self.qkv(x), -3, 0))
        return self.q(x), self.k(x), self.v(x)


class MLP(nnx.Module):
    """down(silu(gate(x)) · up(x)), with biases."""

    def __init__(self, rngs, spec: VisionSpec):
        d, f = spec.hidden_size, spec.intermediate_size
        self.gate_proj = Projection(rngs, (d, f), 'embed mlp', bias=True)
        self.up_proj = Projection(rngs, (d, f), 'embed mlp', bias=True)
        self.down_proj = Projection(rngs, (f, d), 'mlp embed', bias=True)

    def __call__(self, x):
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """One pre-norm block."""

    def __init__(self, rngs, spec: VisionSpec):
        self.spec = spec
        self.norm1 = RMSNorm(spec.hidden_size, EPS)
        self.attn = Attention(rngs, spec)
        self.norm2 = RMSNorm(spec.hidden_size, EPS)
        self.mlp = MLP(rngs, spec)

    def __call__(self, x, angles, mask, fully, attention):
        """f[b, z, p, d] of x; a patch attends to its frame if `fully`, else to its window."""
        query, key, value = map(pin, self.attn.project(self.norm1(x)))
        mixed = jax.lax.cond(
            fully,
            _attend_blocks(attention, x.shape[2]),
            _attend_blocks(attention, window_patches(self.spec)),
            *(_rotated(query, angles), _rotated(key, angles), value, mask),
        )
        x = x + self.attn.proj(pin(mixed))
        return x + self.mlp(self.norm2(x))


class Merger(nnx.Module):
    """Joins the patches of a cell into one vector of the decoder's width."""

    def __init__(self, rngs, spec: VisionSpec):
        self.spec = spec
        joined = spec.hidden_size * spec.spatial_merge_size**2
        self.ln_q = RMSNorm(spec.hidden_size, EPS)
        self.mlp_0 = Projection(rngs, (joined, joined), 'embed mlp', bias=True)
        self.mlp_2 = Projection(rngs, (joined, spec.out_hidden_size), 'mlp embed', bias=True)

    def __call__(self, x):
        """f[b, z · p / merge², out_hidden_size] of x f[b, z, p, d]."""
        joined = self.spec.hidden_size * self.spec.spatial_merge_size**2
        cells = self.ln_q(x).reshape(x.shape[0], -1, joined)
        return self.mlp_2(jax.nn.gelu(self.mlp_0(cells), approximate=False))


class VisionTower(nnx.Module):
    """The tower of Qwen2.5-VL and Qwen2.5-Omni; its arguments are laid out as in `group.Media`."""

    def __init__(self, rngs: nnx.Rngs, spec: VisionSpec):
        self.spec = spec
        self.patch_embed = PatchEmbed(rngs, spec)
        self.blocks = stack(lambda block_rngs: Block(block_rngs, spec), rngs, spec.depth)
        self.merger = Merger(rngs, spec)

    def __call__(
        self,
        patch_bzpx: Array,
        mask_bzp: Array,
        row_col_bzp2: Array,
        remat: bool = False,
        attention: str = 'auto',
    ):
        """Features f[b, z · p / merge², out_hidden_size] in the dtype of the patches.

        Features of padding are finite and have no meaning. `remat` recomputes each block in the
        backward pass.
        """
        if patch_bzpx.shape[2] % window_patches(self.spec):
            raise ValueError(
                f'patches of a frame = {patch_bzpx.shape[2]} must be a multiple of the '
                f'{window_patches(self.spec)} patches of a window: pad each window to that number'
            )
        angles = _rotary(self.spec, row_col_bzp2)

        def body(x, scanned):
            block, fully = scanned
            return pin(block(pin(x), angles, mask_bzp, fully, attention)), None

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        fully = np.isin(np.arange(self.spec.depth), self.spec.fullatt_block_indexes)
        x = pin(self.patch_embed.proj(patch_bzpx))
        x, _ = jax.lax.scan(body, x, (self.blocks, fully))
        return pin(self.merger(x))


def window_patches(spec: VisionSpec) -> int:
    """The number of patches of a whole attention window."""
    cells = spec.window_size // spec.spatial_merge_size // spec.patch_size
    return (cells * spec.spatial_merge_size) ** 2


def _attend_blocks(attention: str, block: int):
    """`attend_within` for blocks of this size; the backward pass recomputes the scores.

    `cond` saves the residuals of both its branches. Without recomputation it would save the scores
    of whole frames in every layer.
    """
    return jax.checkpoint(partial(attend_within, attention, block=block), prevent_cse=False)


def _rotary(spec: VisionSpec, row_col_bzp2: Array):
    """cos and sin f[b, z, p, 1, h] in float32: angles of the row, then of the column."""
    quarter = spec.hidden_size // spec.num_heads // 4
    frequency = (spec.rope_theta ** (-np.arange(quarter) / quarter)).astype(np.float32)
    angle = row_col_bzp2[..., None].astype(jnp.float32) * frequency
    angle = angle.reshape(*row_col_bzp2.shape[:-1], 1, 2 * quarter)
    angle = jnp.concatenate([angle, angle], -1)
    return jnp.cos(angle), jnp.sin(angle)


def _rotated(x, angles):
    """x after rotation in float32, in its own dtype."""
    return rotate(x.astype(jnp.float32), *angles).astype(x.dtype)
