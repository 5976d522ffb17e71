"""Reinforcement learning: next prompts, grow, read, learn, record, save."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mer_jax.group import TrainState
from mer_jax.loop import run_stage
from mer_jax.models.omni import Omni
from mer_jax.records import Timer
from mer_jax.rl.advantages import CalibrationRule, Weights
from mer_jax.rl.step import Learn, roll_out, train_step
from mer_jax.setting import Setting
from mer_jax.sharding import named, state_shardings, to_devices, to_host


def make_optimizer(optim, learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW under a clipped global norm, warmed up, then along a cosine to a tenth."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, optim.warmup, max(steps, optim.warmup + 1), learning_rate / 10
    )
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.adamw(schedule, b2=optim.b2, weight_decay=optim.weight_decay),
    )


def start_state(
    setting: Setting, policy: Omni, trained, optimizer
) -> tuple[TrainState, TrainState]:
    """The state before the first update, placed on the mesh, and its shardings.

    `trained` is the part of the policy that the optimizer keeps moments of.
    """
    moments = jax.jit(optimizer.init)(trained)
    state = TrainState(step=jnp.int32(0), policy=policy, moments=moments)
    shardings = state_shardings(setting.mesh, state)
    return jax.device_put(state, shardings), shardings


def make_learn(learn) -> Learn:
    """The frozen form of config.learn."""
    sections = dict(
        learn, weights=Weights(**learn.weights), calibration=CalibrationRule(**learn.calibration)
    )
    return Learn(**sections)


def host_figures(figures) -> dict[str, float]:
    """The figures of a step, fetched; waits for the step."""
    return {name: float(value) for name, value in jax.device_get(figures).items()}


def train(setting: Setting, policy: Omni, workdir: pathlib.Path) -> Omni:
    """The policy after MER-R1; the policy that comes in is the frozen reference."""
    c, spec = setting.config, setting.spec
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, c.steps)
    sampling = setting.sampling(c.rollout.temperature, c.rollout.top_p)
    opening = setting.openings(*[setting.slow_opening] * c.rollout.group)
    reference = jax.tree.map(jnp.copy, policy.decoder)
    state, shardings = start_state(setting, policy, policy.decoder, optimizer)
    grow = jax.jit(functools.partial(roll_out, spec=spec, sampling=sampling))
    learn = jax.jit(
        functools.partial(
            train_step, spec=spec, learn=make_learn(c.learn), sampling=sampling, optimizer=optimizer
        ),
        out_shardings=(shardings, named(setting.mesh)),
        donate_argnames='state',
    )
    share = c.prompts_per_step // jax.process_count()
    numbers = np.arange(share, dtype=np.uint32) + jax.process_index() * share
    seed = np.uint32(c.seed)

    def update(state, batch, step):
        timer = Timer()
        with timer('grow'):
            prompts, number_b = to_devices(setting.mesh, (batch.prompts, numbers))
            rollout = grow(
                state.policy, prompts, number_b, seed, np.uint32(step), opening, setting.starts_wcn
            )
            branches = to_host(rollout.branches)
        with timer('read'):
            reading, _ = setting.reader.read(branches, batch.prompts.gold)
        with timer('learn'):
            reading = to_devices(setting.mesh, reading)
            state, figures = learn(state, reference, prompts, rollout, reading, setting.starts_wcn)
            figures = host_figures(figures)
        rate = branches.mask.sum() / sum(timer.seconds.values())
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    batches = setting.batches(c.prompts_per_step, salt=1)
    return run_stage('train', workdir, c.steps, state, batches, update, c.every).policy
