"""Seconds and memory of the attention of one layer of the 7B, for each kind, on this device.

    python experiments/attention_speed.py --kinds plain blocks fused

`--prompts` prompts of `--tokens` tokens, each with `--group` branches of `--new` tokens, bfloat16:
the prompts' own attention and that of their branches, forward, and forward with gradients. FLOPs
are those of the pairs that causality leaves. Prints a JSON line for each kind.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mer_jax.group import Keys
from mer_jax.models.attention import KINDS, attend_branches, attend_prompts
from mer_jax.run.published_sizes import LARGE


def make_call(kind: str, asked: argparse.Namespace):
    """The attention of prompts and branches as a function of its arrays, and the arrays."""
    b, t, g, s = asked.prompts, asked.tokens, asked.group, asked.new
    n, k, h = LARGE.num_attention_heads, LARGE.num_key_value_heads, LARGE.head_dim
    shapes = [(b, t, n, h), (b, t, k, h), (b, t, k, h)]
    shapes += [(b, g, s, n, h), (b, g, s, k, h), (b, g, s, k, h)]
    arrays = [jax.random.normal(jax.random.key(i), x, jnp.bfloat16) for i, x in enumerate(shapes)]
    mask_bt = jnp.ones((b, t), bool)

    def attend(query, key, value, own_query, own_key, own_value):
        prompts = attend_prompts(kind, query, key, value, mask_bt)
        shared = Keys(k=key, v=value)
        return prompts, attend_branches(kind, own_query, shared, mask_bt, own_key, own_value)

    return attend, arrays


def summed(mixed) -> jax.Array:
    """A sum that gives every gradient something to do."""
    return sum((x * jnp.cos(x)).astype(jnp.float32).sum() for x in mixed)


def measure(kind: str, asked: argparse.Namespace) -> dict:
    """Milliseconds, TFLOP/s and GiB of temporaries of one kind."""
    attend, arrays = make_call(kind, asked)
    b, t, g, s = asked.prompts, asked.tokens, asked.group, asked.new
    pairs = b * (t * t / 2 + g * s * (t + s / 2))
    tflop = 4 * pairs * LARGE.num_attention_heads * LARGE.head_dim / 1e12
    calls = {
        'forward': (jax.jit(attend), 1),
        'with_gradients': (jax.jit(jax.grad(lambda *x: summed(attend(*x)), range(6))), 3.5),
    }
    told = {'kind': kind}
    for name, (call, times) in calls.items():
        compiled = call.lower(*arrays).compile()
        jax.block_until_ready(compiled(*arrays))
        taken = []
        for _ in range(asked.repeats):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*arrays))
            taken.append(time.perf_counter() - start)
        seconds = statistics.median(taken)
        told[name] = {
            'milliseconds': round(1e3 * seconds, 2),
            'tflop_per_second': round(times * tflop / seconds, 1),
            'temporaries_gib': round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 2),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=['plain', 'blocks', 'fused'])
    parser.add_argument('--prompts', type=int, default=1)
    parser.add_argument('--tokens', type=int, default=2048)
    parser.add_argument('--group', type=int, default=4)
    parser.add_argument('--new', type=int, default=1024)
    parser.add_argument('--repeats', type=int, default=10)
    asked = parser.parse_args()
    for kind in asked.kinds:
        told = {'device': jax.devices()[0].device_kind, 'jax': jax.__version__}
        print(json.dumps(told | measure(kind, asked)), flush=True)


if __name__ == '__main__':
    main()
