"""Reinforcement learning: next prompts, grow, read, learn, record, save."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.models.omni import Omni
from mer_jax.rl.group_relative import CalibrationRule, Weights
from mer_jax.rl.optimizer import host_figures, make_optimizer, start_state
from mer_jax.rl.step import Learn, compiled_roll_out, train_step
from mer_jax.run.records import Timer
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import run_stage
from mer_jax.sharding import named, to_devices, to_host


def make_learn(learn) -> Learn:
    """The frozen form of config.learn."""
    sections = dict(
        learn, weights=Weights(**learn.weights), calibration=CalibrationRule(**learn.calibration)
    )
    return Learn(**sections)


def train(setting: Setting, policy: Omni, workdir: pathlib.Path) -> Omni:
    """The policy after MER-R1; the policy that comes in is the frozen reference.

    The reference is kept as the activations are (model.dtype), to which weights are cast for use.
    """
    c, spec = setting.config, setting.spec
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, c.steps)
    sampling = setting.sampling(c.rollout.temperature, c.rollout.top_p)
    opening = setting.openings(*[setting.slow_opening] * c.rollout.group)
    reference = jax.tree.map(lambda leaf: jnp.array(leaf, spec.dtype), policy.decoder)
    state, shardings = start_state(setting.mesh, policy, policy.decoder, optimizer)
    grow = compiled_roll_out(spec, sampling)
    learn = jax.jit(
        functools.partial(
            train_step, spec=spec, learn=make_learn(c.learn), sampling=sampling, optimizer=optimizer
        ),
        out_shardings=(shardings, named(setting.mesh)),
        donate_argnames='state',
    )
    share = c.prompts_per_step // jax.process_count()
    numbers = np.arange(share, dtype=np.uint32) + jax.process_index() * share
    seed, cache = np.uint32(c.seed), setting.open_cache(policy)

    def update(state, examples, step):
        timer = Timer()
        with timer('grow'):
            batch = setting.collate(examples)
            prompts, number_b = to_devices(setting.mesh, (batch, numbers))
            rollout = grow(
                state.policy, prompts, number_b, seed, np.uint32(step), opening, setting.starts_wcn
            )
            branches = to_host(rollout.branches)
            setting.keep_features(cache, examples, batch, rollout.features)
        with timer('read'):
            reading, _ = setting.reader.read(branches, batch.gold)
        with timer('learn'):
            reading = to_devices(setting.mesh, reading)
            state, figures = learn(state, reference, prompts, rollout, reading, setting.starts_wcn)
            figures = host_figures(figures)
        rate = branches.mask.sum() / sum(timer.seconds.values())
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    prepare = functools.partial(setting.example, cache=cache)
    batches = setting.batches(c.prompts_per_step, 1, prepare)
    return run_stage('train', workdir, c.steps, state, batches, update, c.every).policy
