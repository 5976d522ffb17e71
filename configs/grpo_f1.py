"""The plain baseline: GRPO with one F reward, no disentanglement, no calibration.

python -m mer_jax.main --config configs/grpo_f1.py --workdir runs/grpo_f1
"""

from mer_jax.run.defaults import grpo_f1

get_config = grpo_f1
