"""The cold start alone: gold slow traces and fast answers, imitated; no reinforcement learning.

python -m mer_jax.main --config configs/sft.py:qwen2_5_omni_7b --workdir runs/sft \\
    --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

A later run starts from it with --config.model.checkpoint=runs/sft --config.cold_start.steps=0.
"""

import pathlib
import runpy

from ml_collections import ConfigDict


def get_config(variant: str = '') -> ConfigDict:
    """configs/mer_r1.py without updates of reinforcement learning; the variants are the same."""
    c = runpy.run_path(str(pathlib.Path(__file__).with_name('mer_r1.py')))['get_config'](variant)
    c.steps = 0
    return c
