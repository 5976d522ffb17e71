"""Advantages relative to the group: each branch is compared with the others of its prompt."""

import jax.numpy as jnp


def standardise(x_bg, scale: bool = True):
    """Each row against its own group: (x − mean) / (std + 1e-6), f[b, g].

    A group whose members are all equal gives exactly 0, whatever the mean rounds to. With
    scale=False only the mean is subtracted (Dr. GRPO, arXiv 2503.20783).
    """
    centred = x_bg - x_bg.mean(1, keepdims=True)
    if scale:
        centred = centred / (x_bg.std(1, keepdims=True) + 1e-6)
    return jnp.where(varies(x_bg)[:, None], centred, 0.0)


def varies(x_bg):
    """Whether the members of each group differ, bool[b]; rounding cannot make equal ones differ."""
    return x_bg.max(1) > x_bg.min(1)


def spread(terms: dict, prefix: str = '') -> dict:
    """The mean of each term f[b, g], and its standard deviation inside a group, over groups."""
    means = {prefix + name: x.mean() for name, x in terms.items()}
    return means | {f'{prefix}{name}_std': x.std(1).mean() for name, x in terms.items()}
