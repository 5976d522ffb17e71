"""Growing branches: all branches of a prompt are decoded together over its keys."""

import jax
import jax.numpy as jnp

from mer_jax.group import Branches, Keys, Prompts
from mer_jax.models.attention import decodes_exactly
from mer_jax.models.attention_plain import by_head, empty_branches
from mer_jax.models.decoder import Decoder, extend_one
from mer_jax.rl.draw import draw
from mer_jax.rl.score import Sampling, distribution
from mer_jax.sharding import decoding_layout, pin_decoding


def grow(
    decoder: Decoder,
    prompts: Prompts,
    keys: Keys,
    key_b,
    opening,
    sampling: Sampling,
    watch,
    attention: str = 'auto',
) -> Branches:
    """Decode g branches of each prompt over its keys until all have ended or are full.

    `opening` is the forced beginning of each branch, i[g, o] for all prompts or i[b, g, o], padded
    with −1 where sampling starts; key_b holds one random key a prompt, so neighbours in the batch
    change nothing. watch(logp f[b, g, v]) gives arrays f[b, g, ...] to be recorded at each token.
    `attention` is the kind that will score the branches.
    """
    b, s = prompts.start.shape[0], sampling.tokens
    *lead, g, o = opening.shape
    forced = jnp.full((*lead, g, s), -1).at[..., 1 : 1 + o].set(opening)
    branches = bare_branches(prompts.start, g, decoder.spec.vocab_size, sampling, watch)
    heads = decoder.spec.num_attention_heads
    exact = decodes_exactly(attention, prompts.mask, g, s, heads)
    decoder, keys = decoding_layout(decoder, keys.k.dtype), by_head(keys)

    def unfinished(state):
        at, ended, *_ = state
        return (at < s - 1) & ~ended.all()

    def step(state):
        at, ended, branches, own = state
        hidden, own = extend_one(
            decoder,
            branches.token[:, :, at],
            prompts.next_position,
            keys,
            prompts.mask,
            own,
            at,
            exact,
        )
        logp_bgv = pin_decoding(distribution(decoder, hidden, sampling), 'batch', None, 'vocab')
        key_now = jax.vmap(lambda key: jax.random.fold_in(key, at))(key_b)
        drawn, logp = draw(logp_bgv, key_now, sampling.top_p)
        wanted = forced[..., at + 1]
        sampled = ~ended & (wanted < 0)
        token = jnp.where(ended, sampling.end, jnp.where(wanted < 0, drawn, wanted))
        new = Branches(
            token=token,
            mask=sampled,
            logp=jnp.where(sampled, logp, 0.0),
            watched=jax.tree.map(lambda x: pin_decoding(x, 'batch'), watch(logp_bgv)),
        )
        branches = jax.tree.map(lambda all_, one: all_.at[:, :, at + 1].set(one), branches, new)
        return at + 1, ended | (sampled & (token == sampling.end)), branches, own

    start = (0, jnp.zeros((b, g), bool), branches, empty_branches(keys, g, s))
    return jax.lax.while_loop(unfinished, step, start)[2]


def bare_branches(start_b, g: int, vocabulary: int, sampling: Sampling, watch) -> Branches:
    """Branches that hold their first token alone, with room for all others."""
    b, s = start_b.shape[0], sampling.tokens
    logp = jax.ShapeDtypeStruct((b, g, vocabulary), jnp.float32)
    room = jax.eval_shape(watch, logp)
    return Branches(
        token=jnp.full((b, g, s), sampling.end).at[:, :, 0].set(start_b[:, None]),
        mask=jnp.zeros((b, g, s), bool),
        logp=jnp.zeros((b, g, s)),
        watched=jax.tree.map(lambda x: jnp.zeros((b, g, s, *x.shape[2:]), x.dtype), room),
    )
