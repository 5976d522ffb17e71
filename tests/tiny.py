"""One tiny Thinker and its prompts, shared by the tests of models and of reinforcement learning."""

import functools

import jax
import numpy as np

from mer_jax.group import Media, Prompts
from mer_jax.models.checkpoint.load import is_stacked, parts, weights
from mer_jax.models.omni import make_omni
from mer_jax.models.spec import Spec, TextSpec

TEXT = TextSpec(
    vocab_size=64,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    mrope_section=(1, 1, 2),
    rope_theta=10_000.0,
)
SPEC = Spec(text=TEXT, vision=None, audio=None)


def policy(seed: int = 0, spec: Spec = SPEC):
    """A policy with random weights."""
    return drawn(shapes(spec), seed)


@functools.cache
def shapes(spec: Spec):
    """A policy without values."""
    return jax.eval_shape(lambda: make_omni(None, spec))


def drawn(omni, seed: int = 0):
    """A policy of these shapes with weights of the sizes that `make_omni` gives them.

    NumPy draws them, because compiling `make_omni` takes seconds.
    """
    rng = np.random.default_rng(seed)
    return omni.replace(**{name: _drawn(module, rng) for name, module, _ in parts(omni)})


def _drawn(module, rng):
    found = []
    for path, weight in weights(module):
        shape = weight.shape[is_stacked(path) :]
        if len(shape) == 1 or path[-1] == 'bias':
            value = np.full(weight.shape, path[-1] != 'bias')
        else:
            inputs = shape[: weight.inputs] or shape[-1:]
            value = rng.normal(0, np.prod(inputs) ** -0.5, weight.shape)
        found.append(jax.device_put(value.astype(weight.dtype)))
    return jax.tree.unflatten(jax.tree.structure(module), found)


def silence(b: int, t: int) -> Media:
    """The media of prompts that have none."""
    return Media(
        patch=np.zeros((b, 0, 0, 1), np.float32),
        patch_mask=np.zeros((b, 0, 0), bool),
        patch_row_col=np.zeros((b, 0, 0, 2), np.int32),
        sound=np.zeros((b, 0, 2, 1), np.float32),
        sound_length=np.zeros((b, 0), np.int32),
        sound_pair=np.zeros((b, 0, 2), np.int32),
        place=np.full((b, t), -1, np.int32),
    )


def prompts(lengths, t: int, pad: str = 'left', seed: int = 0) -> Prompts:
    """Text prompts of these lengths in t slots; the tokens of a row depend on seed and row only."""
    b = len(lengths)
    token, mask = np.full((b, t), 1, np.int32), np.zeros((b, t), bool)
    position = np.zeros((b, 3, t), np.int32)
    start = np.zeros(b, np.int32)
    for row, length in enumerate(lengths):
        rng = np.random.default_rng([seed, row])
        said = rng.integers(2, 60, length + 1)
        span = slice(t - length, t) if pad == 'left' else slice(length)
        token[row, span], mask[row, span], start[row] = said[:-1], True, said[-1]
        # Media make the three axes differ: let them, where a picture might stand.
        position[row, :, span] = np.arange(length) + rng.integers(0, 2, (3, length))
    return Prompts(
        token=token,
        mask=mask,
        position=position,
        start=start,
        next_position=np.array(lengths, np.int32) + 1,
        media=silence(b, t),
    )
