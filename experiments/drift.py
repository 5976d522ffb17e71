"""How far scoring in bfloat16 is from decoding: |log π − log π_sampled| of one policy, in nats.

    python experiments/drift.py                                # a line for each mesh, plain
    python experiments/drift.py --attention blocks --mesh 1x8x1 2x2x2
    python experiments/drift.py --attention fused --mesh one --platform cuda      # on a GPU

Random weights of 1.5 times their usual size over 8 virtual CPU devices; `one` is a single device.
A mesh is data x fsdp x tensor. With XLA_FLAGS=--xla_allow_excess_precision=false the compiler keeps
every rounding.
"""

import argparse
import contextlib
import json
import pathlib
import sys

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from experiments.workloads import text_prompts
from mer_jax.models.attention import KINDS
from mer_jax.models.omni import make_omni
from mer_jax.models.spec import Spec, TextSpec
from mer_jax.rl import step as rl
from mer_jax.rl.score import Sampling
from mer_jax.sharding import make_mesh, state_shardings, to_devices

B, T, G, S, V = 8, 90, 4, 24, 512
MESHES = ('one', '8x1x1', '2x2x2', '1x8x1', '1x2x4')
SAMPLING = Sampling(tokens=S, end=V - 1, banned=())


def random_policy(attention: str, layers: int):
    """A policy with float32 weights and bfloat16 activations."""
    text = TextSpec(
        vocab_size=V,
        hidden_size=128,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=384,
        mrope_section=(4, 6, 6),
    )
    spec = Spec(text, vision=None, audio=None, dtype='bfloat16', attention=attention)
    return jax.jit(lambda key: jax.tree.map(lambda x: 1.5 * x, make_omni(key, spec)))(
        jax.random.key(0)
    )


def drift(policy, mesh: str):
    """The drift of every sampled token, in one row."""
    token_bt = np.random.default_rng(0).integers(0, V, (B, T + 1)).astype(np.int32)
    given = text_prompts(token_bt), np.arange(B, dtype=np.uint32)
    score = jax.jit(rl.score_policy, static_argnames=('learn', 'sampling'))
    with contextlib.ExitStack() as used:
        if mesh != 'one':
            on = make_mesh(*map(int, mesh.split('x')))
            used.enter_context(jax.set_mesh(on))
            policy, given = (
                jax.device_put(policy, state_shardings(on, policy)),
                to_devices(on, given),
            )
        grow = rl.compiled_roll_out(SAMPLING, lambda logp_bgv: ())
        zero = np.uint32(0)
        rollout = grow(policy, *given, zero, zero, np.full((G, 1), -1))
        logp = score(policy, given[0], rollout, learn=rl.Learn(), sampling=SAMPLING)
    branches = rollout.branches
    return np.abs(np.asarray(logp) - branches.logp)[np.asarray(branches.mask)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--attention', default='plain', choices=KINDS[1:])
    parser.add_argument('--mesh', nargs='+', default=MESHES, metavar='MESH')
    parser.add_argument('--layers', type=int, default=4)
    parser.add_argument('--platform', default='cpu', help='of JAX')
    asked = parser.parse_args()
    jax.config.update('jax_platforms', asked.platform)
    jax.config.update('jax_num_cpu_devices', 8)
    policy = random_policy(asked.attention, asked.layers)
    for mesh in asked.mesh:
        found = drift(policy, mesh)
        told = {'mean': float(f'{found.mean():.2g}'), 'largest': float(f'{found.max():.2g}')}
        print(json.dumps({'attention': asked.attention, 'mesh': mesh} | told), flush=True)


if __name__ == '__main__':
    main()
