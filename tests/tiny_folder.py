"""A tiny Thinker with both towers, and what a checkpoint folder holds, for tests."""

import dataclasses

import jax
import numpy as np
from tiny import TEXT, shapes

from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.checkpoint.safetensors import scan, view
from mer_jax.models.spec import AudioSpec, Spec, VisionSpec, read_spec
from mer_jax.sharding import state_shardings, with_shardings

SPEC = Spec(
    text=dataclasses.replace(TEXT, num_hidden_layers=2),
    vision=VisionSpec(
        hidden_size=16,
        depth=2,
        num_heads=2,
        intermediate_size=12,
        out_hidden_size=32,
        patch_size=2,
        fullatt_block_indexes=(1,),
    ),
    audio=AudioSpec(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=12,
        output_dim=32,
        num_mel_bins=6,
    ),
)
TOKENS = {
    'image': 56,
    'video': 57,
    'vision_start': 58,
    'vision_end': 59,
    'audio': 60,
    'audio_start': 61,
    'audio_end': 62,
}


def like(spec: Spec = SPEC, dtype: str = 'float32', mesh=None):
    """An abstract Thinker, sharded if a mesh is given."""
    omni = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes(spec))
    if mesh is None:
        return omni
    return with_shardings(omni, state_shardings(mesh, omni))


def load(folder, dtype: str = 'float32', mesh=None):
    """The Thinker of a folder and its spec."""
    spec = read_spec(folder)
    return load_omni(folder, like(spec, dtype, mesh)), spec


def tensors(folder) -> dict[str, np.ndarray]:
    """Copies of all tensors of a folder under their released names."""
    return {name: np.array(view(entry)) for name, entry in scan(folder).items()}


def assert_same(found: dict, wanted: dict, but=()) -> None:
    """The same names, and under each the same bits."""
    assert found.keys() == wanted.keys()
    for name in found.keys() - set(but):
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
