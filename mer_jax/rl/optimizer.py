"""The optimizer, the part of a policy that it trains, and the state that it starts from."""

import jax
import jax.numpy as jnp
import optax

from mer_jax.group import TrainState
from mer_jax.models.lora import adapters_of, with_adapters
from mer_jax.models.omni import Omni
from mer_jax.sharding import state_shardings

PARTS = ('decoder', 'all', 'lora')  # of a policy, that can be trained


def make_optimizer(optim, learning_rate: float, updates: int) -> optax.GradientTransformation:
    """AdamW under a clipped global norm, warmed up, then along a cosine to optim.decay_to of it.

    It computes in the dtype optim.moments, whatever that of the weights: `start_state` makes its
    moments so.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        learning_rate / (optim.warmup + 1),
        learning_rate,
        optim.warmup,
        max(updates, optim.warmup + 1),
        learning_rate * optim.decay_to,
    )
    in_moments = optax.stateless(lambda gradient, _: as_dtype(gradient, optim.moments))
    return optax.chain(
        optax.chain(in_moments, optax.clip_by_global_norm(optim.clip_norm)),
        optax.adamw(schedule, b2=optim.b2, weight_decay=optim.weight_decay),
    )


def as_dtype(tree, dtype: str):
    """The tree with leaves of this dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def trained_part(policy: Omni, part: str):
    """The tree that is trained: the decoder, 'all' of the policy, or its adapters ('lora')."""
    if part == 'lora':
        return adapters_of(policy)
    return policy.decoder if part == 'decoder' else policy


def with_part(policy: Omni, part: str, trained) -> Omni:
    """The policy with another trained part."""
    if part == 'lora':
        return with_adapters(policy, trained)
    return policy.replace(decoder=trained) if part == 'decoder' else trained


def start_state(
    mesh, policy: Omni, part: str, optimizer, moments: str = 'float32'
) -> tuple[TrainState, TrainState]:
    """The state before the first update, placed on the mesh, and its shardings.

    The optimizer keeps moments of the trained part, in the dtype `moments`.
    """

    def fresh(trained):
        return optimizer.init(as_dtype(trained, moments))

    trained = trained_part(policy, part)
    shardings = state_shardings(mesh, jax.eval_shape(fresh, trained))
    state = TrainState(policy=policy, moments=jax.jit(fresh, out_shardings=shardings)(trained))
    shardings = state_shardings(mesh, state)
    return jax.device_put(state, shardings), shardings


def apply_gradient(
    state: TrainState, gradient, part: str, optimizer: optax.GradientTransformation
) -> tuple[TrainState, dict]:
    """The state after one update of the trained part, and the norms of gradient and update.

    `update_norm` is not finite if the new state is not.
    """
    trained = trained_part(state.policy, part)
    updates, moments = optimizer.update(gradient, state.moments, trained)
    policy = with_part(state.policy, part, optax.apply_updates(trained, updates))
    norms = {'gradient_norm': optax.tree.norm(gradient), 'update_norm': optax.tree.norm(updates)}
    return state.replace(policy=policy, moments=moments), norms


def host_figures(figures) -> dict[str, float]:
    """The figures of a step, fetched; waits for the step."""
    return {name: float(value) for name, value in jax.device_get(figures).items()}
