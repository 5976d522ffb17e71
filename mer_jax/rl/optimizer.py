"""The optimizer, and the state that it starts from."""

import jax
import jax.numpy as jnp
import optax

from mer_jax.group import TrainState
from mer_jax.models.omni import Omni
from mer_jax.sharding import state_shardings


def make_optimizer(optim, learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW under a clipped global norm, warmed up, then along a cosine to a tenth.

    Its moments and updates are of the dtype optim.moments, whatever that of the weights.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        learning_rate / (optim.warmup + 1),
        learning_rate,
        optim.warmup,
        max(steps, optim.warmup + 1),
        learning_rate / 10,
    )
    chain = optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.adamw(schedule, b2=optim.b2, weight_decay=optim.weight_decay),
    )

    def cast(tree):
        return jax.tree.map(lambda leaf: leaf.astype(optim.moments), tree)

    def update(gradient, moments, weights):
        updates, moments = chain.update(cast(gradient), moments, cast(weights))
        return updates, moments

    return optax.GradientTransformation(lambda weights: chain.init(cast(weights)), update)


def start_state(mesh, policy: Omni, trained, optimizer) -> tuple[TrainState, TrainState]:
    """The state before the first update, placed on the mesh, and its shardings.

    `trained` is the part of the policy that the optimizer keeps moments of.
    """
    like = jax.eval_shape(optimizer.init, trained)
    moments = jax.jit(optimizer.init, out_shardings=state_shardings(mesh, like))(trained)
    state = TrainState(step=jnp.int32(0), policy=policy, moments=moments)
    shardings = state_shardings(mesh, state)
    return jax.device_put(state, shardings), shardings


def host_figures(figures) -> dict[str, float]:
    """The figures of a step, fetched; waits for the step."""
    return {name: float(value) for name, value in jax.device_get(figures).items()}
