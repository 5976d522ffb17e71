"""Reinforcement learning of emotion reasoning for omni-modal language models, in JAX."""

import os

# `transformers` serves tokenizers here; that it finds no torch is as it should be.
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
