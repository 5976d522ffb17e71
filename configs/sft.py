r"""The cold start alone: gold slow traces and fast answers, imitated; no reinforcement learning.

python -m mer_jax.main --config configs/sft.py:qwen2_5_omni_7b --workdir runs/sft \
    --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

A later run starts from it with --config.model.checkpoint=runs/sft --config.cold_start.steps=0.
"""

from mer_jax.run.defaults import sft

get_config = sft
