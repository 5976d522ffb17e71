"""The plain baseline: GRPO with one F reward, no disentanglement, no calibration.

python -m mer_jax.main --config configs/grpo_f1.py --workdir runs/grpo_f1
"""

import pathlib
import runpy

from ml_collections import ConfigDict


def get_config(variant: str = '') -> ConfigDict:
    """configs/mer_r1.py with the method switched off; the variants are the same."""
    c = runpy.run_path(str(pathlib.Path(__file__).with_name('mer_r1.py')))['get_config'](variant)
    c.learn.disentangle = 'none'
    c.learn.calibration.space = 'off'
    return c
