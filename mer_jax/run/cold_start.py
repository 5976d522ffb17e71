"""The cold start: gold branches of every mode of a prompt, learnt together by their likelihood."""

import functools
import pathlib
from collections.abc import Callable

import jax
import optax

from mer_jax.group import Array, Prompts, TrainState
from mer_jax.models.omni import Omni, perceive
from mer_jax.rl.objective import token_weights, weighted_sum
from mer_jax.rl.optimizer import (
    apply_gradient,
    host_figures,
    make_optimizer,
    start_state,
    trained_part,
    with_part,
)
from mer_jax.rl.score import Sampling
from mer_jax.rl.step import branch_logp
from mer_jax.run.feature_cache import keep_features, open_cache
from mer_jax.run.records import Timer
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import run_stage
from mer_jax.sharding import constrain, named, to_devices


def imitate_step(
    state: TrainState,
    prompts: Prompts,
    features: Array | None,
    token_bgs: Array,
    mask_bgs: Array,
    *,
    modes: tuple[str, ...],
    sampling: Sampling,
    chunk: int,
    optimizer: optax.GradientTransformation,
    aggregate: str = 'token',
) -> tuple[TrainState, dict[str, Array]]:
    """One update on gold branches, one a mode: the mean of −log p, through one prompt.

    `aggregate` is 'token', the mean over all tokens, or 'sequence', the mean over each branch's
    tokens, then over branches, so that an answer of one word counts like a long one.

    Given `features`, the towers are frozen; else they perceive, and learn with the decoder.
    """
    prompts, part = constrain(prompts), 'all' if features is None else 'decoder'

    def loss_of(trained):
        policy = with_part(state.policy, part, trained)
        logp = branch_logp(policy, prompts, features, token_bgs, sampling, chunk)
        losses = {
            f'{mode}_loss': mean(-logp[:, i : i + 1], mask_bgs[:, i : i + 1], aggregate)
            for i, mode in enumerate(modes)
        }
        return mean(-logp, mask_bgs, aggregate), losses

    trained = trained_part(state.policy, part)
    (loss, losses), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    state, norms = apply_gradient(state, gradient, part, optimizer)
    return state, {'loss': loss} | losses | norms


def mean(x_bgs, mask_bgs, aggregate: str):
    """The mean of f[b, g, s] over the tokens of the mask, by token or by branch that has any."""
    weight, total = token_weights(mask_bgs, mask_bgs.any(-1), aggregate)
    return weighted_sum(x_bgs, weight) / total


def trained_by_imitation(section) -> str:
    """The part of a policy that the cold start trains, of `rl.optimizer.PARTS`."""
    return 'all' if section.towers else 'decoder'


def compile_imitation(setting: Setting, optimizer, shardings) -> Callable:
    """The program of `imitate_step`; it compiles when it is first called."""
    return jax.jit(
        functools.partial(
            imitate_step,
            modes=tuple(setting.method.openings),
            sampling=setting.sampling(1.0, 1.0),
            chunk=setting.config.learn.chunk,
            optimizer=optimizer,
            aggregate=setting.config.cold_start.aggregate,
        ),
        out_shardings=(shardings, named(setting.mesh)),
        donate_argnums=0,
    )


def cold_start(setting: Setting, policy: Omni, workdir: pathlib.Path) -> Omni:
    """The policy after imitating gold branches; resumes from the last checkpoint."""
    c = setting.config
    optimizer = make_optimizer(c.optim, c.cold_start.learning_rate, c.cold_start.steps)
    towers = c.cold_start.towers
    cache = None if towers else open_cache(setting, policy)
    part = trained_by_imitation(c.cold_start)
    state, shardings = start_state(setting.mesh, policy, part, optimizer, c.optim.moments)
    step = compile_imitation(setting, optimizer, shardings)
    look = jax.jit(perceive)

    def update(state, examples, _):
        timer, batcher = Timer(), setting.batcher
        with timer('update'):
            prompts, (token, mask) = batcher.collate(examples), batcher.gold_branches(examples)
            arrays = to_devices(setting.mesh, (prompts, token, mask))
            features = None if towers else look(state.policy, arrays[0].media)
            state, figures = step(state, arrays[0], features, *arrays[1:])
            figures = host_figures(figures)
            keep_features(cache, examples, prompts, features)
        rate = (prompts.mask.sum() + mask.sum()) / timer.seconds['update']
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    prepare = functools.partial(setting.writer.gold_example, cache=cache)
    lessons, clips = setting.method.lessons, setting.train_clips
    clips = lessons(clips) if lessons else clips
    batches = setting.batches(clips, c.cold_start.prompts_per_step, 0, prepare)
    state = run_stage('cold_start', workdir, c.cold_start.steps, state, batches, update, c.every)
    return state.policy
