"""config.mesh.rules: over which axes of the mesh the dimensions of arrays are split."""

import math
from collections.abc import Mapping

from mer_jax.models.spec import TextSpec
from mer_jax.sharding import AXES, axes_of, axis_size

MEANINGS = {
    'batch': 'prompts',
    'embed': 'the width of weights',
    'heads': 'heads and key heads',
    'mlp': 'columns of an MLP',
    'vocab': 'rows of the vocabulary',
}
# Pairs of dimensions that one array has: a weight, or activations.
TOGETHER = [(first, other) for first in ('batch', 'embed') for other in ('heads', 'mlp', 'vocab')]


def read_rules(section: Mapping[str, str]) -> dict[str, str | tuple[str, ...] | None]:
    """The table of a config, as `sharding.use_rules` takes it.

    ValueError for an axis that a mesh lacks, and for one that would split an array twice.
    """
    named = {
        name: [axis for axis in str(told).split(',') if axis] for name, told in section.items()
    }
    for name, axes in named.items():
        if not set(axes) <= set(AXES) or len(set(axes)) < len(axes):
            raise ValueError(
                f'mesh.rules.{name}={section[name]}: must name axes of the mesh, each once, of '
                f"{', '.join(AXES)}, joined by commas, or be '' to split nothing"
            )
    for first, other in TOGETHER:
        if twice := set(named[first]) & set(named[other]):
            raise ValueError(
                f'mesh.rules.{first}={section[first]} and mesh.rules.{other}={section[other]}: '
                f'must not share {", ".join(sorted(twice))}, for an array has both '
                f'{MEANINGS[first]} and {MEANINGS[other]}; leave it to one of them'
            )
    return {
        name: tuple(axes) if len(axes) > 1 else axes[0] if axes else None
        for name, axes in named.items()
    }


def count_shards(rules: Mapping, sizes: Mapping[str, int]) -> tuple[int, str]:
    """In how many parts prompts are split on a mesh of these sizes, and how that is computed."""
    axes = axes_of(rules['batch'])
    told = ' * '.join(f'mesh.{axis}' for axis in axes)
    return math.prod(sizes[axis] for axis in axes), told or 'the parts of a batch'


def check_rules(mesh, rules: Mapping, text: TextSpec) -> None:
    """Checks that heads, key heads and vocabulary rows divide over the axes of their rules."""
    heads, key_heads = text.num_attention_heads, text.num_key_value_heads
    counts = {
        'heads': ({'heads': heads, 'key heads': key_heads}, math.gcd(heads, key_heads)),
        'vocab': ({'vocabulary rows': text.vocab_size}, text.vocab_size),
    }
    for name, (sizes, divisor) in counts.items():
        devices = axis_size(mesh, rules[name])
        if divisor % devices:
            told = ', '.join(f'{size} {meaning}' for meaning, size in sizes.items())
            raise ValueError(
                f'mesh.rules.{name}={rules[name]}: its {devices} devices must divide {told}; '
                f'{math.gcd(divisor, devices)} would. Make its axes of the mesh smaller, or name '
                'others'
            )
