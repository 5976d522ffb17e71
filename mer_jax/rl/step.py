"""The programs of a training step: roll out, judge, score reference and policy, update."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mer_jax.group import Array, Branches, Packing, Prompts, Rollout, TrainState
from mer_jax.models.lora import Lora
from mer_jax.models.omni import Omni, perceive, read_branches, read_prompts
from mer_jax.rl import objective
from mer_jax.rl.group_relative import varies
from mer_jax.rl.grow import grow
from mer_jax.rl.optimizer import apply_gradient, trained_part, with_part
from mer_jax.rl.pieces import count_pieces, in_pieces, piece_at, whole_of_pieces, with_piece
from mer_jax.rl.score import Sampling, score_hidden
from mer_jax.sharding import constrain

FIGURES = (  # of a step, whatever the method: those of `assess`, then those of `update`
    *('advantage_std', 'silent_groups', 'tokens', 'ended', 'overlong', 'entropy'),
    *('loss', 'surrogate', 'kl', 'drift', 'drift_largest', 'clipped', 'ratio_spread'),
    *('gradient_norm', 'update_norm', 'cap_weight', 'capped'),
)
LARGEST = ('drift_largest',)  # figures of which the largest counts; the others are averaged


@dataclasses.dataclass(frozen=True)
class Learn:
    """How an update learns from judged branches; config.learn holds the same keys."""

    train: str = 'decoder'  # or 'all': the towers too; or 'lora': adapters alone
    lora: Lora = Lora()
    kl: float = 0.04
    ratio: str = 'token'
    clip: str = 'ppo'
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float = 0.0  # 0: none
    ratio_cap: float = 0.0  # 0: decoding and scoring count as one policy
    aggregate: str = 'token'
    drop_overlong: bool = False  # leave answers that were cut off by length out of the loss
    drop_silent: bool = False  # leave groups without spread out of the loss
    minibatches: int = 1  # updates a rollout, each on its share of the prompts
    epochs: int = 1  # times that the minibatches are repeated
    microbatch: int = 0  # prompts a device whose gradient is computed at a time; 0: all
    chunk: int = 128  # branch tokens whose vocabulary logits exist at a time

    @property
    def trains_towers(self) -> bool:
        """Whether features of media change from update to update."""
        return self.train == 'all' or (self.train == 'lora' and self.lora.towers)


@struct.dataclass
class Experience:
    """Judged branches with their prompts, for one or more updates.

    Every array leads with b, or with r where it is one of rows.
    """

    prompts: Prompts
    features: Array | None  # f[b, rows, d] of frozen towers; None where they are trained
    token: Array  # i[b, g, s]
    mask: Array  # bool[b, g, s], sampled tokens
    kept: Array  # bool[b, g], branches that count in the loss
    sampled: Array  # f[b, g, s], log π of the policy that sampled
    advantage: Array  # f[b, g]
    reference: Array | None  # f[b, g, s], log π of the reference; None without KL
    scored: Array | None = None  # f[b, g, s], log π before the updates; None without ratio_cap
    packing: Packing | None = None  # rows without padding, one a device and piece; None: padded


def roll_out(
    policy: Omni,
    prompts: Prompts,
    number_b,
    seed,
    step,
    opening,
    *,
    sampling,
    watch,
    microbatch: int = 0,
) -> Rollout:
    """Perceive and read each prompt once, then grow its branches, by microbatches.

    The random keys follow from seed, step and the number of each prompt, and from nothing else.
    `opening` is that of `rl.grow.grow`, i[g, o] or i[b, g, o].
    """
    prompts = constrain(prompts)
    key_b = keys_of_numbers(seed, step, number_b)
    grown = functools.partial(read_and_grow, policy, sampling=sampling, watch=watch)
    count = count_pieces(number_b.shape[0], microbatch)
    if count == 1:
        return grown(prompts, key_b, opening)
    own = opening.ndim == 3

    def grow_piece(keys, number):
        here = functools.partial(piece_at, number=number, count=count)
        piece = grown(here(prompts), here(key_b), here(opening) if own else opening)
        return with_piece(keys, piece.keys, number, count, axis=1), piece.replace(keys=None)

    whole = jax.eval_shape(grown, prompts, key_b, opening).keys
    room = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), whole)
    keys, pieces = jax.lax.scan(grow_piece, room, jnp.arange(count))
    return whole_of_pieces(pieces).replace(keys=keys)


def keys_of_numbers(seed, step, number_b):
    """A random key for each prompt of a step, by its number."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(number_b)


def read_and_grow(
    policy: Omni, prompts: Prompts, key_b, opening, *, sampling: Sampling, watch
) -> Rollout:
    """The Rollout of prompts with a random key each, all at once."""
    spec, decoder = policy.spec, policy.decoder
    features = perceive(policy, prompts.media)
    keys = read_prompts(decoder, prompts, features, spec.remat, spec.attention)
    branches = grow(decoder, prompts, keys, key_b, opening, sampling, watch, spec.attention)
    return Rollout(branches=constrain(branches), features=constrain(features), keys=keys)


@functools.cache
def compiled_roll_out(sampling: Sampling, watch, microbatch: int = 0):
    """`roll_out` for one way of sampling, compiled once for each model and size of batch."""
    program = functools.partial(roll_out, sampling=sampling, watch=watch, microbatch=microbatch)
    return jax.jit(program)


@functools.partial(jax.jit, static_argnums=1)
def cut(branches: Branches, length: int) -> Branches:
    """The branches without their tokens from number `length` on."""
    return constrain(jax.tree.map(lambda x: x[:, :, :length], branches))


def assess(
    policy: Omni, prompts: Prompts, rollout: Rollout, reading, own, *, judge, learn, sampling
) -> tuple[Array, Array, dict[str, Array]]:
    """The advantage f[b, g], the branches that count bool[b, g], and the figures of a rollout.

    `judge` is that of a method (methods.method.Method).
    """
    prompts, branches = constrain(prompts), rollout.branches
    advantage, figures = judge(policy, prompts, rollout, reading, own, sampling)
    ended = (branches.mask & (branches.token == sampling.end)).any(-1)  # not in a forced opening
    silent = ~varies(advantage)
    kept = jnp.ones_like(ended)
    if learn.drop_overlong:
        kept &= ended
    if learn.drop_silent:
        kept &= ~silent[:, None]
    tokens = branches.mask.sum()
    figures = figures | {
        'advantage_std': advantage.std(1).mean(),
        'silent_groups': silent.mean(),
        'tokens': branches.mask.sum(-1).mean(),
        'ended': ended.mean(),
        'overlong': (~ended).mean(),
        'entropy': -branches.logp.sum() / jnp.maximum(tokens, 1),
    }
    return advantage, kept, figures


def branch_logp(
    policy: Omni,
    prompts: Prompts,
    features,
    token_bgs,
    packing: Packing | None,
    sampling: Sampling,
    chunk: int,
):
    """log π of branch tokens f[b, g, s], with the prompts read once.

    Without features the towers of the policy perceive the media. With `packing` the tokens behind
    the last learnt one of a branch are not computed and have 0.
    """
    seen = perceive(policy, prompts.media) if features is None else features
    hidden = read_branches(policy, prompts, seen, token_bgs, packing)
    return score_hidden(policy.decoder, hidden, token_bgs, sampling, chunk, packing)


def score_reference(
    reference,
    policy: Omni,
    prompts: Prompts,
    rollout: Rollout,
    packing: Packing | None = None,
    *,
    learn: Learn,
    sampling,
):
    """log π of the rollout's tokens f[b, g, s] under the reference, by microbatches.

    `reference` is the part of a policy that is trained; what is frozen is that of `policy`.
    """
    features = None if learn.trains_towers else rollout.features
    frozen = with_part(policy, learn.train, reference)
    batch = constrain(prompts), features, rollout.branches.token, packing

    def logp_of(piece):
        return branch_logp(frozen, *piece, sampling, learn.chunk)

    count = count_pieces(len(prompts.start), learn.microbatch)
    if count == 1:
        return logp_of(batch)
    return whole_of_pieces(jax.lax.map(logp_of, in_pieces(batch, count)))


def score_policy(
    policy: Omni,
    prompts: Prompts,
    rollout: Rollout,
    packing: Packing | None = None,
    *,
    learn: Learn,
    sampling,
):
    """log π of the rollout's tokens f[b, g, s] as updates score it, 0 where none was sampled.

    The policy is the one that sampled them: decoding has recorded the same, but for rounding.
    """
    part = trained_part(policy, learn.train)
    given = part, policy, prompts, rollout, packing
    logp = score_reference(*given, learn=learn, sampling=sampling)
    return jnp.where(rollout.branches.mask, logp, 0.0)


def gather_experience(
    prompts, rollout: Rollout, advantage, kept, reference, scored, learn, packing=None
) -> Experience:
    """The Experience of a rollout; its keys can be freed."""
    branches = rollout.branches
    return Experience(
        prompts=prompts,
        features=None if learn.trains_towers else rollout.features,
        token=branches.token,
        mask=branches.mask,
        kept=kept,
        sampled=branches.logp,
        advantage=advantage,
        reference=reference,
        scored=scored,
        packing=packing,
    )


def update(
    state: TrainState,
    experience: Experience,
    part,
    *,
    learn: Learn,
    sampling: Sampling,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Array]]:
    """One update on minibatch number `part`: its loss, gradient, new state and figures.

    The gradient is that of the loss of the whole minibatch, however many microbatches it is summed
    over: tokens are weighted before it is split.
    """
    minibatches = in_pieces(constrain(experience), learn.minibatches)
    batch = constrain(jax.tree.map(lambda x: x[part], minibatches))
    weight, total = objective.token_weights(
        batch.mask, batch.kept, learn.aggregate, sampling.tokens
    )
    tokens = jnp.maximum(batch.mask.sum(), 1)
    count = count_pieces(batch.token.shape[0], learn.microbatch)

    def loss_of(trained, piece):
        policy = with_part(state.policy, learn.train, trained)
        loss, sums, means, largest = token_sums(policy, *piece, learn=learn, sampling=sampling)
        sums = {name: x / total for name, x in sums.items()}
        means = {name: x / tokens for name, x in means.items()}
        return loss / total, sums | means | largest

    pieces = in_pieces((batch, weight), count)
    trained = trained_part(state.policy, learn.train)
    gradient, sums = summed_gradient(loss_of, trained, pieces, count, LARGEST)
    new, norms = apply_gradient(state, gradient, learn.train, optimizer)
    mean, square = sums.pop('beyond'), sums.pop('beyond_square')
    sums['ratio_spread'] = jnp.sqrt(jnp.maximum(square - mean**2, 0.0))
    return new, sums | norms


def token_sums(policy: Omni, batch: Experience, weight_bgs, *, learn: Learn, sampling: Sampling):
    """The loss of a piece of a minibatch and its figures: (loss, sums, means, largest).

    Loss and `sums` are sums over tokens, weighted as the loss is; `means` are sums over all sampled
    tokens alike, and `largest` holds the largest value at a sampled token.
    """
    given = batch.prompts, batch.features, batch.token, batch.packing
    logp = branch_logp(policy, *given, sampling, learn.chunk)
    before = batch.sampled if batch.scored is None else batch.scored
    gap = objective.log_ratio(logp, before, batch.mask, learn.ratio)
    ratio, bounds = jnp.exp(gap), (learn.clip_low, learn.clip_high)
    if learn.clip == 'cispo':
        surrogate = objective.cispo_surrogate(logp, ratio, batch.advantage, *bounds)
        clipped = objective.is_outside(ratio, *bounds)
    else:
        bounds += (learn.clip_dual,)
        surrogate = objective.clipped_surrogate(ratio, batch.advantage, *bounds)
        clipped = objective.is_clipped(ratio, batch.advantage, *bounds)
    beyond = jnp.expm1(gap)  # the ratio − 1, exact where it is small
    drift = jnp.where(batch.mask, jnp.abs(logp - batch.sampled), 0.0)
    means = {'drift': drift, 'clipped': clipped}
    means |= {'beyond': beyond, 'beyond_square': beyond**2}
    if batch.scored is not None:
        mismatch = objective.sampler_ratio(batch.scored, batch.sampled)
        weight = jnp.minimum(mismatch, learn.ratio_cap)
        surrogate = weight * surrogate
        means |= {'cap_weight': weight, 'capped': mismatch > learn.ratio_cap}
    loss = -surrogate
    if batch.reference is not None:
        means['kl'] = objective.kl_to_reference(logp, batch.reference)
        loss = learn.kl * means['kl'] - surrogate
    loss = objective.weighted_sum(loss, weight_bgs)
    sums = {'loss': loss, 'surrogate': objective.weighted_sum(surrogate, weight_bgs)}
    means = {name: objective.weighted_sum(x, batch.mask) for name, x in means.items()}
    return loss, sums, means, {'drift_largest': drift.max()}


def summed_gradient(loss_of, trained, pieces, count: int, largest=()):
    """The gradient of the sum of loss_of(trained, piece) over `count` pieces, and its figures.

    Figures are summed, but for those with a name in `largest`: of these the largest is taken.
    Pieces are taken one after the other, so that memory does not grow with their number; the sum is
    kept in float32.
    """

    def of(piece):
        (_, figures), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained, piece)
        return gradient, figures

    if count == 1:
        return of(jax.tree.map(lambda x: x[0], pieces))

    def add(total, piece):
        found = of(piece)
        gradient, sums = jax.tree.map(lambda all_, one: all_ + one.astype(all_.dtype), total, found)
        most = {name: jnp.maximum(total[1][name], found[1][name]) for name in largest}
        return (gradient, sums | most), None

    like = jax.eval_shape(of, jax.tree.map(lambda x: x[0], pieces))
    gradient, figures = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), like)
    start = gradient, figures | dict.fromkeys(largest, jnp.float32(-jnp.inf))
    return jax.lax.scan(add, start, pieces)[0]
