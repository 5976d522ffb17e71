"""The calls that speed.py times: parts of a training step, and the step as training runs it."""

import dataclasses
import functools
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.workloads import Workload
from mer_jax.group import Branches, Rollout, TrainState
from mer_jax.methods.mer_r1_reading import Reading
from mer_jax.models.omni import Omni, perceive, read_prompts
from mer_jax.rl.grow import grow
from mer_jax.rl.optimizer import host_figures, make_optimizer, start_state, trained_part
from mer_jax.rl.step import Learn
from mer_jax.run.setting import make_learn
from mer_jax.run.train import Programs, compile_programs, judge, learn_from
from mer_jax.sharding import make_mesh, state_shardings, to_devices, to_host


@dataclasses.dataclass(frozen=True)
class Bench:
    """The policy, the state and the compiled programs that all workloads of a model share."""

    mesh: jax.sharding.Mesh  # of one device
    learn: Learn
    policy: Omni  # the parts run it, and it is the reference
    held: list[TrainState]  # the one state, which every update replaces, as in training
    programs: Programs  # those of training
    prefill: Callable
    grow: Callable


@dataclasses.dataclass(frozen=True)
class Side:
    """A workload, the branches that its updates learn from, and its calls by name."""

    work: Workload
    branches: Branches
    calls: dict[str, Callable]


def make_bench(work: Workload, c: ConfigDict, policy: Omni) -> Bench:
    """A Bench for workloads of this spec, method and sampling, on the first device."""
    mesh = make_mesh(1, 1, 1, jax.devices()[:1])
    learn = make_learn(c.learn)
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, c.steps)
    policy = jax.device_put(policy, state_shardings(mesh, policy))
    learner = jax.tree.map(jnp.copy, policy)  # updates donate it
    state, shardings = start_state(mesh, learner, learn.train, optimizer, c.optim.moments)
    setting = types.SimpleNamespace(  # the part of a Setting that the programs depend on
        config=c, method=work.method, mesh=mesh, sampling=lambda temperature, top_p: work.sampling
    )

    def prefill(policy, prompts):
        features = perceive(policy, prompts.media)
        how = policy.spec.remat, policy.spec.attention
        return features, read_prompts(policy.decoder, prompts, features, *how)

    def grown(decoder, prompts, keys, key_b, opening_go):
        return grow(decoder, prompts, keys, key_b, opening_go, work.sampling, work.method.watch)

    return Bench(
        mesh=mesh,
        learn=learn,
        policy=policy,
        held=[state],
        programs=compile_programs(setting, learn, optimizer, shardings),
        prefill=jax.jit(prefill),
        grow=jax.jit(grown),
    )


def bind(work: Workload, bench: Bench, reading: Reading, branches: Branches | None = None) -> Side:
    """The calls of a workload; branches that are not given are grown.

    `learn` is everything after the reading, `step` a whole training step. Both update the one
    state.
    """
    policy, programs = bench.policy, bench.programs
    prompts, on_device = to_devices(bench.mesh, (work.prompts, reading))
    key_b = jax.random.split(jax.random.key(0), prompts.start.shape[0])
    opening = np.zeros((work.g, 0), np.int32)
    features, keys = bench.prefill(policy, prompts)
    growing = policy.decoder, prompts, keys, key_b, opening
    branches = bench.grow(*growing) if branches is None else branches
    rollout = Rollout(branches, features, keys)
    reference = trained_part(policy, bench.learn.train)
    parts = np.arange(bench.learn.minibatches, dtype=np.int32)

    def judged(prompts, rollout):
        arrays = prompts, rollout, on_device, {}
        return judge(programs, bench.held[0].policy, reference, *arrays, bench.learn)

    def updated(experience, figures):
        bench.held[0], _ = learn_from(programs, bench.held[0], experience, parts, bench.learn)
        host_figures(figures)
        return bench.held[0]

    def learn():
        return updated(*judged(prompts, rollout))

    def step():
        numbers = np.arange(len(work.clips), dtype=np.uint32)
        prompts, number_b = to_devices(bench.mesh, (work.prompts, numbers))
        seeds = np.uint32(0), np.uint32(1)
        grown = programs.roll_out(bench.held[0].policy, prompts, number_b, *seeds, opening)
        read(work, grown.branches)
        of_step = judged(prompts, grown)
        del grown  # as training does: the keys of the prompts are large
        return updated(*of_step)

    calls = {
        'prefill': functools.partial(bench.prefill, policy, prompts),
        'grow': functools.partial(bench.grow, *growing),
        'read': functools.partial(read, work, branches),
        'echo': functools.partial(programs.assess, policy, prompts, rollout, on_device, {}),
        'score': functools.partial(programs.score_reference, reference, policy, prompts, rollout),
    }
    return Side(work, branches, calls | {'learn': learn, 'step': step})


def read(work: Workload, branches: Branches) -> Reading:
    """The reading of branches by the host.

    Branches of random weights hold no answers; updates learn from a random reading instead.
    """
    token, mask = to_host((branches.token, branches.mask))
    reading, _ = work.method.read(work.texts.read(token, mask), work.clips)
    return reading
