r"""MER-R1: slow-fast thinking with disentangled recall and precision.

Without a variant it trains a small model on the embedded stage and needs no downloads:

    python -m mer_jax.main --config configs/mer_r1.py --workdir runs/first

A variant trains a published checkpoint on clips of your own:

    python -m mer_jax.main --config configs/mer_r1.py:qwen2_5_omni_7b --workdir runs/omni \
        --config.model.checkpoint=Qwen2.5-Omni-7B --config.data.manifest=clips.jsonl

Single keys change on the command line: --config.learn.weights.recall=2 --config.learn.kl=0.01
"""

from mer_jax.run.defaults import mer_r1

get_config = mer_r1
