"""Reinforcement learning of emotion reasoning for omni-modal language models, in JAX."""
