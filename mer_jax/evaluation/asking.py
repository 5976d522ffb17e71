"""The checkpoint of an evaluation, and how it is asked."""

import pathlib

from mer_jax.data.loader import Damages
from mer_jax.models.omni import Omni
from mer_jax.run.config_rules import check_config
from mer_jax.run.origin import config_of
from mer_jax.run.setting import Setting, answering


def setting_of(c, workdir: pathlib.Path) -> tuple[Setting, Omni]:
    """The checkpoint with how it is asked, and the sampling of this evaluation."""
    asked = config_of(c.model.checkpoint)
    asked.evaluate.update(c.evaluate)
    asked.mesh = c.mesh
    asked.data.cache = c.data.cache
    if c.seed >= 0:
        asked.seed = c.seed
    # Nothing is learnt: the prompts of a training step need not fit this mesh.
    asked.prompts_per_step = asked.cold_start.prompts_per_step = max(c.evaluate.batch, 1)
    asked.learn.minibatches, asked.learn.microbatch = 1, 0
    check_config(asked)
    return answering(asked, Damages(workdir / 'bad_clips.jsonl', c.data.max_bad_clips))
