r"""EmoSet, Emotion6 and WebEmo by a checkpoint of EMO-R3: fast and slow answers with intervals.

python -m mer_jax.evaluate --config configs/eval_emotion_images.py --workdir evaluations/images \
    --config.model.checkpoint=DIR --config.data.root=DIR

The checkpoint is a run, an export, or a plain Hugging Face folder such as Qwen2.5-VL-3B-Instruct.
data.root holds the folders of the sets, or a manifest.jsonl of pictures with gold words. The set
that counts as in domain is that of data.manifest of the run; --config.trained_on=emoset names it
for a checkpoint that does not tell.
"""

from mer_jax.evaluation.defaults import emotion_images

get_config = emotion_images
