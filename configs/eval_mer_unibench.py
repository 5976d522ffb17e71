r"""MER-UniBench by a checkpoint: fast and slow answers, scores with intervals.

python -m mer_jax.evaluate --config configs/eval_mer_unibench.py --workdir evaluations/first \
    --config.model.checkpoint=DIR --config.data.root=DIR

data.root holds the folders of the sets (`python -m mer_jax.data.benchmarks --root DIR` says which
are found), or a manifest.jsonl of clips with gold words.
"""

from mer_jax.evaluation.defaults import mer_unibench

get_config = mer_unibench
