"""Reinforcement learning: next prompts, roll out, read, judge, update, record, save."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.group import Packing, Rollout, TrainState
from mer_jax.methods import METHODS
from mer_jax.methods.own_rewards import check_functions, own_terms
from mer_jax.models.omni import Omni
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import host_figures, make_optimizer, start_state, trained_part
from mer_jax.rl.score import Sampling
from mer_jax.run.feature_cache import keep_features, open_cache
from mer_jax.run.packing import pack
from mer_jax.run.records import Timer
from mer_jax.run.second_look import look_again, name_of_look
from mer_jax.run.setting import Setting, make_learn
from mer_jax.run.stage_loop import UNWATCHED, Watched, run_stage
from mer_jax.run.traced import keep_traced
from mer_jax.run.validation import Validation
from mer_jax.sharding import largest_of_all, named, to_devices, to_each_device, to_host


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a step; their arguments are those of the functions of rl.step."""

    roll_out: Callable
    assess: Callable
    score_reference: Callable
    score_policy: Callable
    update: Callable


def sampling_of_rollouts(setting: Setting) -> Sampling:
    """How branches are sampled in training."""
    rollout = setting.config.rollout
    return setting.sampling(rollout.temperature, rollout.top_p)


def compile_programs(setting: Setting, learn: rl.Learn, optimizer, shardings) -> Programs:
    """The programs of a step; they compile when they are first called."""
    c, method = setting.config, setting.method
    sampling = sampling_of_rollouts(setting)
    common = dict(learn=learn, sampling=sampling)
    by_prompt, everywhere = named(setting.mesh, 'batch'), named(setting.mesh)
    return Programs(
        roll_out=rl.compiled_roll_out(sampling, method.watch, c.rollout.microbatch),
        assess=jax.jit(
            functools.partial(rl.assess, judge=method.judge, **common),
            out_shardings=(by_prompt, by_prompt, everywhere),
        ),
        score_reference=jax.jit(
            functools.partial(rl.score_reference, **common), out_shardings=by_prompt
        ),
        score_policy=jax.jit(functools.partial(rl.score_policy, **common), out_shardings=by_prompt),
        update=jax.jit(
            functools.partial(rl.update, optimizer=optimizer, **common),
            out_shardings=(shardings, everywhere),
            donate_argnames='state',
        ),
    )


def keep_programs(setting: Setting, programs: Programs) -> Programs:
    """The programs of a step, of which `run.traced` keeps the traced form."""
    kept = {name: keep_traced(setting, name, program) for name, program in vars(programs).items()}
    name = name_of_update(setting.config)
    return Programs(**kept | {'update': keep_traced(setting, name, programs.update, donates=True)})


def names_of_step(setting: Setting) -> list[str]:
    """The names by which `run.traced` keeps the programs of a step, in their order."""
    c = setting.config
    sampling = sampling_of_rollouts(setting)
    looks = [name_of_look(sampling)] if setting.method.look else []
    scores = ['score_reference'] * bool(c.learn.kl) + ['score_policy'] * bool(c.learn.ratio_cap)
    return ['roll_out', *looks, 'assess', *scores, name_of_update(c)]


def name_of_update(c) -> str:
    """The name by which `run.traced` keeps the program of an update."""
    return f'update {c.steps}'  # its learning rate depends on the steps


def train(
    setting: Setting,
    policy: Omni,
    workdir: pathlib.Path,
    validation: Validation | None = None,
    watched: Watched = UNWATCHED,
) -> Omni:
    """The policy after reinforcement learning; the policy that comes in is the frozen reference."""
    c, method, learn = setting.config, setting.method, make_learn(setting.config.learn)
    updates = c.steps * learn.minibatches * learn.epochs
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, updates)
    reference = make_reference(setting, policy, learn)
    state, shardings = start_state(setting.mesh, policy, learn.train, optimizer, c.optim.moments)
    programs = keep_programs(setting, compile_programs(setting, learn, optimizer, shardings))
    sampling = sampling_of_rollouts(setting)
    parts = numbers_of_minibatches(setting.mesh, learn)
    opening, seed = to_each_device(setting.mesh, (setting.openings_of_group(), np.uint32(c.seed)))
    cache = None if learn.trains_towers else open_cache(setting, policy)
    prepare = functools.partial(setting.writer.example, cache=cache)
    batches = setting.batches(
        setting.train_clips, c.prompts_per_step, 1, prepare, learn.minibatches
    )
    numbers = np.array(batches.numbers, np.uint32)
    minibatch = c.prompts_per_step // learn.minibatches

    def update(state, examples, step):
        timer, clips = Timer(), [example.clip for example in examples]
        with timer('grow'):
            batch = setting.batcher.collate(examples)
            prompts, number_b = to_devices(setting.mesh, (batch, numbers))
            step = to_each_device(setting.mesh, np.uint32(step))
            rollout = programs.roll_out(state.policy, prompts, number_b, seed, step, opening)
            token, mask = to_host((rollout.branches.token, rollout.branches.mask))
            keep_features(cache, examples, batch, rollout.features)
            rollout = without_padding(rollout, mask, c.learn.lengths)
        with timer('read'):
            texts = setting.texts.read(token, mask)
            reading, _ = method.read(texts, clips)
            said = [[str(text) for text in row] for row in texts]
            own = own_terms(c.learn.rewards, own_names(setting), said, clips)
        with timer('look'):
            arrays = state.policy, prompts, rollout, reading, number_b
            reading = look_again(setting, sampling, *arrays, seed, step)
        with timer('learn'):
            mask = mask[:, :, : rollout.branches.mask.shape[2]]
            packing = pack(mask, minibatch, learn.microbatch, c.learn.packing)
            reading, own, packing = to_devices(setting.mesh, (reading, own, packing))
            arrays = prompts, rollout, reading, own
            experience, figures = judge(programs, state.policy, reference, *arrays, learn, packing)
            del rollout, arrays  # the keys of the prompts are large
            state, of_updates = learn_from(programs, state, experience, parts, learn)
            figures = of_updates | host_figures(figures)
        rate = mask.sum() / sum(timer.seconds.values())
        return state, figures, timer.seconds | {'tokens_per_second': rate}

    loop = workdir, c.steps, state, batches, update, c.every, method.plotted, validation
    return run_stage('train', *loop, spike=c.spike, watched=watched).policy


def without_padding(rollout: Rollout, mask_bgs: np.ndarray, lengths: Sequence[int]) -> Rollout:
    """The rollout cut to the shortest of `lengths` that holds all sampled tokens of all processes.

    `mask_bgs` holds the rows of this process. Where no length does, the rollout stays as it is.
    """
    if not lengths:
        return rollout
    sampled = np.flatnonzero(mask_bgs.any((0, 1)))
    (longest,) = largest_of_all([sampled[-1] + 1 if len(sampled) else mask_bgs.shape[2]])
    fitting = [length for length in lengths if longest <= length < mask_bgs.shape[2]]
    if not fitting:
        return rollout
    return rollout.replace(branches=rl.cut(rollout.branches, min(fitting)))


def own_names(setting: Setting) -> list[str]:
    """The names of the user's own rewards: those with a weight that the method lacks."""
    return [name for name in setting.config.learn.weights if name not in setting.method.terms]


def check_rewards(setting: Setting) -> None:
    """Try the user's reward functions before anything is trained; RewardError if one fails."""
    functions, terms = setting.config.learn.rewards, setting.method.terms
    figures = rl.FIGURES + METHODS[setting.config.method].FIGURES
    check_functions(functions, own_names(setting), terms, figures, setting.train_clips[0])


def make_reference(setting: Setting, policy: Omni, learn: rl.Learn):
    """The frozen copy of the trained part, in model.dtype; None where the loss has no KL.

    Of a policy with adapters only these are copied. Where they are new, B is zero, and the
    reference is the policy without them.
    """
    if not learn.kl:
        return None
    dtype = setting.spec.dtype
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype), trained_part(policy, learn.train))


def judge(
    programs: Programs,
    policy: Omni,
    reference,
    prompts,
    rollout,
    reading,
    own,
    learn,
    packing: Packing | None = None,
):
    """The experience of a rollout, for its updates, and the figures of the rollout.

    `packing` is no part of the rollout, so that judging is not compiled for each length of rows.
    """
    advantage, kept, figures = programs.assess(policy, prompts, rollout, reading, own)
    of_reference = of_policy = None
    if reference is not None:
        of_reference = programs.score_reference(reference, policy, prompts, rollout, packing)
    if learn.ratio_cap:
        of_policy = programs.score_policy(policy, prompts, rollout, packing)
    logp = of_reference, of_policy
    arrays = rollout, advantage, kept, *logp
    return rl.gather_experience(prompts, *arrays, learn, packing), figures


def numbers_of_minibatches(mesh, learn: rl.Learn) -> list:
    """The number of each minibatch of a rollout, on each device, so that no update sends it."""
    return to_each_device(mesh, [*np.arange(learn.minibatches, dtype=np.int32)])


def learn_from(programs: Programs, state: TrainState, experience: rl.Experience, parts, learn):
    """The state after every update on an experience, and their figures, fetched.

    `parts` are the numbers of the minibatches. Figures are averaged over updates, but for those of
    which the largest counts.
    """
    figures = []
    for _ in range(learn.epochs):
        for part in parts:
            state, of_update = programs.update(state, experience, part)
            figures.append(of_update)
    figures = [host_figures(of_update) for of_update in figures]
    values = {name: [of_update[name] for of_update in figures] for name in figures[0]}
    return state, {
        name: max(found) if name in rl.LARGEST else sum(found) / len(found)
        for name, found in values.items()
    }
