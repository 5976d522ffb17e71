"""The plain baseline of EMO-R3: GRPO with accuracy and form, no steps, no reflective reward.

python -m mer_jax.main --config configs/grpo_accuracy.py --workdir runs/grpo_accuracy
"""

from mer_jax.run.emo_r3_defaults import grpo_accuracy

get_config = grpo_accuracy
