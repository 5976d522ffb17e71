"""Programs that tests start: command lines of small runs, and the environment of a process."""

import os
import pathlib
import sys

from experiments import killed_runs

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = 'steps=6', 'cold_start.steps=6', 'every.save=2', *killed_runs.SMALL

BRIEF = (  # of a run on a checkpoint, besides its steps
    'learn.packing=0',  # compiles less
    'prompts_per_step=2',
    'cold_start.prompts_per_step=2',
    'rollout.group=2',
    'rollout.slow_tokens=64',
    'evaluate.clips=4',
    'evaluate.batch=2',
    'every.save=1',
    'data.validation=0.2',
    'data.min_pixels=3136',
    'data.max_pixels=6272',
    'model.dtype=float32',
)

OWN_REWARD = """
import math
import pathlib

from mer_jax.run.defaults import mer_r1

def length(texts, clips):
    {}

def get_config():
    c = mer_r1()
    c.learn.rewards = (length,)
    c.learn.weights.length = 0.5
    return c
"""


def write_config(path, body):
    """A config whose run has a reward of its own, `length`; the body of its function is given."""
    path.write_text(OWN_REWARD.format(body))
    return path


def flags(workdir, *changes, config='configs/mer_r1.py'):
    """The flags of a run, with these keys of its config changed."""
    changed = [f'--config.{change}' for change in changes]
    return [f'--config={config}', f'--workdir={workdir}', *changed]


def command(workdir, *changes, config='configs/mer_r1.py'):
    """The command line of a run, with these keys of its config changed."""
    return [sys.executable, '-m', 'mer_jax.main', *flags(workdir, *changes, config=config)]


def environment(devices=1):
    """The environment of a program that sees so many CPU devices and no others."""
    flags = f'--xla_force_host_platform_device_count={devices}'
    return os.environ | {
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {flags}',
    }


def with_fused_loops(variables):
    """The environment in which a step rounds alike with features of a cache and of the towers."""
    flags = variables['XLA_FLAGS'].replace('--xla_cpu_use_fusion_emitters=false', '')
    return variables | {'XLA_FLAGS': flags}
