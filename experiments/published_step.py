"""Seconds, FLOP/s and memory of the programs of a step in the sizes of a published checkpoint.

    python experiments/published_step.py --variant qwen2_5_omni_7b,lora
    python experiments/published_step.py --variant qwen2_5_vl_3b --layers 18 --prompts 4 --text 512

The weights are random, prompts are text alone, answers never end early, and the config is that of
`configs/mer_r1.py:VARIANT` (for its baseline that of `configs/grpo_f1.py`), on the first device.
FLOPs are those of `flops.py`: products of matrices, masked ones among them. One JSON line.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from experiments.flops import grow_bytes, part_flops
from experiments.workloads import Workload, random_reading, random_workload, text_prompts
from mer_jax.rl import step as rl
from mer_jax.rl.optimizer import make_optimizer, start_state
from mer_jax.run.defaults import grpo_f1, mer_r1
from mer_jax.run.origin import Origin, first_policy
from mer_jax.run.published_sizes import SPECS
from mer_jax.run.setting import make_learn
from mer_jax.run.train import compile_programs, make_reference
from mer_jax.sharding import exact_products, make_mesh, to_devices

GIB = 2**30


def make_workload(asked: argparse.Namespace, c) -> Workload:
    """Random text for the decoder of the variant, cut to `--layers` layers."""
    spec = SPECS[asked.variant.partition(',')[0]]
    layers = asked.layers or spec.text.num_hidden_layers
    spec = dataclasses.replace(
        spec,
        text=dataclasses.replace(spec.text, num_hidden_layers=layers),
        vision=None,
        audio=None,
        dtype=c.model.dtype,
        remat=c.model.remat,
        attention=asked.attention,
    )
    size = asked.prompts or c.prompts_per_step, 1 + asked.text
    token_bt = np.random.default_rng(0).integers(1, spec.text.vocab_size, size).astype(np.int32)
    group, new = asked.group or c.rollout.group, asked.new or c.rollout.slow_tokens
    sizes = dict(echo=c.rollout.echo_tokens, anchors=c.rollout.anchors)
    return random_workload(spec, text_prompts(token_bt), group, new, **sizes)


class Clock:
    """Seconds of named calls; each waits for its results."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, name: str, call, *arguments):
        start = time.perf_counter()
        result = jax.block_until_ready(call(*arguments))
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result


def measure(asked: argparse.Namespace) -> dict:
    """The printed line; the first step, which compiles, is reported apart."""
    c = (grpo_f1 if asked.baseline else mer_r1)(asked.variant)
    c.learn.microbatch = asked.microbatch
    work, mesh = make_workload(asked, c), make_mesh(1, 1, 1, jax.devices()[:1])
    learn, clock = make_learn(c.learn), Clock()
    optimizer = make_optimizer(c.optim, c.optim.learning_rate, c.steps)
    setting = types.SimpleNamespace(  # the part of a Setting that the programs depend on
        config=c, method=work.method, mesh=mesh, spec=work.spec, sampling=lambda *_: work.sampling
    )
    with jax.set_mesh(mesh), exact_products(work.spec.dtype, mesh):
        policy = first_policy(Origin(None, work.spec, {}, None), c, mesh)
        peaks = machine_peaks(work.spec.dtype)
        reference = make_reference(setting, policy, learn)
        state, shardings = start_state(mesh, policy, learn.train, optimizer, c.optim.moments)
        decoder = policy.decoder
        weights = sum(leaf.nbytes for leaf in jax.tree.leaves(policy))
        bytes_of_growing = grow_bytes(work, decoder)
        del policy, decoder  # updates donate them
        programs = compile_programs(setting, learn, optimizer, shardings)
        for _ in range(1 + asked.repeats):
            state = step(work, programs, learn, reference, state, clock)
    first = {name: taken[0] for name, taken in clock.seconds.items()}
    seconds = {name: float(np.median(taken[1:])) for name, taken in clock.seconds.items()}
    return {
        'workload': vars(asked) | {'b': len(work.clips), 'g': work.g, 's': work.s},
        'device': jax.devices()[0].device_kind,
        'jax': jax.__version__,
        'machine': peaks,
        'weights_gib': weights / GIB,
        'first_seconds': first,
        'seconds': seconds,
        'step_seconds': sum(seconds.values()),
        'of_peak': shares(work, asked, seconds, bytes_of_growing, peaks),
        'memory_gib': memory(),
    }


def step(work: Workload, programs, learn, reference, state, clock: Clock):
    """The state after one step, as training takes it; updates learn from a random reading."""
    mesh = jax.sharding.get_mesh()
    numbers = np.arange(len(work.clips), dtype=np.uint32)
    prompts, number_b, reading = to_devices(mesh, (work.prompts, numbers, random_reading(work, 0)))
    opening = np.zeros((work.g, 0), np.int32)
    given = prompts, number_b, np.uint32(0), np.uint32(1), opening
    rollout = clock('rollout', programs.roll_out, state.policy, *given)
    of_judge = clock('judge', programs.assess, state.policy, prompts, rollout, reading, {})
    advantage, kept, _ = of_judge
    logp = None
    if reference is not None:
        scored = reference, state.policy, prompts, rollout
        logp = clock('reference', programs.score_reference, *scored)
    experience = rl.gather_experience(prompts, rollout, advantage, kept, logp, None, learn)
    del rollout, of_judge, advantage
    return clock('update', programs.update, state, experience, np.int32(0))[0]


def shares(work: Workload, asked, seconds, grown: int, peaks: dict) -> dict:
    """The share of the measured matmul peak of each part, and of the bandwidth while decoding.

    Adapters need no gradient of the weights beside them: their update counts a forward pass less.
    """
    flops = part_flops(work)
    if 'lora' in asked.variant:
        flops['update'] -= flops['score']
    parts = {'rollout': flops['prefill'] + flops['grow'], 'reference': flops['score']}
    parts |= {'update': flops['update']}
    told = {
        name: {
            'tflop': count / 1e12,
            'tflop_per_second': count / 1e12 / seconds[name],
            'of_matmul': count / 1e12 / seconds[name] / peaks['matmul_tflop_per_second'],
        }
        for name, count in parts.items()
        if name in seconds
    }
    told['rollout'] |= {
        'gbyte': grown / 1e9,
        'of_bandwidth': grown / 1e9 / seconds['rollout'] / peaks['copy_gbyte_per_second'],
        'milliseconds_a_token': 1e3 * seconds['rollout'] / (work.s - 1),
    }
    return told


def machine_peaks(dtype: str) -> dict:
    """The measured speeds of a product of two random matrices, and of a copy of 2 GiB."""
    size = 1024 if jax.default_backend() == 'cpu' else 8192
    factors = [jax.random.normal(jax.random.key(i), (size, size), dtype) for i in range(2)]
    multiply = jax.jit(jnp.matmul)
    copied = jax.jit(lambda x: x + 1)
    array = jnp.ones(2**29, jnp.float32)
    taken = {'matmul': [], 'copy': []}
    for _ in range(6):
        for name, call in (
            ('matmul', lambda: multiply(*factors)),
            ('copy', lambda: copied(array)),
        ):
            start = time.perf_counter()
            jax.block_until_ready([call() for _ in range(4)])
            taken[name].append((time.perf_counter() - start) / 4)
    matmul, copy = (float(np.median(taken[name][1:])) for name in ('matmul', 'copy'))
    return {
        'matmul_tflop_per_second': 2 * size**3 / 1e12 / matmul,
        'copy_gbyte_per_second': 8 * 2**29 / 1e9 / copy,
    }


def memory() -> dict:
    """The most memory that programs have held on the device, and what they may hold, in GiB."""
    stats = jax.devices()[0].memory_stats() or {}
    names = ('peak_bytes_in_use', 'bytes_limit')
    return {name: stats[name] / GIB for name in names if name in stats}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    known = [*SPECS, *(f'{name},lora' for name in SPECS)]
    parser.add_argument('--variant', choices=known, default='qwen2_5_omni_7b,lora')
    parser.add_argument('--baseline', action='store_true', help='of configs/grpo_f1.py')
    parser.add_argument('--layers', type=int, default=0, help='cut the decoder; 0: all')
    parser.add_argument('--attention', default='auto', help='model.attention')
    parser.add_argument('--text', type=int, default=2048, help='tokens of a prompt')
    parser.add_argument('--prompts', type=int, default=0, help='of a step; 0: of the config')
    parser.add_argument('--group', type=int, default=0, help='0: that of the config')
    parser.add_argument('--new', type=int, default=0, help='tokens of an answer; 0: of the config')
    parser.add_argument('--microbatch', type=int, default=1, help='learn.microbatch')
    parser.add_argument('--repeats', type=int, default=1, help='steps after the first')
    return parser.parse_args(arguments)


def main() -> None:
    line = measure(parse())
    print(json.dumps(line, default=str))


if __name__ == '__main__':
    main()
