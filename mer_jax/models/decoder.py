"""The text decoder (Qwen2): reads a prompt once, then runs all its branches over the same keys.

`prefill` computes the keys of prompts. `extend` runs whole branches over [the prompt's keys | their
own], for scoring; `prefill_and_extend` does both in one pass over the layers; `extend_one` runs one
token of each branch, for decoding. A layer has pre-norms,
grouped-query attention with biases of q, k and v, SwiGLU and multimodal rotary positions, as
qwen2_5_vl in `transformers`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mer_jax.group import Array, Keys, Packing
from mer_jax.models.attention import attend_branches, attend_prompts
from mer_jax.models.attention_plain import KeysByHead, attend_shared, by_head_of_branches
from mer_jax.models.layers import (
    Projection,
    RMSNorm,
    narrowed,
    product,
    rotate,
    stack,
    weight,
)
from mer_jax.models.packing import to_branches, to_rows
from mer_jax.models.spec import TextSpec
from mer_jax.sharding import (
    gathered,
    pin,
    pin_columns,
    pin_decoding,
    pin_heads,
    pin_rows,
    pin_whole,
    weight_devices,
)


class Attention(nnx.Module):
    """The four projections of a layer's attention."""

    def __init__(self, rngs, spec: TextSpec):
        d, h = spec.hidden_size, spec.head_dim
        n, k = spec.num_attention_heads, spec.num_key_value_heads
        self.q_proj = Projection(rngs, (d, n, h), 'embed heads width', bias=True)
        self.k_proj = Projection(rngs, (d, k, h), 'embed heads width', bias=True)
        self.v_proj = Projection(rngs, (d, k, h), 'embed heads width', bias=True)
        self.o_proj = Projection(rngs, (n, h, d), 'heads width embed', inputs=2)


class MLP(nnx.Module):
    """down(silu(gate(x)) · up(x))."""

    def __init__(self, rngs, spec: TextSpec):
        d, f = spec.hidden_size, spec.intermediate_size
        self.gate_proj = Projection(rngs, (d, f), 'embed mlp')
        self.up_proj = Projection(rngs, (d, f), 'embed mlp')
        self.down_proj = Projection(rngs, (f, d), 'mlp embed')

    def __call__(self, x, place):
        """f[..., d] of x f[..., d]; `place` lays out the columns between the products."""
        gate, up = place(self.gate_proj(x)), place(self.up_proj(x))
        return self.down_proj(place(jax.nn.silu(gate) * up))


class Layer(nnx.Module):
    """One pre-norm layer."""

    def __init__(self, rngs, spec: TextSpec):
        self.input_layernorm = RMSNorm(spec.hidden_size, spec.rms_norm_eps)
        self.self_attn = Attention(rngs, spec)
        self.post_attention_layernorm = RMSNorm(spec.hidden_size, spec.rms_norm_eps)
        self.mlp = MLP(rngs, spec)

    def project(self, x, angles, place, place_heads):
        """Rotated queries f[..., n, h], rotated keys and values f[..., k, h] of x f[..., d].

        `place` lays out hidden states on the mesh, `place_heads` queries, keys and values.
        """
        y = place(self.input_layernorm(x))
        cos, sin = angles
        query = rotate(place_heads(self.self_attn.q_proj(y)), cos, sin)
        key = rotate(place_heads(self.self_attn.k_proj(y)), cos, sin)
        return query, key, place_heads(self.self_attn.v_proj(y))

    def finish(self, x, mixed, place, place_normed, place_columns=lambda columns: columns):
        """f[..., d]: x plus the outputs of attention (from mixed f[..., n, h]) and of the MLP."""
        x = place(added(x, place(self.self_attn.o_proj(mixed))))
        normed = place_normed(self.post_attention_layernorm(x))
        return place(added(x, place(self.mlp(normed, place_columns))))


def added(x, y):
    """x + y, added in float32 and rounded once."""
    return narrowed(x.astype(jnp.float32) + y.astype(jnp.float32), x.dtype)


class Embedding(nnx.Module):
    """The token embeddings, f[v, d]."""

    def __init__(self, rngs, spec: TextSpec):
        shape = (spec.vocab_size, spec.hidden_size)
        self.weight = weight(rngs, shape, 'vocab embed', scale=spec.hidden_size**-0.5)


class Backbone(nnx.Module):
    """Embeddings, layers and final norm; called `model` in checkpoints."""

    def __init__(self, rngs, spec: TextSpec):
        self.embed_tokens = Embedding(rngs, spec)
        self.layers = stack(
            lambda layer_rngs: Layer(layer_rngs, spec), rngs, spec.num_hidden_layers
        )
        self.norm = RMSNorm(spec.hidden_size, spec.rms_norm_eps)


class Decoder(nnx.Module):
    """The decoder with its head; a tied head has no weight and uses the embedding matrix."""

    def __init__(self, rngs, spec: TextSpec):
        self.spec = spec
        self.model = Backbone(rngs, spec)
        if not spec.tie_word_embeddings:
            shape = (spec.hidden_size, spec.vocab_size)
            self.lm_head = Projection(rngs, shape, 'embed vocab')

    def embed(self, token, dtype):
        """Embeddings f[..., d] of token ids."""
        return jnp.take(self.model.embed_tokens.weight[...], token, axis=0).astype(dtype)

    def head(self, dtype, place=lambda weight, dtype: weight):
        """The matrix f[d, v] of vocabulary logits; `place` lays out its weight on the mesh."""
        if self.spec.tie_word_embeddings:
            return place(self.model.embed_tokens.weight, dtype)[...].astype(dtype).T
        return place(self.lm_head.weight, dtype)[...].astype(dtype)

    def logits(self, x):
        """Vocabulary logits f[..., v] in float32 of normalised hidden states f[..., d]."""
        return product(x, self.head(x.dtype), 1, jnp.float32)


def _rotary(spec: TextSpec, position: Array):
    """cos and sin f[..., h] in float32 of positions i[..., 3] (time, height, width).

    With `mrope_section` = (s_t, s_h, s_w), frequency j follows the time if j < s_t, the height if
    j < s_t + s_h, else the width.
    """
    half = spec.head_dim // 2
    frequency = spec.rope_theta ** (-2.0 * np.arange(half) / spec.head_dim)
    axis = np.repeat(np.arange(3), spec.mrope_section)
    angle = position[..., axis].astype(jnp.float32) * frequency.astype(np.float32)
    angle = jnp.concatenate([angle, angle], -1)
    return jnp.cos(angle), jnp.sin(angle)


def prefill(decoder: Decoder, x_btd, position_b3t, mask_bt, remat=False, attention='auto') -> Keys:
    """The keys of prompts; the last layer computes its keys and values, nothing else.

    Where devices share the weights it computes all: gathering weights inside a conditional would
    keep XLA from doing so ahead of time.
    """
    angles = prompt_rotary(decoder.spec, position_b3t)

    def body(x, scanned):
        layer, last = scanned
        layer, x = gathered(layer, x.dtype), pin(x)
        query, key, value = layer.project(x, angles, pin, pin)

        def onward(x):
            mixed = pin(attend_prompts(attention, query, key, value, mask_bt))
            return layer.finish(x, mixed, pin, pin)

        after = onward(x) if whole else jax.lax.cond(last, lambda x: x, onward, x)
        return after, Keys(k=key, v=value)

    whole = weight_devices() > 1
    last = np.arange(decoder.spec.num_hidden_layers) == decoder.spec.num_hidden_layers - 1
    body = jax.checkpoint(body) if remat else body
    return jax.lax.scan(body, pin(x_btd), (decoder.model.layers, last))[1]


def extend(
    decoder: Decoder,
    token_bgs,
    position_b,
    keys: Keys,
    mask_bt,
    remat=False,
    attention='auto',
    packing: Packing | None = None,
):
    """Normalised hidden states f[b, g, s, d] of whole branches; token 0 is at position_b.

    With `packing` those of its rows, f[r, c, d].
    """
    position = branch_positions(position_b, token_bgs.shape[2])
    if packing is not None:
        position = to_rows(jnp.broadcast_to(position, token_bgs.shape), packing)
    angles = text_rotary(decoder.spec, position)
    x = pin(decoder.embed(to_rows(token_bgs, packing), keys.k.dtype))

    def body(x, scanned):
        layer, prompt = scanned
        layer, x = gathered(layer, x.dtype), pin(x)
        rows = layer.project(x, angles, pin, pin)
        query, key, value = (to_branches(row, packing) for row in rows)
        mixed = pin(attend_branches(attention, query, prompt, mask_bt, key, value))
        return layer.finish(x, to_rows(mixed, packing), pin, pin), None

    body = jax.checkpoint(body) if remat else body
    x, _ = jax.lax.scan(body, x, (decoder.model.layers, keys))
    return pin(decoder.model.norm(x))


def prefill_and_extend(
    decoder: Decoder,
    x_btd,
    position_b3t,
    mask_bt,
    token_bgs,
    position_b,
    remat=False,
    attention='auto',
    packing: Packing | None = None,
):
    """`extend` over the keys of `prefill`, in one pass over the layers.

    Prompt and branches are rows of the same products, so that devices which share the weights
    gather each layer once instead of twice, and sum its gradient once.
    """
    (b, t, d), (_, g, s) = x_btd.shape, token_bgs.shape
    r = b if packing is None else len(packing.token)
    ahead = b // r * t  # tokens of prompts in a row, before those of branches

    def rows_of(prompt, own):
        parts = prompt.reshape(r, ahead, *prompt.shape[2:]), own.reshape(r, -1, *prompt.shape[2:])
        return jnp.concatenate(parts, 1)

    def of_branches(row):
        return to_branches(row[:, ahead:], packing).reshape(b, g, s, *row.shape[2:])

    position = jnp.broadcast_to(branch_positions(position_b, s), token_bgs.shape)
    of_prompt = prompt_rotary(decoder.spec, position_b3t)
    of_branch = text_rotary(decoder.spec, to_rows(position, packing))
    angles = [rows_of(*both) for both in zip(of_prompt, of_branch, strict=True)]

    def body(x, layer):
        layer, x = gathered(layer, x.dtype), pin_rows(x)
        rows = layer.project(x, angles, pin_whole, pin_heads)
        before = [row[:, :ahead].reshape(b, t, *row.shape[2:]) for row in rows]
        query, key, value = (of_branches(row) for row in rows)
        mixed = attend_prompts(attention, *before, mask_bt)
        prompt = Keys(k=before[1], v=before[2])
        own = attend_branches(attention, query, prompt, mask_bt, key, value)
        mixed = pin_heads(rows_of(mixed, to_rows(own, packing)))
        return layer.finish(x, mixed, pin_rows, pin_whole, pin_columns), None

    body = jax.checkpoint(body) if remat else body
    x = rows_of(x_btd, decoder.embed(to_rows(token_bgs, packing), x_btd.dtype))
    x, _ = jax.lax.scan(body, pin_rows(x), decoder.model.layers)
    x = pin(decoder.model.norm(x[:, ahead:]))
    return x.reshape(b, g, s, d) if packing is None else x


def extend_one(
    decoder: Decoder,
    token_bg,
    position_b,
    keys: KeysByHead,
    mask_bt,
    own: KeysByHead,
    at,
    exact: bool = False,
):
    """Hidden states f[b, g, d] of token number `at` of each branch, and `own` with its keys added.

    `own` is part of the scan's carry, so that XLA updates it in place. On a mesh the weights are in
    the decoding layout: attention is computed where the keys of a prompt lie, all else where the
    weights lie. Attention is `exact` where that of scoring is: see `attention.decodes_exactly`.
    """
    x = _beside_weights(decoder.embed(_beside_weights(token_bg), keys.k.dtype)[:, :, None])
    angles = branch_rotary(decoder.spec, position_b + at, 1)
    mask_su = (jnp.arange(own.k.shape[4]) <= at)[None]

    def body(carry, scanned):
        x, own, depth = carry
        layer, prompt = scanned
        query, key, value = layer.project(x, angles, _beside_weights, _beside_keys)
        own = jax.tree.map(
            lambda all_lbkguh, new: jax.lax.dynamic_update_slice(
                all_lbkguh, new[None], (depth, 0, 0, 0, at, 0)
            ),
            own,
            by_head_of_branches(key, value),
        )
        here = jax.tree.map(lambda all_lbkguh: all_lbkguh[depth], own)
        mixed = _by_weights(pin(attend_shared(query, prompt, mask_bt, here, mask_su, exact)))
        return (layer.finish(x, mixed, _beside_weights, _beside_weights), own, depth + 1), None

    (x, own, _), _ = jax.lax.scan(body, (x, own, 0), (decoder.model.layers, keys))
    return _beside_weights(decoder.model.norm(x[:, :, 0])), own


def _beside_weights(x):
    """Hidden states while decoding: whole on every device that holds a part of a weight."""
    return pin_decoding(x, 'batch')


def _by_weights(x_bgsnh):
    """Queries, keys, values or outputs of attention while decoding, split as their weights are."""
    return pin_decoding(x_bgsnh, 'batch', None, None, 'heads', 'width')


def _beside_keys(x_bgsnh):
    """Queries, keys or values while decoding, computed by the weights, then where keys lie."""
    return pin(_by_weights(x_bgsnh))


def prompt_rotary(spec: TextSpec, position_b3t):
    """cos and sin f[b, t, 1, h] of the tokens of prompts."""
    cos, sin = _rotary(spec, jnp.moveaxis(position_b3t, 1, -1))
    return cos[:, :, None], sin[:, :, None]


def branch_rotary(spec: TextSpec, position_b, s: int):
    """cos and sin f[b, 1, s, 1, h] of s text tokens, the first at position_b."""
    return text_rotary(spec, branch_positions(position_b, s))


def branch_positions(position_b, s: int):
    """Positions i[b, 1, s] of s text tokens, the first at position_b."""
    return (position_b[:, None] + jnp.arange(s))[:, None]


def text_rotary(spec: TextSpec, position):
    """cos and sin f[..., 1, h] of text tokens at positions i[...]."""
    cos, sin = _rotary(spec, jnp.repeat(position[..., None], 3, -1))
    return cos[..., None, :], sin[..., None, :]
