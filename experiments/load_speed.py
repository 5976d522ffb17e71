"""Seconds and memory of loading a checkpoint of a given size, in a process of its own.

    python experiments/load_speed.py --gigabytes 2

A random bfloat16 checkpoint of several files is written into a temporary folder and loaded as
float32 (or `--dtype bfloat16`). One JSON line on stdout, in GB of 1e9 bytes; `peak_gb` is the most
resident memory: arrays, Python, JAX, and the pages of mapped files.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.checkpoint.safetensors import write_folder
from mer_jax.models.checkpoint.save import hf_config, planned
from mer_jax.models.omni import Omni, make_omni
from mer_jax.models.spec import TOKEN_IDS, Spec, TextSpec, VisionSpec, read_spec

WIDTH, MLP = 1024, 5504
LAYER_WEIGHTS = WIDTH * (2 * WIDTH + 2 * WIDTH // 4 + 3 * MLP)  # without biases and norms


def spec_of_size(gigabytes: float) -> Spec:
    """A Qwen2.5-VL of that many GB in bfloat16, its tower as small as can be.

    Nearly a third of them are embeddings, the largest single tensor.
    """
    weights = gigabytes * 1e9 / 2
    layers = max(1, round(weights * 0.7 / LAYER_WEIGHTS))
    text = TextSpec(
        vocab_size=int((weights - layers * LAYER_WEIGHTS) / WIDTH) // 64 * 64,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=WIDTH // 8,
        intermediate_size=MLP,
        mrope_section=(16, 24, 24),
        tie_word_embeddings=True,
    )
    vision = VisionSpec(
        hidden_size=32,
        depth=1,
        num_heads=2,
        intermediate_size=32,
        out_hidden_size=WIDTH,
        fused_qkv=True,
    )
    return Spec(text=text, vision=vision, audio=None, family='vl')


def abstract(spec: Spec, dtype: str) -> Omni:
    """A Thinker without values, its weights in this dtype."""
    omni = jax.eval_shape(lambda: make_omni(None, spec))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), omni)


def write_random(folder: pathlib.Path, spec: Spec, shard_bytes: float) -> None:
    """A Qwen2.5-VL checkpoint of random bfloat16 weights, in files of at most so many bytes."""
    rng = np.random.default_rng(0)
    plans = [
        dataclasses.replace(plan, make=functools.partial(random_weights, rng, plan.shape))
        for plan in planned(abstract(spec, 'bfloat16'), '', None)
    ]
    write_folder(folder, plans, shard_bytes)
    ids = dict.fromkeys(TOKEN_IDS['vl'], 0)
    (folder / 'config.json').write_text(json.dumps(hf_config(spec, ids)))


def random_weights(rng, shape) -> np.ndarray:
    """Weights of either sign between 1/128 and 1/64, as the bits of bfloat16."""
    bits = rng.integers(0, 2**16, shape, np.uint16)
    return (bits & np.uint16(0x807F)) | np.uint16(0x3C00)


def measure(folder: pathlib.Path, dtype: str) -> dict:
    """Seconds and memory of loading the folder in this process."""
    like = abstract(read_spec(folder), dtype)
    stored = sum(path.stat().st_size for path in folder.glob('*.safetensors')) / 1e9
    before = resident('VmHWM')
    start = time.perf_counter()
    omni = jax.block_until_ready(load_omni(folder, like))
    seconds = time.perf_counter() - start
    arrays = sum(leaf.nbytes for leaf in jax.tree.leaves(omni)) / 1e9
    figures = {
        'gigabytes': stored,
        'seconds': seconds,
        'seconds_per_gb': seconds / stored,
        'array_gb': arrays,
        'peak_gb': resident('VmHWM'),
        'above_arrays_gb': resident('VmHWM') - arrays,
        'before_gb': before,
    }
    return {'dtype': dtype, **{key: round(value, 3) for key, value in figures.items()}}


def resident(kind: str) -> float:
    """GB of this process that are resident now (VmRSS) or were at most (VmHWM); Linux only."""
    status = pathlib.Path('/proc/self/status').read_text()
    return int(re.search(rf'{kind}:\s+(\d+) kB', status)[1]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--gigabytes', type=float, default=2.0)
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    parser.add_argument(
        '--folder', type=pathlib.Path, help='load this folder in this process, and write none'
    )
    asked = parser.parse_args()
    if not asked.gigabytes >= 0.1:
        parser.error(
            f'--gigabytes={asked.gigabytes}: must be at least 0.1, one layer and its words'
        )
    if asked.folder:
        print(json.dumps(measure(asked.folder, asked.dtype)))
        return
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of_size(asked.gigabytes)  # written in four files
        write_random(pathlib.Path(folder), spec, shard_bytes=asked.gigabytes * 1e9 / 3)
        command = [sys.executable, __file__, '--folder', folder, '--dtype', asked.dtype]
        subprocess.run(command, check=True)


if __name__ == '__main__':
    main()
