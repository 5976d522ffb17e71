"""Seconds of a training step's parts against the machine's peak, and what sharing the prompt gains.

    python experiments/speed.py --preset stage
    python experiments/speed.py --preset text --copied

One JSON line on stdout. `--copied` times the same branches with the prompt copied for each of them,
in turns with the shared ones. FLOPs are those of the matrix products, by formula (XLA's own count
takes a scanned layer once); products that a mask hides are computed, so they count.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import resource
import runpy
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mer_jax.group import Array, Media, Prompts, Reading, TrainState
from mer_jax.models.decoder import Decoder
from mer_jax.models.omni import make_omni, perceive, read_prompts
from mer_jax.models.spec import Spec, TextSpec
from mer_jax.models.vision import window_patches
from mer_jax.rl.branches import Sampling, grow, score
from mer_jax.rl.step import Learn, Rollout, calibrate, train_step
from mer_jax.setting import Setting

PARTS = ('prefill', 'grow', 'score', 'echo', 'update')
STAGES = {'rollout': ('prefill', 'grow'), 'learn': ('score', 'echo', 'update')}
COMPILED = '/jax/core/compile/backend_compile_duration'


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a step is timed on: a model, prompts with their media, and branches to grow from them."""

    spec: Spec
    prompts: Prompts
    starts_wcn: Array
    g: int
    s: int  # tokens of a branch, the prompt's last one among them
    echo: int  # tokens of an echo branch
    anchors: int
    end: int  # never sampled, so every branch is full
    banned: tuple[int, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """Nobody ends early."""
        return Sampling(tokens=self.s, end=self.end, banned=(*self.banned, self.end))

    def copied(self) -> 'Workload':
        """The same branches, each as a group of one with a copy of its prompt."""
        prompts = jax.tree.map(lambda leaf: np.repeat(leaf, self.g, axis=0), self.prompts)
        return dataclasses.replace(self, prompts=prompts, g=1)


def stage_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Clips of the embedded stage in the shapes of configs/mer_r1.py."""
    c = runpy.run_path(str(ROOT / 'configs' / 'mer_r1.py'))['get_config']()
    c.seed = seed
    setting = Setting(c, ROOT)
    clips = range(prompts or c.prompts_per_step)
    batch = setting.collate([setting.example(setting.train_clips[i]) for i in clips])
    return Workload(
        spec=dataclasses.replace(setting.spec, dtype='float32'),
        prompts=batch.prompts,
        starts_wcn=setting.starts_wcn,
        g=group or c.rollout.group,
        s=1 + (new or c.rollout.slow_tokens - 1),
        echo=c.rollout.echo_tokens,
        anchors=c.rollout.anchors,
        end=setting.end,
        banned=setting.sampling(1.0, 1.0).banned,
    )


def text_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Random text for a decoder of 12 million weights; its echo is as short as can be."""
    text = TextSpec(
        vocab_size=8192,
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=1024,
        mrope_section=(4, 6, 6),
    )
    token_bt = np.random.default_rng(seed).integers(1, text.vocab_size, (prompts or 4, 513))
    return Workload(
        spec=Spec(text, vision=None, audio=None),
        prompts=text_prompts(token_bt.astype(np.int32)),
        starts_wcn=np.ones((1, 1, 1), np.int32),
        g=group or 8,
        s=1 + (new or 64),
        echo=2,
        anchors=1,
        end=0,
    )


PRESETS = {'stage': stage_workload, 'text': text_workload}


def text_prompts(token_bt) -> Prompts:
    """Prompts of plain text; the last token of each row is what its branches start with."""
    b, t = token_bt.shape[0], token_bt.shape[1] - 1
    media = Media(
        patch=np.zeros((b, 0, 0, 0), np.float32),
        patch_mask=np.zeros((b, 0, 0), bool),
        patch_row_col=np.zeros((b, 0, 0, 2), np.int32),
        sound=np.zeros((b, 0, 0, 0), np.float32),
        sound_length=np.zeros((b, 0), np.int32),
        sound_pair=np.zeros((b, 0, 2), np.int32),
        place=np.full((b, t), -1, np.int32),
    )
    return Prompts(
        token=token_bt[:, :-1],
        mask=np.ones((b, t), bool),
        position=np.broadcast_to(np.arange(t, dtype=np.int32), (b, 3, t)),
        start=token_bt[:, -1],
        next_position=np.full(b, t, np.int32),
        media=media,
        gold=np.ones((b, 1, 1), bool),
    )


def part_flops(work: Workload) -> dict[str, int]:
    """FLOPs of each part.

    An update is 3 times its forward pass, once more what is recomputed: the head always, prompts
    and branches under remat.
    """
    text, media = work.spec.text, work.prompts.media
    (b, t), g, s = work.prompts.token.shape, work.g, work.s
    towers = vision_flops(work.spec, media.patch)
    towers += audio_flops(work.spec, media.sound, media.sound_pair.shape[1])
    read = prefill_flops(text, b, t)
    branches, head = extend_flops(text, b * g * s, t + s), head_flops(text, b * g * (s - 1))
    echo = extend_flops(text, b * g * work.echo, t + work.echo)
    return {
        'prefill': towers + read,
        'grow': extend_flops(text, b * g * (s - 1), t + s) + head,
        'score': read + branches + head,
        'echo': echo + head_flops(text, b * g * work.anchors),
        'update': (3 + work.spec.remat) * (read + branches) + 4 * head,
    }


def grow_bytes(work: Workload, decoder: Decoder) -> int:
    """Bytes that decoding must read: at each step the weights without the embedding table (unless
    it is the head), the prompts' keys and values, and those of the branches written so far."""
    text = work.spec.text
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(decoder))
    if not text.tie_word_embeddings:
        weights -= decoder.model.embed_tokens.weight[...].nbytes
    token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
    token *= jnp.dtype(work.spec.dtype).itemsize
    (b, t), steps = work.prompts.token.shape, work.s - 1
    own = b * work.g * token * steps * (steps + 1) // 2
    return steps * (weights + b * t * token) + own


def random_reading(work: Workload, seed: int) -> Reading:
    """A reading whose sizes are right and whose groups vary, so that there is something to learn."""
    random = np.random.default_rng(seed)
    (b, w, c), g = work.prompts.gold.shape, work.g
    vocabulary = work.spec.text.vocab_size
    return Reading(
        named=random.random((b, g, w, c)) < 0.2,
        formed=random.random((b, g)) < 0.5,
        anchor=random.integers(1, work.s, (b, g, work.anchors), np.int32),
        right=random.random((b, g, work.anchors)) < 0.5,
        echo=random.integers(0, vocabulary, (b, g, work.echo), np.int32),
        echo_anchor=random.integers(1, work.echo, (b, g, work.anchors), np.int32),
    )


def programs(work: Workload, learn: Learn, optimizer) -> dict[str, Callable]:
    """The compiled parts of a step; `learn` is train_step whole."""
    spec, sampling, level = work.spec, work.sampling, learn.calibration.level

    def prefill(policy, prompts):
        features = perceive(policy, spec, prompts.media)
        return features, read_prompts(policy.decoder, spec, prompts, features)

    def scored(decoder, prompts, features, token_bgs):
        keys = read_prompts(decoder, spec, prompts, features)
        banned = sampling.banned
        return score(decoder, spec, prompts, keys, token_bgs, banned=banned, chunk=learn.chunk)

    def grown(decoder, prompts, keys, key_b, opening_go, starts_wcn):
        return grow(decoder, spec, prompts, keys, key_b, opening_go, starts_wcn, sampling)

    def echoed(decoder, prompts, rollout, reading, starts_wcn):
        return calibrate(decoder, spec, prompts, rollout, reading, starts_wcn, level, sampling)

    step = functools.partial(
        train_step, spec=spec, learn=learn, sampling=sampling, optimizer=optimizer
    )
    return {
        'prefill': jax.jit(prefill),
        'grow': jax.jit(grown),
        'score': jax.jit(scored),
        'echo': jax.jit(echoed),
        'learn': jax.jit(step),
    }


def calls(work: Workload, compiled, state: TrainState, reference, reading, branches=None):
    """Functions without arguments that run the parts on a workload, and its branches.

    The branches are given, or grown here.
    """
    policy = state.policy
    prompts, starts = jax.tree.map(jnp.asarray, (work.prompts, work.starts_wcn))
    key_b = jax.random.split(jax.random.key(0), prompts.start.shape[0])
    opening = jnp.zeros((work.g, 0), jnp.int32)
    features, keys = compiled['prefill'](policy, prompts)
    growing = policy.decoder, prompts, keys, key_b, opening, starts
    branches = compiled['grow'](*growing) if branches is None else branches
    rollout = Rollout(branches, features, keys)
    arguments = {
        'prefill': (policy, prompts),
        'grow': growing,
        'score': (reference, prompts, features, branches.token),
        'echo': (policy.decoder, prompts, rollout, reading, starts),
        'learn': (state, reference, prompts, rollout, reading, starts),
    }
    return {name: functools.partial(compiled[name], *given) for name, given in arguments.items()}


def machine_calls() -> dict[str, Callable]:
    """A product of 2048 x 2048 matrices, and a pass that reads and writes 256 MB in place."""
    a = jnp.full((2048, 2048), 0.5)
    product = jax.jit(jnp.matmul)
    negated = jax.jit(jnp.negative, donate_argnums=0)
    held = [jnp.ones(2**26)]

    def sweep():
        held[0] = negated(held[0])
        return held[0]

    return {'matmul': functools.partial(product, a, a), 'sweep': sweep}


def seconds_in_turns(sides: dict[str, dict[str, Callable]], repeats: int):
    """Seconds f[repeats] of every call of every side, A B A B, after one call of each."""
    seconds = {side: {name: [] for name in parts} for side, parts in sides.items()}
    for _ in range(repeats):
        for side, parts in sides.items():
            for name, call in parts.items():
                start = time.perf_counter()
                jax.block_until_ready(call())
                seconds[side][name].append(time.perf_counter() - start)
    return {
        side: {name: np.array(taken) for name, taken in parts.items()}
        for side, parts in seconds.items()
    }


def with_update(seconds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts with `update`: what is left of `learn` after scoring and the echo."""
    left = seconds['learn'] - seconds['score'] - seconds['echo']
    return seconds | {'update': left, 'rollout': seconds['prefill'] + seconds['grow']}


def figures(work: Workload, decoder, seconds, tokens: dict[str, int], peak) -> dict[str, dict]:
    """Median seconds, tokens/s and FLOP/s of each part and stage, and their shares of the peaks."""
    flops = with_stages(part_flops(work))
    rows = {}
    for name, taken in seconds.items():
        median = float(np.median(taken))
        rate = flops[name] / median / 1e9
        rows[name] = {
            'seconds': median,
            'tokens_per_second': tokens[name] / median,
            'gflop': flops[name] / 1e9,
            'gflop_per_second': rate,
            'of_matmul_peak': rate / peak['matmul_gflop_per_second'],
        }
    moved = grow_bytes(work, decoder) / rows['grow']['seconds'] / 1e9
    rows['grow'] |= {
        'gbyte_per_second': moved,
        'of_bandwidth': moved / peak['sweep_gbyte_per_second'],
    }
    return rows


def gain(shared: dict[str, dict], copied: dict[str, dict]) -> dict[str, dict]:
    """How much longer copied prompts take, what the FLOPs promise, and the share that is reached."""
    rows = {}
    for name, one in shared.items():
        measured = copied[name]['seconds'] / one['seconds']
        promised = copied[name]['gflop'] / one['gflop']
        rows[name] = {'measured': measured, 'promised': promised, 'reached': measured / promised}
    return rows
