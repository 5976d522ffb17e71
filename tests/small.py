"""A small policy of the embedded stage, as a run and as an exported folder."""

import pathlib

import jax
import numpy as np
import tiny

from mer_jax.group import TrainState
from mer_jax.run.checkpoints import Checkpoints
from mer_jax.run.export import export_policy
from mer_jax.run.setting import Setting
from mer_jax.run.workdir import claim_workdir

SIZES = {
    'text': {'hidden_size': 64, 'num_hidden_layers': 2, 'head_dim': 16, 'intermediate_size': 96}
    | {'mrope_section': (2, 3, 3)},
    'vision': {'hidden_size': 24, 'intermediate_size': 32},
    'audio': {'d_model': 24, 'encoder_ffn_dim': 32},
}


def shrink(c):
    """The config with a small model and a mesh of one device's work."""
    for part, sizes in SIZES.items():
        c.model[part].update(sizes)
    c.rollout.slow_tokens = 24
    return c


def random_policy(setting: Setting, seed: int = 0):
    """A policy whose random weights are large enough to prefer some tokens."""
    omni = tiny.drawn(tiny.shapes(setting.spec), seed)
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf) * np.float32(1.5)), omni)


def write_run(c, workdir: pathlib.Path, seed: int = 0):
    """A workdir whose last checkpoint holds a random policy; (setting, policy)."""
    setting = Setting(c)
    policy = random_policy(setting, seed)
    claim_workdir(workdir, c, setting.spec)
    state = TrainState(policy=policy, moments=())
    with Checkpoints(workdir / 'train', 1) as checkpoints:
        checkpoints.save(1, state)
    return setting, policy


def write_export(c, folder: pathlib.Path, seed: int = 0):
    """A Hugging Face folder of a random policy; (setting, policy)."""
    setting = Setting(c)
    policy = random_policy(setting, seed)
    export_policy(setting, policy, folder)
    return setting, policy


def changed(config, **values):
    """The config with other values under dotted keys (written with two underscores)."""
    with config.unlocked():
        for key, value in values.items():
            config.update_from_flattened_dict({key.replace('__', '.'): value})
    return config
