"""The programs of a run with abstract arguments: those that training compiles, without weights."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mer_jax.evaluation.answers import MODES
from mer_jax.group import Rollout, TrainState
from mer_jax.models.omni import perceive
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import make_optimizer, start_state
from mer_jax.rl.pieces import count_pieces
from mer_jax.run.cold_start import compile_imitation, trained_by_imitation, trains_towers
from mer_jax.run.config_rules import check_config, check_platform, check_tensor
from mer_jax.run.defaults import LORA
from mer_jax.run.mesh_rules import check_rules
from mer_jax.run.origin import (
    STAGE_IDS,
    Origin,
    abstract_policy,
    make_layout,
    open_origin,
    tokenizer_of_stage,
)
from mer_jax.run.plan_batches import abstract_prompts, largest_reading, like_batch, on_mesh
from mer_jax.run.plan_decoding import token_bytes
from mer_jax.run.plan_memory import bytes_of
from mer_jax.run.published_sizes import SPECS
from mer_jax.run.second_look import compiled_look
from mer_jax.run.setting import Setting, make_learn
from mer_jax.run.train import (
    compile_programs,
    make_reference,
    own_names,
    sampling_of_rollouts,
)
from mer_jax.sharding import named, state_shardings, with_shardings


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of a run with the abstract arguments of its largest batch."""

    name: str
    jitted: Callable
    arguments: tuple
    most: int  # trips of a loop that ends by its data: the tokens of a branch
    beside: int  # bytes a chip of the run's other arrays that are alive meanwhile
    token_bytes: float = 0.0  # that decoding a token reads at least on a chip; 0: nothing decodes


# → a function that waits for the shardings of the results, None if the program is refused.
Compile = Callable[[Program], Callable[[], Any]]


def planned_setting(c, variant: str, devices) -> Setting:
    """The Setting of a config on these devices; ValueError if they do not fit each other.

    The variant of a published checkpoint needs no checkpoint: its sizes are known, and the
    tokenizer of the embedded stage takes the place of its own.
    """
    check_config(c, len(devices))
    origin = open_origin(c.model, c.data.stage) if c.model.checkpoint or c.model.text else None
    if origin is None:
        name = variant.removesuffix(LORA)
        if name not in SPECS:
            raise ValueError(
                f'--config FILE:{variant}: the config has no sizes; name a variant, one of '
                f'{", ".join(SPECS)}, or a checkpoint with --config.model.checkpoint'
            )
        how = dict(dtype=c.model.dtype, remat=c.model.remat, attention=c.model.attention)
        spec = dataclasses.replace(SPECS[name], **how)
        ids = tokenizer_of_stage('films').convert_tokens_to_ids(list(STAGE_IDS.values()))
        ids = dict(zip(STAGE_IDS, ids, strict=True))
        origin = Origin(None, spec, ids, make_layout(spec, ids))
    setting = Setting(c, origin=origin, devices=devices)
    check_tensor(setting.mesh, setting.spec.text)
    check_rules(setting.mesh, setting.rules, setting.spec.text)
    check_platform(setting.mesh, c.model.attention, c.model.dtype)
    return setting


def plan_run(setting: Setting, media: str, compile_: Compile) -> None:
    """Hands every program of a run to `compile_`, in its order; jax.set_mesh is in use.

    `media` is that of `plan_batches.abstract_prompts`.
    """
    c = setting.config
    policy = abstract_policy(setting.spec, c, setting.mesh)
    beside = 0
    if c.cold_start.steps:
        plan_cold_start(setting, policy, media, compile_)
    if c.steps:
        alive = plan_training(setting, policy, media, compile_)
        beside = alive if c.every.validate else 0  # validations answer while training holds them
    sampling = setting.sampling(c.evaluate.temperature, c.evaluate.top_p)
    roll_out = rl.compiled_roll_out(sampling, setting.method.watch)
    arguments = rollout_arguments(
        setting, policy, c.evaluate.batch, setting.openings(*MODES), media
    )
    read = bytes_of_token(setting, policy, c.evaluate.batch, len(MODES))
    compile_(Program('evaluate', roll_out, arguments, sampling.tokens - 1, beside, read))


def plan_cold_start(setting: Setting, policy, media: str, compile_: Compile) -> None:
    """Compiles the update of the cold start, and the towers before it where they are frozen."""
    c, b = setting.config, setting.config.cold_start.prompts_per_step
    optimizer = make_optimizer(c.optim, c.cold_start.learning_rate, c.cold_start.steps)
    state, shardings = abstract_state(setting, policy, trained_by_imitation(c), optimizer)
    prompts = abstract_prompts(setting, b, media)
    features = None
    if not trains_towers(c):
        perceived = jax.eval_shape(perceive, policy, prompts.media)
        features = like_batch(setting, perceived)
    modes = len(setting.method.openings)
    branches = [on_mesh(setting, b, kind, modes, setting.writer.most) for kind in ('int32', 'bool')]
    program = compile_imitation(setting, optimizer, shardings)
    compile_(Program('cold_start', program, (state, prompts, features, *branches), 1, 0))


def plan_training(setting: Setting, policy, media: str, compile_: Compile) -> int:
    """Compiles the programs of a training step; the bytes a chip of moments and reference."""
    c, learn, method = setting.config, make_learn(setting.config.learn), setting.method
    optimizer, state, shardings, reference = training_arrays(setting, policy, learn)
    programs = compile_programs(setting, learn, optimizer, shardings)
    b, most = c.prompts_per_step, c.rollout.slow_tokens - 1
    moments, frozen = bytes_of(state.moments), bytes_of(reference)

    def planned(name, jitted, arguments, beside, token_bytes=0.0):
        return compile_(Program(name, jitted, arguments, most, beside, token_bytes))

    arguments = rollout_arguments(setting, policy, b, setting.openings_of_group(), media)
    prompts, number_b, seed, step = arguments[1:5]
    pieces = count_pieces(b, c.rollout.microbatch)
    read = bytes_of_token(setting, policy, b, c.rollout.group, pieces)
    placed = planned('roll_out', programs.roll_out, arguments, moments + frozen, read)
    rollout = abstract_rollout(setting, programs.roll_out, arguments, placed())
    reading = largest_reading(setting, b)
    if method.look:
        sampling = sampling_of_rollouts(setting)
        look = compiled_look(setting.mesh, method.look, sampling, learn.microbatch)
        arguments = policy, prompts, rollout, like_batch(setting, reading), number_b, seed, step
        planned('second_look', look, arguments, moments + frozen)
        seen = jax.eval_shape(look, *arguments)
        reading = method.hear(reading, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), seen))
    reading = like_batch(setting, reading)
    own = {name: on_mesh(setting, b, 'float32', c.rollout.group) for name in own_names(setting)}
    arguments = policy, prompts, rollout, reading, own
    planned('judge', programs.assess, arguments, moments + frozen)
    advantage, kept, _ = jax.eval_shape(programs.assess, *arguments)
    judged = like_batch(setting, (advantage, kept))
    logp = on_mesh(setting, b, 'float32', c.rollout.group, c.rollout.slow_tokens)
    if learn.kl:
        arguments = reference, policy, prompts, rollout
        planned('reference', programs.score_reference, arguments, moments)
    if learn.ratio_cap:
        planned('scored', programs.score_policy, (policy, prompts, rollout), moments + frozen)
    logp = logp if learn.kl else None, logp if learn.ratio_cap else None
    experience = rl.gather_experience(prompts, rollout, *judged, *logp, learn)
    planned('update', programs.update, (state, experience, np.int32(0)), frozen)
    return moments + frozen


def bytes_of_token(setting: Setting, policy, b: int, g: int, pieces: int = 1) -> float:
    """`token_bytes` of the largest rollout of a config."""
    c = setting.config
    t, s = max(c.data.prompt_tokens), c.rollout.slow_tokens
    chips, dtype = setting.mesh.size, setting.spec.dtype
    return token_bytes(policy.decoder, b, g, t, s, chips, dtype, pieces)


def training_arrays(setting: Setting, policy, learn: rl.Learn) -> tuple:
    """The optimizer, the state and its shardings, and the reference, which training holds."""
    c = setting.config
    updates = c.steps * learn.minibatches * learn.epochs
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, updates)
    state, shardings = abstract_state(setting, policy, learn.train, optimizer)
    reference = jax.eval_shape(lambda policy: make_reference(setting, policy, learn), policy)
    reference = with_shardings(reference, state_shardings(setting.mesh, reference))
    return optimizer, state, shardings, reference


def lasting_arrays(setting: Setting) -> dict:
    """The arrays that lie on the devices through all of training, by name."""
    policy = abstract_policy(setting.spec, setting.config, setting.mesh)
    if not setting.config.steps:
        return {'weights': policy}
    _, state, _, reference = training_arrays(setting, policy, make_learn(setting.config.learn))
    return {'weights': policy, 'moments': state.moments, 'reference': reference}


def abstract_state(setting: Setting, policy, part: str, optimizer) -> tuple[TrainState, TrainState]:
    """The state before the first update and its shardings, as `start_state` gives them."""
    mesh, moments = setting.mesh, setting.config.optim.moments
    state = jax.eval_shape(
        lambda policy: start_state(mesh, policy, part, optimizer, moments)[0], policy
    )
    shardings = state_shardings(mesh, state)
    return with_shardings(state, shardings), shardings


def rollout_arguments(setting: Setting, policy, b: int, opening_go, media: str) -> tuple:
    """The arguments of `rl.step.roll_out` for b prompts with a branch for each opening."""
    numbers = on_mesh(setting, b, 'uint32')
    prompts, zero = abstract_prompts(setting, b, media), np.uint32(0)
    return policy, prompts, numbers, zero, zero, opening_go


def abstract_rollout(setting: Setting, roll_out, arguments: tuple, shardings) -> Rollout:
    """The results of a rollout, placed as the compiler does, or by prompts if it has refused."""
    rollout = jax.eval_shape(roll_out, *arguments)
    if shardings is None:
        by_layer = named(setting.mesh, None, 'batch')
        shardings = jax.tree.map(lambda _: named(setting.mesh, 'batch'), rollout)
        shardings = shardings.replace(keys=jax.tree.map(lambda _: by_layer, rollout.keys))
    return with_shardings(rollout, shardings)
