"""The checkpoint of an evaluation, and how it is asked about each set."""

import copy
import pathlib

from ml_collections import ConfigDict

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.loader import Damages
from mer_jax.methods import METHODS
from mer_jax.models.omni import Omni
from mer_jax.run.config_rules import check_config
from mer_jax.run.origin import config_of
from mer_jax.run.setting import Setting, answering
from mer_jax.run.workdir import UNNAMED


def asked_config(c) -> ConfigDict:
    """The config by which the checkpoint of an evaluation is asked.

    Without config.method it is that of the checkpoint. ValueError for a run of another method.
    """
    if c.method and c.method not in METHODS:
        raise ValueError(
            f'method={c.method!r}: must be one of {", ".join(METHODS)}, or empty for that of the '
            'checkpoint'
        )
    asked = config_of(c.model.checkpoint, c.method or UNNAMED['method'], c.model.adapter)
    if c.method and asked.method != c.method:
        raise ValueError(
            f'method={c.method!r}: {c.model.checkpoint} is of a run of method {asked.method!r}, '
            'which answers in another form; name a checkpoint of that method, or leave it to the '
            "checkpoint with --config.method=''"
        )
    if c.model.video_positions:
        asked.model.video_positions = c.model.video_positions
    asked.evaluate.update(c.evaluate)
    asked.mesh = c.mesh
    asked.data.cache = c.data.cache
    if c.seed >= 0:
        asked.seed = c.seed
    # Nothing is learnt: the prompts of a training step need not fit this mesh.
    asked.prompts_per_step = asked.cold_start.prompts_per_step = max(c.evaluate.batch, 1)
    asked.learn.minibatches, asked.learn.microbatch = 1, 0
    check_config(asked)
    return asked


def is_closed(asked) -> bool:
    """Whether the answers are words of a closed set, the labels of a config."""
    return 'labels' in asked.data


def setting_of(c, asked, workdir: pathlib.Path) -> tuple[Setting, Omni]:
    """The setting of the checkpoint, and its policy."""
    return answering(asked, Damages(workdir / 'bad_clips.jsonl', c.data.max_bad_clips))


def settings_of(setting: Setting, keys: list[str]) -> dict[str, Setting]:
    """The setting by which each set is asked; sets with the same labels share one.

    A method with a closed set of answers is asked for the labels of the set, in the order of the
    checkpoint's own labels if these are the same words. A manifest and a set of open words are
    asked with the checkpoint's own.
    """
    own = tuple(setting.method.labels)
    made = {own: setting}
    found = {}
    for key in keys:
        labels = BENCHMARKS[key].labels if own and key in BENCHMARKS else ()
        if not labels or sorted(labels) == sorted(own):
            labels = own
        if labels not in made:
            c = copy.deepcopy(setting.config)
            c.data.labels = labels
            made[labels] = Setting(c, damages=setting.damages)
        found[key] = made[labels]
    return found
