"""The cold start: gold slow and fast branches of a prompt, learnt together by their likelihood."""

import functools
import pathlib

import jax
import optax

from mer_jax.group import Array, Prompts, TrainState
from mer_jax.models.omni import Omni, perceive, read_prompts
from mer_jax.models.spec import Spec
from mer_jax.rl.grow import score
from mer_jax.rl.objective import aggregate
from mer_jax.rl.optimizer import host_figures, make_optimizer, start_state
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
    spec: Spec,
    banned: tuple[int, ...],
    chunk: int,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Array]]:
    """One update on gold branches: the token mean of −log p, slow and fast through one prompt.

    Where `features` are given, the towers are frozen; else they look, and learn with the decoder.
    """
    prompts, towers = constrain(prompts), features is None

    def loss_of(trained):
        policy = trained if towers else state.policy.replace(decoder=trained)
        seen = perceive(policy, prompts.media) if towers else features
        keys = read_prompts(policy.decoder, prompts, seen, spec.remat)
        logp = score(policy.decoder, spec, prompts, keys, token_bgs, banned=banned, chunk=chunk)
        parts = {
            name: aggregate(-logp[:, i], mask_bgs[:, i], 'token')
            for i, name in enumerate(('slow_loss', 'fast_loss'))
        }
        return aggregate(-logp, mask_bgs, 'token'), parts

    trained = state.policy if towers else state.policy.decoder
    (loss, parts), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    updates, moments = optimizer.update(gradient, state.moments, trained)
    trained = optax.apply_updates(trained, updates)
    policy = trained if towers else state.policy.replace(decoder=trained)
    figures = {'loss': loss, **parts, 'gradient_norm': optax.tree.norm(gradient)}
    figures['update_norm'] = optax.tree.norm(updates)  # not finite if the new state is not
    return state.replace(step=state.step + 1, policy=policy, moments=moments), figures


def cold_start(setting: Setting, policy: Omni, workdir: pathlib.Path) -> Omni:
    """The policy after imitating gold branches; goes on where an earlier run stopped."""
    c = setting.config
    optimizer = make_optimizer(c.optim, c.cold_start.learning_rate, c.cold_start.steps)
    towers = c.cold_start.towers
    trained = policy if towers else policy.decoder
    cache = None if towers else setting.open_cache(policy)
    state, shardings = start_state(setting.mesh, policy, trained, optimizer)
    step = jax.jit(
        functools.partial(
            imitate_step,
            spec=setting.spec,
            banned=setting.sampling(1.0, 1.0).banned,
            chunk=c.learn.chunk,
            optimizer=optimizer,
        ),
        out_shardings=(shardings, named(setting.mesh)),
        donate_argnums=0,
    )

    look = jax.jit(perceive)

    def update(state, examples, _):
        timer = Timer()
        with timer('update'):
            prompts, (token, mask) = setting.collate(examples), setting.gold_branches(examples)
            arrays = to_devices(setting.mesh, (prompts, token, mask))
            features = None if towers else look(state.policy, media=arrays[0].media)
            state, figures = step(state, arrays[0], features, *arrays[1:])
            figures = host_figures(figures)
            setting.keep_features(cache, examples, prompts, features)
        rate = (prompts.mask.sum() + mask.sum()) / timer.seconds['update']
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    prepare = functools.partial(setting.gold_example, cache=cache)
    batches = setting.batches(c.cold_start.prompts_per_step, 0, prepare)
    state = run_stage('cold_start', workdir, c.cold_start.steps, state, batches, update, c.every)
    return state.policy
