"""The token loop of a rollout: what decoding takes, and the bandwidth limit that it cannot beat."""

import dataclasses
import math

import jax
import numpy as np

from mer_jax.models.spec import TextSpec
from mer_jax.run.hlo import Module, Run
from mer_jax.run.plan_cost import Cost, cost_of
from mer_jax.run.topology import Chip


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The token loop of a program."""

    tokens: int
    cost: Cost  # of all tokens
    token_bytes: float  # that a chip has to read for each of them

    def seconds(self, chip: Chip) -> float:
        """The least time for compute, memory and links, the largest of them."""
        return max(self.cost.seconds(chip).values())

    def limit(self, chip: Chip) -> float:
        """The time in which the bandwidth lets a chip read weights and keys once a token."""
        return self.tokens * self.token_bytes / chip.memory


def decoding_of(module: Module, runs: list[Run], tokens: int, token_bytes: float, chips: int):
    """The Decoding of a program: all that runs inside its loop over tokens.

    That loop is an outermost one, or inside the one over pieces of the batch.
    """
    inside = [run for run in runs if any(trips == tokens for _, trips in run.loops[:2])]
    return Decoding(tokens, cost_of(module, inside, chips), token_bytes)


def token_bytes(
    decoder, b: int, g: int, t: int, s: int, chips: int, dtype: str, pieces: int = 1
) -> float:
    """The bytes a chip of weights and keys that one token of b · g branches needs.

    Weights are read once for all branches of a piece of the batch, keys of a prompt once for its
    branches; of the s tokens of a branch half have keys, on average. Of the embeddings few rows
    are read.
    """
    spec: TextSpec = decoder.spec
    embeddings = 0 if spec.tie_word_embeddings else spec.vocab_size * spec.hidden_size
    weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(decoder)) - embeddings
    width = 2 * spec.num_hidden_layers * spec.num_key_value_heads * spec.head_dim
    keys = b * (t + g * s / 2) * width
    return np.dtype(dtype).itemsize * (pieces * weights + keys) / chips
