"""Reinforcement learning of emotion reasoning for omni-modal language models, in JAX."""

import os

# `transformers` serves tokenizers here; that it finds no torch is as it should be.
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
# Clips are read in threads of their own. Their products are small: threads of numpy's BLAS would
# spend more time waiting for each other, beside those of XLA, than they would save.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
