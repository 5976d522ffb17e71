"""Seconds of a whole GRPO step of google-tunix on the text workload of `experiments/speed.py`.

    python experiments/peers/tunix_step.py --prompts 4 --group 8 --text 512 --new 64

Runs in an environment of its own with google-tunix. One JSON line on stdout.
"""

import argparse
import importlib.metadata
import os
import resource
import statistics
import time
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clock import now, print_line, watch
from flax import nnx
from tunix.models.qwen2 import model as qwen2
from tunix.rl import rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout.base_rollout import RolloutConfig

VOCABULARY = 8192


class Words:
    """A tokenizer whose words are the numbers of their ids."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids) -> str:
        return ' '.join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # none is put before a prompt

    def eos_id(self) -> int:
        return 1

    def pad_id(self) -> int:
        return 0


def make_model(seed: int) -> qwen2.Qwen2:
    """The decoder of `workloads.text_workload`: 12 million random float32 weights."""
    sizes = qwen2.ModelConfig(
        num_layers=8,
        vocab_size=VOCABULARY,
        embed_dim=256,
        hidden_dim=1024,
        num_heads=8,
        head_dim=32,
        num_kv_heads=4,
        rope_theta=1_000_000,
        norm_eps=1e-6,
    )
    return qwen2.Qwen2(sizes, rngs=nnx.Rngs(seed))


def make_learner(flags: argparse.Namespace) -> GRPOLearner:
    """Tunix with its defaults; the cache is as short, and a branch as long, as they can be."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ('fsdp', 'tp'))
    roles = rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT
    cluster = rl_cluster.RLCluster(
        actor=make_model(0),
        reference=make_model(0),
        tokenizer=Words(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys(roles, mesh),
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.adamw(1e-6), eval_every_n_steps=10**6, max_steps=10**6
            ),
            rollout_config=RolloutConfig(
                max_tokens_to_generate=flags.new,
                max_prompt_length=flags.text,
                kv_cache_size=flags.text + flags.new,
                temperature=1.0,
                eos_tokens=[VOCABULARY],  # never sampled
            ),
        ),
    )
    return GRPOLearner(
        cluster, GRPOConfig(num_generations=flags.group, beta=0.04), reward_fns=evenness
    )


def evenness(prompts, completions, **columns) -> list[float]:
    """The share of even words of each completion, so that groups vary."""
    return [float(np.mean([int(word) % 2 == 0 for word in said.split()])) for said in completions]


def matmul_gflop_per_second() -> float:
    """The median of five products of two 2048 x 2048 float32 matrices."""
    square, multiply, seconds = jnp.full((2048, 2048), 0.5), jax.jit(jnp.matmul), []
    multiply(square, square).block_until_ready()
    for _ in range(5):
        start = time.perf_counter()
        multiply(square, square).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / 1e9 / statistics.median(seconds)


def measure(flags: argparse.Namespace) -> dict:
    """The printed line; a step lasts from one request for prompts to the next."""
    learner, stamps, grown = make_learner(flags), [], []
    cluster, seconds = learner.rl_cluster, defaultdict(list)
    sees = {
        'generate': lambda rollout: grown.append(sum(map(len, rollout.tokens))),
        'get_ref_per_token_logps': jax.block_until_ready,
        'update_actor': lambda _: jax.block_until_ready(nnx.state(cluster.actor_trainer.model)),
    }
    for name, see in sees.items():
        watch(cluster, rl_cluster.RLCluster, name, seconds, see)
    random, peaks = np.random.default_rng(0), []

    def batches():
        for step in range(1 + flags.repeats):
            if step == 1:
                peaks.append(matmul_gflop_per_second())
            stamps.append(now())
            ids = random.integers(2, VOCABULARY, (flags.prompts, flags.text))
            yield {'prompts': np.array([Words().decode(row) for row in ids])}
        stamps.append(now())

    learner.train(batches())
    peaks.append(matmul_gflop_per_second())
    steps, others = np.diff(stamps, axis=0)[1:].T
    parts = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    return {
        'peer': f'google-tunix {importlib.metadata.version("google-tunix")}, jax {jax.__version__}',
        'workload': vars(flags) | {'weights': sum(w.size for w in weights(cluster))},
        'step_seconds': steps.tolist(),
        'others_share': (others / steps / os.cpu_count()).tolist(),
        'median_seconds': float(np.median(steps)),
        'part_seconds': parts,
        'grown_tokens': grown[1:],
        'matmul_gflop_per_second': peaks,
        'peak_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def weights(cluster) -> list:
    return jax.tree.leaves(nnx.state(cluster.actor_trainer.model, nnx.Param))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--text', type=int, default=512, help='tokens of a prompt')
    print_line(parser, measure)


if __name__ == '__main__':
    main()
