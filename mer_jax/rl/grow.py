"""Branches of a prompt: `grow` samples them, `score` gives the log-probabilities of given ones.

Both run over the prompt's keys, which are computed once a group.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.group import Branches, Keys, Prompts
from mer_jax.models.decoder import Decoder, by_head, extend, extend_one
from mer_jax.models.spec import Spec


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How branches are sampled; scoring needs the temperature and the ban to agree with it."""

    tokens: int  # of a branch: the prompt's last token, the opening and the samples
    end: int  # the end-of-turn token; it belongs to the branch and is learnt
    banned: tuple[int, ...]  # media placeholders and rows that no token of the tokenizer has
    temperature: float = 1.0
    top_p: float = 1.0


def distribution(decoder: Decoder, spec: Spec, hidden, temperature: float, banned):
    """The log-probabilities f[..., v], in float32, that tokens are drawn from before top-p."""
    logits = decoder.logits(hidden) / temperature
    if banned:
        allowed = np.ones(spec.text.vocab_size, bool)
        allowed[list(banned)] = False
        logits = jnp.where(allowed, logits, -jnp.inf)
    return jax.nn.log_softmax(logits)


def category_confidence(logp_v, starts_wcn):
    """S(c) = log Σ π(token) over the tokens that start a word of category c: f[..., w, c].

    starts_wcn holds token ids padded with −1; a category without any token gets log 1e-10, the
    floor that the sum has elsewhere too (vhzy/HumanOmniV2, affect_r1).
    """
    chance = jnp.exp(logp_v)[..., jnp.maximum(starts_wcn, 0)]
    return jnp.log(jnp.where(starts_wcn >= 0, chance, 0.0).sum(-1) + 1e-10)


def nucleus(logp_v, top_p: float):
    """The fewest likeliest tokens whose probability reaches top_p: (bool[..., v], log mass).

    The threshold is found by bisection, which needs no sort of the vocabulary; tokens tied at the
    threshold are all kept.
    """
    chance = jnp.exp(logp_v)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        enough = jnp.where(chance >= middle, chance, 0.0).sum(-1, keepdims=True) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    highest = chance.max(-1, keepdims=True)
    low, _ = jax.lax.fori_loop(0, 30, halve, (jnp.zeros_like(highest), highest))
    kept = chance >= low
    return kept, jnp.log(jnp.where(kept, chance, 0.0).sum(-1))


def draw(logp_bgv, key_b, top_p: float):
    """One token a branch: (token i[b, g], its logp f[b, g] as drawn, log nucleus mass f[b, g]).

    Inverse-CDF sampling: one uniform number a token, from a key of its own for each branch.
    """
    b, g, _ = logp_bgv.shape
    mass = jnp.zeros((b, g))
    if top_p < 1:
        kept, mass = nucleus(logp_bgv, top_p)
        logp_bgv = jnp.where(kept, logp_bgv - mass[..., None], -jnp.inf)
    branch_key = jax.vmap(lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(g)))
    uniform = jax.vmap(jax.vmap(jax.random.uniform))(branch_key(key_b))
    token = invert(jnp.exp(logp_bgv), uniform)
    logp = jnp.take_along_axis(logp_bgv, token[..., None], -1)[..., 0]
    return token, logp, mass


def invert(chance_v, uniform):
    """The token i[...] at which the sum of the chances f[..., v] passes uniform f[...] · their sum.

    First the block of about √v tokens, then the token inside it: two short running sums cost a
    tenth of one over the vocabulary.
    """
    v, lead = chance_v.shape[-1], [(0, 0)] * (chance_v.ndim - 1)
    size = 2 ** ((v.bit_length() + 1) // 2)
    block = jnp.pad(chance_v, [*lead, (0, -v % size)]).reshape(*chance_v.shape[:-1], -1, size)
    total = block.sum(-1)
    chosen, rest = passed(total, uniform[..., None] * total.sum(-1, keepdims=True))
    inside = jnp.take_along_axis(block, chosen[..., None], -2)[..., 0, :]
    return (chosen * size + passed(inside, rest)[0])[..., 0]


def passed(chance, target):
    """Where the running sum of chances f[..., v] passes target f[..., 1], and by what is left then.

    A sum in float32 may rise by rounding at an entry without any chance, or end a little below the
    target; such an entry is never taken.
    """
    reached = jnp.cumsum(chance, -1)
    highest = jnp.where(chance > 0, reached, 0.0).max(-1, keepdims=True)
    target = jnp.minimum(target, highest * (1 - 1e-6))
    index = jnp.argmax((reached > target) & (chance > 0), -1, keepdims=True)
    return index, target - jnp.take_along_axis(reached - chance, index, -1)


def grow(
    decoder: Decoder,
    spec: Spec,
    prompts: Prompts,
    keys: Keys,
    key_b,
    opening_go,
    starts_wcn,
    sampling: Sampling,
) -> Branches:
    """Decode g branches of each prompt over its keys until all have ended or are full.

    opening_go i[g, o] is what each branch is forced to begin with, padded with −1 where sampling
    starts; key_b holds one random key a prompt, so neighbours in the batch change nothing.
    """
    b, g, s = prompts.start.shape[0], opening_go.shape[0], sampling.tokens
    forced_gs = jnp.full((g, s), -1).at[:, 1 : 1 + opening_go.shape[1]].set(opening_go)
    w, c = starts_wcn.shape[:2]
    branches = Branches(
        token=jnp.full((b, g, s), sampling.end).at[:, :, 0].set(prompts.start[:, None]),
        mask=jnp.zeros((b, g, s), bool),
        logp=jnp.zeros((b, g, s)),
        nucleus=jnp.zeros((b, g, s)),
        confidence=jnp.zeros((b, g, s, w, c)),
    )
    keys = by_head(keys)
    layers, _, k, _, h = keys.k.shape
    own = jnp.zeros((layers, b, k, g, s, h), keys.k.dtype)

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
        )
        logp_bgv = distribution(decoder, spec, hidden, sampling.temperature, sampling.banned)
        key_now = jax.vmap(lambda key: jax.random.fold_in(key, at))(key_b)
        token, logp, mass = draw(logp_bgv, key_now, sampling.top_p)
        forced = forced_gs[:, at + 1]
        sampled = ~ended & (forced < 0)
        token = jnp.where(ended, sampling.end, jnp.where(forced < 0, token, forced))
        new = Branches(
            token=token,
            mask=sampled,
            logp=jnp.where(sampled, logp, 0.0),
            nucleus=jnp.where(sampled, mass, 0.0),
            confidence=category_confidence(logp_bgv, starts_wcn),
        )
        branches = jax.tree.map(lambda all_, one: all_.at[:, :, at + 1].set(one), branches, new)
        return at + 1, ended | (sampled & (token == sampling.end)), branches, own

    start = (0, jnp.zeros((b, g), bool), branches, Keys(k=own, v=own))
    return jax.lax.while_loop(unfinished, step, start)[2]


def score(
    decoder: Decoder,
    spec: Spec,
    prompts: Prompts,
    keys: Keys,
    token_bgs,
    *,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
    chunk: int = 128,
):
    """log π of each branch token given all before it, f[b, g, s], 0 at token 0; differentiable.

    Vocabulary logits exist for `chunk` tokens of each branch at a time and are computed again in
    the backward pass.
    """
    hidden = branch_hidden(decoder, spec, prompts, keys, token_bgs)
    b, g, s, d = hidden.shape
    pieces = -(-(s - 1) // chunk)
    chunk = -(-(s - 1) // pieces)
    spare = pieces * chunk - (s - 1)
    before = jnp.pad(hidden[:, :, :-1], ((0, 0), (0, 0), (0, spare), (0, 0)))
    target = jnp.pad(token_bgs[:, :, 1:], ((0, 0), (0, 0), (0, spare)))

    @jax.checkpoint
    def piece(before_bgsd, target_bgs):
        logp = distribution(decoder, spec, before_bgsd, temperature, banned)
        chosen = jnp.arange(logp.shape[-1]) == target_bgs[..., None]
        return jnp.where(chosen, logp, 0.0).sum(-1)  # a gather's gradient would be a scatter

    before = jnp.moveaxis(before.reshape(b, g, pieces, chunk, d), 2, 0)
    target = jnp.moveaxis(target.reshape(b, g, pieces, chunk), 2, 0)
    logp = jax.lax.map(lambda both: piece(*both), (before, target))
    logp = jnp.moveaxis(logp, 0, 2).reshape(b, g, pieces * chunk)[:, :, : s - 1]
    return jnp.pad(logp, ((0, 0), (0, 0), (1, 0)))


def branch_hidden(decoder: Decoder, spec: Spec, prompts: Prompts, keys: Keys, token_bgs):
    """Hidden states f[b, g, s, d] behind the tokens that follow each branch token."""
    return extend(decoder, token_bgs, prompts.next_position, keys, prompts.mask, spec.remat)


def anchor_distribution(decoder, spec, hidden_bgsd, anchor_bga, temperature, banned):
    """The log-probabilities f[b, g, a, v] behind the anchors; what −1 gives means nothing."""
    behind = jnp.maximum(anchor_bga - 1, 0)
    hidden = jnp.take_along_axis(hidden_bgsd, behind[..., None], axis=2)
    return distribution(decoder, spec, hidden, temperature, banned)
