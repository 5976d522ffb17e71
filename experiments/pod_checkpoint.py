"""Seconds and memory of a 7B-shaped checkpoint on several devices: loaded, saved, restored.

    python experiments/pod_checkpoint.py

Writes the decoder of Qwen2.5-7B, cut to `--layers` layers, as random bfloat16 weights into a
temporary folder. One process loads it to a mesh of 8 virtual CPU devices and saves a checkpoint;
another restores that to a mesh of another shape. Each prints one JSON line, in GB of 1e9 bytes;
`above_arrays_gb` is the most resident memory less the arrays. The sums of all weights must agree.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from load_speed import abstract, resident, write_random

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.spec import Spec, read_spec
from mer_jax.run.checkpoints import Checkpoints
from mer_jax.run.published_sizes import LARGE, vision
from mer_jax.sharding import make_mesh, state_shardings, with_shardings

MESHES = {'load': (1, 8, 1), 'restore': (2, 2, 2)}


def spec_of_layers(layers: int) -> Spec:
    """A Qwen2.5-VL of the width of the 7B with so many layers; one layer in its tower."""
    tower = dataclasses.replace(vision(LARGE, fused_qkv=True), depth=1, fullatt_block_indexes=(0,))
    text = dataclasses.replace(LARGE, num_hidden_layers=layers)
    return Spec(text=text, vision=tower, audio=None, family='vl')


def measure(task: str, folder: pathlib.Path) -> dict:
    """Loads and saves, or restores, in this process."""
    mesh = make_mesh(*MESHES[task])
    like = abstract(read_spec(folder), 'bfloat16')
    like = with_shardings(like, state_shardings(mesh, like))
    figures, start = {'task': task, 'mesh': MESHES[task]}, time.perf_counter()
    with Checkpoints(folder / 'checkpoints', keep=1) as checkpoints:
        if task == 'load':
            policy = jax.block_until_ready(load_omni(folder, like))
            figures |= memory(policy, time.perf_counter() - start)
            start = time.perf_counter()
            checkpoints.save(1, {'policy': policy})
            checkpoints.manager.wait_until_finished()
            figures |= {'save_seconds': time.perf_counter() - start}
            figures |= {'saved_above_arrays_gb': memory(policy, 0.0)['above_arrays_gb']}
        else:
            policy = jax.block_until_ready(checkpoints.restore(1, {'policy': like})['policy'])
            figures |= memory(policy, time.perf_counter() - start)
    total = sum(
        float(np.abs(np.asarray(leaf, np.float32)).sum(dtype=np.float64))
        for leaf in jax.tree.leaves(policy)
    )
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()} | {
        'sum': total
    }


def memory(policy, seconds: float) -> dict:
    """Seconds, the size of the weights, and the most that this process has held beside them."""
    arrays = sum(leaf.nbytes for leaf in jax.tree.leaves(policy)) / 1e9
    peak = resident('VmHWM')
    return {
        'seconds': seconds,
        'array_gb': arrays,
        'peak_gb': peak,
        'above_arrays_gb': peak - arrays,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--layers', type=int, default=4)
    parser.add_argument('--task', choices=tuple(MESHES), help='do this in this process')
    parser.add_argument('--folder', type=pathlib.Path, help='of the checkpoint, for --task')
    asked = parser.parse_args()
    if asked.layers < 1:
        parser.error(f'--layers={asked.layers}: must be at least 1')
    if asked.task:
        jax.config.update('jax_platforms', 'cpu')
        jax.config.update('jax_num_cpu_devices', 8)
        print(json.dumps(measure(asked.task, asked.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_random(pathlib.Path(folder), spec_of_layers(asked.layers), shard_bytes=1e9)
        sums = []
        for task in MESHES:
            command = [sys.executable, __file__, '--task', task, '--folder', folder]
            line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(line, end='', flush=True)
            sums.append(json.loads(line)['sum'])
    if sums[0] != sums[1]:
        sys.exit(f'restored weights differ from those loaded: sums {sums[0]} and {sums[1]}')


if __name__ == '__main__':
    main()
