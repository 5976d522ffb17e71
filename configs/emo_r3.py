r"""EMO-R3: structured emotional thinking and a reflective emotional reward.

Without a variant it trains a small model on pictures of the embedded stage and downloads nothing:

    python -m mer_jax.main --config configs/emo_r3.py --workdir runs/emo

A variant trains a published checkpoint on a published set, by its own splits, or on a list of its
images (emoset:DIR/LIST.json); docs/BENCHMARKS.md says which files are read:

    python -m mer_jax.main --config configs/emo_r3.py:qwen2_5_vl_3b --workdir runs/vl \
        --config.model.checkpoint=Qwen2.5-VL-3B-Instruct --config.data.manifest=emoset:DIR

The words are those of EmoSet; :qwen2_5_vl_3b_emotion6 takes the six of Emotion6, and
--config.data.labels="('calm','tense')" any others.

Single keys change on the command line: --config.learn.reflection.by=sample
"""

from mer_jax.run.emo_r3_defaults import emo_r3

get_config = emo_r3
