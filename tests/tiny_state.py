"""The state of a tiny Thinker with both towers, as training keeps it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from mer_jax.group import TrainState
from mer_jax.models.omni import make_omni
from mer_jax.models.spec import AudioSpec, Spec, VisionSpec

SPEC = Spec(
    text=tiny.TEXT,
    vision=VisionSpec(
        hidden_size=32,
        depth=2,
        num_heads=2,
        intermediate_size=16,
        out_hidden_size=32,
        fullatt_block_indexes=(1,),
    ),
    audio=AudioSpec(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        output_dim=32,
    ),
)


def shapes_of_state():
    """The shapes of a state with Adam's moments."""
    policy = make_omni(jax.random.key(0), SPEC)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return TrainState(policy, optimizer.init(policy.decoder))


def filled_state():
    """A state whose every leaf holds random numbers, as after many updates."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(shapes_of_state)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 9, x.shape), x.dtype), shapes)
