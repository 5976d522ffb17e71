"""One update of the policy, from top to bottom like the method (docs/METHOD.md)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mer_jax.group import Array, Branches, Keys, Prompts, Reading, TrainState
from mer_jax.methods.mer_r1_rewards import (
    calibrate_categories,
    calibrate_words,
    reward_terms,
)
from mer_jax.models.decoder import Decoder
from mer_jax.models.omni import perceive, read_prompts
from mer_jax.models.spec import Spec
from mer_jax.rl.group_relative import CalibrationRule, Weights, group_advantage
from mer_jax.rl.grow import (
    Sampling,
    anchor_distribution,
    branch_hidden,
    category_confidence,
    grow,
    score,
)
from mer_jax.rl.objective import aggregate, clipped_surrogate, kl_to_reference
from mer_jax.sharding import constrain


@dataclasses.dataclass(frozen=True)
class Learn:
    """What is learnt from a rollout: every switch of the method."""

    weights: Weights = Weights()
    calibration: CalibrationRule = CalibrationRule()
    disentangle: str = 'advantage'
    standardise: bool = True
    kl: float = 0.04
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregate: str = 'token'
    chunk: int = 128  # branch tokens whose vocabulary logits exist at a time


@struct.dataclass
class Rollout:
    """Grown branches with what of the prompts is still in memory."""

    branches: Branches
    features: Array  # f[b, rows, d], what the towers made of the media
    keys: Keys  # of the prompts, by the policy that grew the branches


def roll_out(
    policy, prompts: Prompts, number_b, seed, step, opening_go, starts_wcn, *, spec, sampling
) -> Rollout:
    """Perceive and read each prompt once, then grow its branches.

    The random keys follow from seed, step and the number of each prompt, and from nothing else.
    """
    prompts = constrain(prompts)
    key = jax.random.fold_in(jax.random.key(seed), step)
    key_b = jax.vmap(lambda number: jax.random.fold_in(key, number))(number_b)
    features = perceive(policy, prompts.media)
    keys = read_prompts(policy.decoder, prompts, features, spec.remat)
    branches = grow(policy.decoder, spec, prompts, keys, key_b, opening_go, starts_wcn, sampling)
    return Rollout(branches=constrain(branches), features=constrain(features), keys=keys)


@functools.cache
def compiled_roll_out(spec: Spec, sampling: Sampling):
    """`roll_out` for one model and one way of sampling, compiled once for each size of batch."""
    return jax.jit(functools.partial(roll_out, spec=spec, sampling=sampling))


def calibrate(decoder, spec, prompts, rollout, reading, starts_wcn, level, sampling):
    """Slow-fast confidence calibration from the decoded confidences and one echo forward."""
    branches = rollout.branches
    hidden = branch_hidden(decoder, spec, prompts, rollout.keys, reading.echo)
    temperature, banned = sampling.temperature, sampling.banned
    fast = anchor_distribution(decoder, spec, hidden, reading.echo_anchor, temperature, banned)
    at = jnp.maximum(reading.anchor, 0)
    if level == 'category':
        slow = jnp.take_along_axis(branches.confidence, at[..., None, None], axis=2)
        return calibrate_categories(
            slow,
            category_confidence(fast, starts_wcn),
            reading.anchor,
            prompts.gold,
            (starts_wcn >= 0).any(-1),
        )
    slow = jnp.take_along_axis(branches.logp + branches.nucleus, at, axis=2)
    word = jnp.take_along_axis(branches.token, at, axis=2)
    fast = jnp.take_along_axis(fast, word[..., None], axis=-1)[..., 0]
    return calibrate_words(slow, fast, reading.anchor, reading.right)


def train_step(
    state: TrainState,
    reference: Decoder,
    prompts: Prompts,
    rollout: Rollout,
    reading: Reading,
    starts_wcn,
    *,
    spec: Spec,
    learn: Learn,
    sampling: Sampling,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Array]]:
    """One update: terms → advantage → reference → gradient of (−surrogate + β · KL) → new state."""
    prompts, branches = constrain(prompts), rollout.branches
    policy, rule = state.policy, learn.calibration

    def branch_logp(decoder):
        keys = read_prompts(decoder, prompts, rollout.features, spec.remat)
        return score(
            decoder,
            spec,
            prompts,
            keys,
            branches.token,
            temperature=sampling.temperature,
            banned=sampling.banned,
            chunk=learn.chunk,
        )

    terms = reward_terms(reading.named, prompts.gold, reading.formed)
    calibration = calibrate(
        policy.decoder, spec, prompts, rollout, reading, starts_wcn, rule.level, sampling
    )
    advantage = group_advantage(
        terms,
        calibration,
        weights=learn.weights,
        rule=rule,
        disentangle=learn.disentangle,
        scale=learn.standardise,
    )
    sampled = branches.logp + branches.nucleus
    reference_logp = branch_logp(reference)

    def loss_of(decoder):
        logp = branch_logp(decoder)
        surrogate = clipped_surrogate(logp, sampled, advantage, learn.clip_low, learn.clip_high)
        kl = kl_to_reference(logp, reference_logp)
        loss = aggregate(learn.kl * kl - surrogate, branches.mask, learn.aggregate)
        return loss, {
            'surrogate': aggregate(surrogate, branches.mask, learn.aggregate),
            'kl': aggregate(kl, branches.mask, 'token'),
            'drift': aggregate(jnp.abs(logp - sampled), branches.mask, 'token'),
        }

    (loss, parts), gradient = jax.value_and_grad(loss_of, has_aux=True)(policy.decoder)
    updates, moments = optimizer.update(gradient, state.moments, policy.decoder)
    policy = policy.replace(decoder=optax.apply_updates(policy.decoder, updates))
    figures = {'loss': loss, **parts, 'gradient_norm': optax.tree.norm(gradient)}
    figures['update_norm'] = optax.tree.norm(updates)  # not finite if the new state is not
    figures |= spread('', terms) | spread('calibration_', calibration)
    figures['advantage_std'] = advantage.std(1).mean()
    figures['silent_groups'] = (advantage == 0).all(1).mean()
    figures['tokens'] = branches.mask.sum(-1).mean()
    figures['ended'] = (branches.token == sampling.end).any(-1).mean()
    return state.replace(step=state.step + 1, policy=policy, moments=moments), figures


def spread(prefix: str, terms) -> dict[str, Array]:
    """The mean of each term f[b, g], and its standard deviation inside a group, over groups."""
    names = {f.name: getattr(terms, f.name) for f in dataclasses.fields(terms)}
    means = {prefix + name: x.mean() for name, x in names.items()}
    return means | {f'{prefix}{name}_std': x.std(1).mean() for name, x in names.items()}
