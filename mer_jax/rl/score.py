"""Log-probabilities of given branches over the keys of their prompts, which are computed once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.group import Keys, Packing, Prompts
from mer_jax.models.decoder import Decoder, extend
from mer_jax.models.layers import product
from mer_jax.models.omni import Omni
from mer_jax.models.packing import to_branches, to_rows
from mer_jax.sharding import gathered, pin


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How branches are sampled; scoring takes its temperature and banned tokens."""

    tokens: int  # of a branch: the prompt's last token, the opening and the samples
    end: int  # the end-of-turn token; it belongs to the branch and is learnt
    banned: tuple[int, ...]  # media placeholders and rows that no token of the tokenizer has
    temperature: float = 1.0
    top_p: float = 1.0


def distribution(decoder: Decoder, hidden, sampling: Sampling):
    """Log-probabilities f[..., v], in float32, that tokens are drawn from before top-p."""
    return log_chances(decoder.logits(hidden), sampling)


def log_chances(logits, sampling: Sampling):
    """The log-probabilities f[..., v] of vocabulary logits f[..., v]."""
    logits = logits / sampling.temperature
    if sampling.banned:
        allowed = np.ones(logits.shape[-1], bool)
        allowed[list(sampling.banned)] = False
        logits = jnp.where(allowed, logits, -jnp.inf)
    return jax.nn.log_softmax(logits)


def score(
    policy: Omni,
    prompts: Prompts,
    keys: Keys,
    token_bgs,
    sampling: Sampling,
    chunk: int = 128,
):
    """log π of each branch token given all before it, f[b, g, s], 0 at token 0; differentiable."""
    hidden = branch_hidden(policy, prompts, keys, token_bgs)
    return score_hidden(policy.decoder, hidden, token_bgs, sampling, chunk)


def score_hidden(
    decoder: Decoder,
    hidden,
    token_bgs,
    sampling: Sampling,
    chunk: int,
    packing: Packing | None = None,
):
    """`score` of branches whose hidden states f[b, g, s, d] are given.

    With `packing` they are those of its rows, f[r, c, d], and tokens that none of them predicts
    have 0.
    """
    if packing is None:
        logp = score_next(decoder, hidden[:, :, :-1], token_bgs[:, :, 1:], sampling, chunk)
    else:
        _, g, s = token_bgs.shape
        following = jnp.pad(token_bgs[:, :, 1:], ((0, 0), (0, 0), (0, 1)))
        target = to_rows(following, packing)[:, None]
        chunk *= len(token_bgs) // len(hidden) * g  # tokens for each branch of a row
        logp = score_next(decoder, hidden[:, None], target, sampling, chunk)
        logp = to_branches(logp[:, 0], packing)[:, :, : s - 1]
    return jnp.pad(logp, ((0, 0), (0, 0), (1, 0)))


def score_next(decoder: Decoder, hidden, target_bgs, sampling: Sampling, chunk: int):
    """log π f[b, g, s] of the tokens that hidden states f[b, g, s, d] predict.

    Vocabulary logits exist for `chunk` tokens of each branch at a time and are computed again in
    the backward pass; the head is gathered once for all of them.
    """
    head = decoder.head(hidden.dtype, gathered)
    b, g, s, d = hidden.shape
    pieces = -(-s // chunk)
    chunk = -(-s // pieces)
    spare = pieces * chunk - s
    before = jnp.pad(hidden, ((0, 0), (0, 0), (0, spare), (0, 0)))
    target = jnp.pad(target_bgs, ((0, 0), (0, 0), (0, spare)))

    @jax.checkpoint
    def piece(before_bgsd, target_bgs):
        logits = product(pin(before_bgsd), head, 1, jnp.float32)
        logp = pin(log_chances(logits, sampling))
        chosen = jnp.arange(logp.shape[-1]) == target_bgs[..., None]
        return jnp.where(chosen, logp, 0.0).sum(-1)  # a gather's gradient would be a scatter

    before = jnp.moveaxis(before.reshape(b, g, pieces, chunk, d), 2, 0)
    target = jnp.moveaxis(target.reshape(b, g, pieces, chunk), 2, 0)
    logp = jax.lax.map(lambda both: piece(*both), (before, target))
    return jnp.moveaxis(logp, 0, 2).reshape(b, g, pieces * chunk)[:, :, :s]


def branch_hidden(policy: Omni, prompts: Prompts, keys: Keys, token_bgs):
    """Hidden states f[b, g, s, d] of branch tokens: state i predicts token i + 1."""
    where = prompts.next_position, keys, prompts.mask
    return extend(policy.decoder, token_bgs, *where, policy.spec.remat, policy.spec.attention)


def distribution_before(decoder: Decoder, hidden_bgsd, index_bga, sampling: Sampling):
    """Log-probabilities f[b, g, a, v] from which the tokens at these indices were drawn.

    `hidden_bgsd` is that of `branch_hidden`. An index of −1 gives a distribution without meaning.
    """
    behind = jnp.maximum(index_bga - 1, 0)
    hidden = jnp.take_along_axis(hidden_bgsd, behind[..., None], axis=2)
    return pin(distribution(decoder, pin(hidden), sampling))
