"""Answers benchmarks with one checkpoint and scores them.

python -m mer_jax.evaluate --config configs/eval_mer_unibench.py \
    --config.model.checkpoint=DIR --config.data.root=DIR --workdir evaluations/first
"""

from mer_jax.evaluation.benchmark import run_command

if __name__ == '__main__':
    run_command()
