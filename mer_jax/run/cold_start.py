"""The cold start: gold branches of every mode of a prompt, learnt together by their likelihood."""

import functools
import pathlib
from collections.abc import Callable

import jax
import optax

from mer_jax.group import Array, Packing, Prompts, TrainState
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
from mer_jax.rl.pieces import count_pieces, in_pieces
from mer_jax.rl.score import Sampling
from mer_jax.rl.step import branch_logp, summed_gradient
from mer_jax.run.feature_cache import keep_features, open_cache
from mer_jax.run.packing import pack
from mer_jax.run.records import Timer
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import UNWATCHED, Watched, run_stage
from mer_jax.run.traced import keep_traced
from mer_jax.run.workdir import last_saved
from mer_jax.sharding import constrain, named, to_devices


def imitate_step(
    state: TrainState,
    prompts: Prompts,
    features: Array | None,
    token_bgs: Array,
    mask_bgs: Array,
    packing: Packing | None = None,
    *,
    part: str,
    modes: tuple[str, ...],
    sampling: Sampling,
    chunk: int,
    optimizer: optax.GradientTransformation,
    aggregate: str = 'token',
    microbatch: int = 0,
) -> tuple[TrainState, dict[str, Array]]:
    """One update on gold branches, one a mode: the mean of −log p, through one prompt.

    `aggregate` is 'token', the mean over all tokens, or 'sequence', the mean over each branch's
    tokens, then over branches, so that an answer of one word counts like a long one. The gradient
    is that of the whole batch, whatever the `microbatch` (prompts a device at a time, 0: all).

    `part` of the policy is trained (`rl.optimizer.PARTS`). Without `features` the towers perceive,
    without `packing` branches are computed with their padding.
    """
    prompts = constrain(prompts)
    weight, total = weights_of(mask_bgs, aggregate)
    totals = [weights_of(mask_bgs[:, i : i + 1], aggregate)[1] for i in range(len(modes))]

    def loss_of(trained, piece):
        *batch, weight = piece
        policy = with_part(state.policy, part, trained)
        logp = branch_logp(policy, *batch, sampling, chunk)
        sums = {
            f'{mode}_loss': weighted_sum(-logp[:, i], weight[:, i]) / totals[i]
            for i, mode in enumerate(modes)
        }
        loss = weighted_sum(-logp, weight) / total
        return loss, {'loss': loss} | sums

    count = count_pieces(token_bgs.shape[0], microbatch)
    pieces = in_pieces((prompts, features, token_bgs, packing, weight), count)
    trained = trained_part(state.policy, part)
    gradient, losses = summed_gradient(loss_of, trained, pieces, count)
    state, norms = apply_gradient(state, gradient, part, optimizer)
    return state, losses | norms


def weights_of(mask_bgs, aggregate: str):
    """`token_weights` of all branches that have a token to learn."""
    return token_weights(mask_bgs, mask_bgs.any(-1), aggregate, mask_bgs.shape[-1])


def trained_by_imitation(c) -> str:
    """The part of a policy that the cold start trains, of `rl.optimizer.PARTS`."""
    if c.learn.train == 'lora':
        return 'lora'
    return 'all' if c.cold_start.towers else 'decoder'


def trains_towers(c) -> bool:
    """Whether the cold start changes the towers, or their adapters."""
    return c.learn.lora.towers if c.learn.train == 'lora' else c.cold_start.towers


def compile_imitation(setting: Setting, optimizer, shardings) -> Callable:
    """The program of `imitate_step`; it compiles when it is first called."""
    return jax.jit(
        functools.partial(
            imitate_step,
            part=trained_by_imitation(setting.config),
            modes=tuple(setting.method.openings),
            sampling=setting.sampling(1.0, 1.0),
            chunk=setting.config.learn.chunk,
            optimizer=optimizer,
            aggregate=setting.config.cold_start.aggregate,
            microbatch=setting.config.learn.microbatch,
        ),
        out_shardings=(shardings, named(setting.mesh)),
        donate_argnums=0,
    )


def names_of_imitation(c) -> tuple[str, str]:
    """The names by which `run.traced` keeps the programs of a cold start, in their order."""
    return 'perceive', f'imitate {c.cold_start.steps}'  # its learning rate depends on the steps


def cold_start(
    setting: Setting,
    policy: Omni,
    workdir: pathlib.Path,
    watched: Watched = UNWATCHED,
) -> Omni:
    """The policy after imitating gold branches; resumes from the last checkpoint."""
    c = setting.config
    optimizer = make_optimizer(c.optim, c.cold_start.learning_rate, c.cold_start.steps)
    towers = trains_towers(c)
    cache = None if towers else open_cache(setting, policy)
    part = trained_by_imitation(c)
    prepare = functools.partial(setting.writer.gold_example, cache=cache)
    lessons, clips = setting.method.lessons, setting.train_clips
    clips = lessons(clips) if lessons else clips
    batches = setting.batches(clips, c.cold_start.prompts_per_step, 0, prepare)
    if c.cold_start.steps and not last_saved(workdir / 'cold_start'):  # else none, or later ones
        batches.begin()
    state, shardings = start_state(setting.mesh, policy, part, optimizer, c.optim.moments)
    name_of_look, name_of_step = names_of_imitation(c)
    step = compile_imitation(setting, optimizer, shardings)
    step = keep_traced(setting, name_of_step, step, donates=True)
    look = keep_traced(setting, name_of_look, jax.jit(perceive))

    def update(state, examples, _):
        timer, batcher = Timer(), setting.batcher
        with timer('update'):
            prompts, (token, mask) = batcher.collate(examples), batcher.gold_branches(examples)
            size = c.cold_start.prompts_per_step
            packing = pack(mask, size, c.learn.microbatch, c.learn.packing)
            arrays = to_devices(setting.mesh, (prompts, token, mask, packing))
            features = None if towers else look(state.policy, arrays[0].media)
            state, figures = step(state, arrays[0], features, *arrays[1:])
            figures = host_figures(figures)
            keep_features(cache, examples, prompts, features)
        rate = (prompts.mask.sum() + mask.sum()) / timer.seconds['update']
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    loop = workdir, c.cold_start.steps, state, batches, update, c.every
    state = run_stage('cold_start', *loop, later='train', spike=c.spike, watched=watched)
    return state.policy
