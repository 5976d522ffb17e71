"""Low-rank adapters (LoRA) beside linear layers: y = x·W + (alpha / rank) · (x·A)·B.

W is frozen. A and B are the only weights that are trained, and their product is never formed while
a policy learns or answers. B starts at zero, so that a new adapter changes nothing. Adapters are
held under dotted paths, 'decoder.model.layers.self_attn.q_proj.lora_A.weight'.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mer_jax.models.layers import Factor, Projection
from mer_jax.models.omni import Omni
from mer_jax.sharding import is_weight

TARGETS = ('q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj')
FACTORS = ('lora_A', 'lora_B')
CONVOLUTIONS = ('patch_embed', 'conv1', 'conv2')  # parts of the towers that get no adapter


@dataclasses.dataclass(frozen=True)
class Lora:
    """Size and places of the adapters; config.learn.lora holds the same keys."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = TARGETS  # linear layers of the decoder
    towers: bool = False  # all linear layers of the towers too

    @property
    def scale(self) -> float:
        """The factor of an adapter's output."""
        return self.alpha / self.rank


def places(omni: Omni, lora: Lora) -> dict[str, Projection]:
    """The linear layers that get an adapter, by their dotted paths."""
    found = {}
    for path, layer in _linear_layers(omni.decoder, ['decoder']):
        if 'layers' in path and path[-1] in lora.targets:
            found['.'.join(path)] = layer
    towers = [('visual', omni.visual), ('audio_tower', omni.audio_tower)] if lora.towers else []
    for name, tower in towers:
        for path, layer in _linear_layers(tower, [name]):
            if path[1] not in CONVOLUTIONS:
                found['.'.join(path)] = layer
    return found


def _linear_layers(module, path: list[str]) -> Iterator[tuple[list[str], Projection]]:
    """Every linear layer below a module, with its path; none below None."""
    for name, child in vars(module).items() if module else ():
        if isinstance(child, Projection):
            yield [*path, name], child
        elif isinstance(child, nnx.Module):
            yield from _linear_layers(child, [*path, name])


def new_adapters(key, omni: Omni, lora: Lora) -> dict[str, nnx.Param]:
    """New adapters in float32 by their paths: A uniform as in PEFT, B zero.

    Of `omni` only shapes are read.
    """
    made = {}
    for number, (path, layer) in enumerate(places(omni, lora).items()):
        weight = layer.weight
        first = weight.ndim - len(weight.axes)  # 1 where layers are stacked
        layers, last = weight.shape[:first], first + weight.inputs
        inputs, outputs = weight.shape[first:last], weight.shape[last:]
        shapes = (*layers, *inputs, lora.rank), (*layers, lora.rank, *outputs)
        bound = int(np.prod(inputs)) ** -0.5
        a = jax.random.uniform(
            jax.random.fold_in(key, number), shapes[0], jnp.float32, -bound, bound
        )
        axes = (*weight.axes[: weight.inputs], None), (None, *weight.axes[weight.inputs :])
        made[f'{path}.lora_A.weight'] = nnx.Param(a, axes=axes[0], inputs=weight.inputs)
        made[f'{path}.lora_B.weight'] = nnx.Param(jnp.zeros(shapes[1]), axes=axes[1], inputs=1)
    return made


def attach(omni: Omni, adapters: dict[str, nnx.Param], lora: Lora) -> Omni:
    """The policy with these adapters in their places."""
    omni = _copied(omni)
    for path, layer in places(omni, lora).items():
        layer.lora_A, layer.lora_B = (Factor(adapters[f'{path}.{one}.weight']) for one in FACTORS)
        layer.lora_scale = lora.scale
    return omni


def detach(omni: Omni) -> Omni:
    """The policy without its adapters."""
    omni = _copied(omni)
    for _, layer in _adapted_layers(omni):
        layer.lora_A, layer.lora_B = nnx.data(None), nnx.data(None)
        layer.lora_scale = 0.0
    return omni


def adapters_of(omni: Omni) -> dict[str, nnx.Param]:
    """The adapters of a policy by their paths; empty where it has none."""
    found = jax.tree_util.tree_flatten_with_path(omni, is_leaf=is_weight)[0]
    named = {_dotted(path): weight for path, weight in found}
    return {name: weight for name, weight in named.items() if is_adapter(name)}


def with_adapters(omni: Omni, adapters: dict[str, nnx.Param]) -> Omni:
    """The policy with other values in its adapters."""
    return jax.tree_util.tree_map_with_path(
        lambda path, weight: adapters.get(_dotted(path), weight), omni, is_leaf=is_weight
    )


def is_adapter(name: str) -> bool:
    """Whether a dotted path leads to a weight of an adapter."""
    return not set(FACTORS).isdisjoint(name.split('.'))


def merged(omni: Omni) -> Omni:
    """The policy whose weights are W + scale · A·B, and that has no adapters.

    A sum is formed in float32, a layer at a time, and rounded to the dtype of W.
    """
    sums = {
        '.'.join([*path, 'weight']): _merged_weight(layer) for path, layer in _adapted_layers(omni)
    }
    return with_adapters(detach(omni), sums)


def _merged_weight(layer: Projection) -> nnx.Param:
    """W + scale · A·B of a linear layer, or of a stack of them."""
    weight, inputs, scale = layer.weight, layer.weight.inputs, layer.lora_scale

    def of_layer(w, a, b):
        change = jnp.tensordot(a.astype(jnp.float32), b.astype(jnp.float32), 1)
        return (w.astype(jnp.float32) + scale * change).astype(w.dtype)

    given = weight[...], layer.lora_A.weight[...], layer.lora_B.weight[...]
    stacked = weight.ndim > len(weight.axes)
    added = jax.jit(lambda one: jax.lax.map(lambda row: of_layer(*row), one))
    value = added(given) if stacked else jax.jit(of_layer)(*given)
    return nnx.Param(value, axes=weight.axes, inputs=inputs)


def _adapted_layers(omni: Omni) -> list[tuple[list[str], Projection]]:
    """The linear layers that have an adapter, with their paths."""
    parts = [('decoder', omni.decoder), ('visual', omni.visual), ('audio_tower', omni.audio_tower)]
    every = [one for name, module in parts for one in _linear_layers(module, [name])]
    return [(path, layer) for path, layer in every if layer.lora_A is not None]


def _copied(omni: Omni) -> Omni:
    """The policy with modules of its own, whose attributes may be set."""
    return jax.tree.map(lambda leaf: leaf, omni)


def _dotted(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='.')
