"""The Thinker: vision tower, audio tower, and the decoder that reads their features."""

import jax.numpy as jnp
from flax import nnx, struct

from mer_jax.group import Keys, Media, Packing, Prompts
from mer_jax.models.audio import AudioTower
from mer_jax.models.decoder import Decoder, extend, prefill, prefill_and_extend
from mer_jax.models.spec import Spec
from mer_jax.models.vision import VisionTower
from mer_jax.sharding import pin, weight_devices


@struct.dataclass
class Omni:
    """Decoder and towers; a tower that the spec does not have is None."""

    decoder: Decoder
    visual: VisionTower | None
    audio_tower: AudioTower | None
    spec: Spec = struct.field(pytree_node=False)


def make_omni(key, spec: Spec) -> Omni:
    """A Thinker with random weights, or without a key with zeros, which is faster to trace."""
    rngs = None if key is None else nnx.Rngs(params=key)
    return Omni(
        decoder=Decoder(rngs, spec.text),
        visual=VisionTower(rngs, spec.vision) if spec.vision else None,
        audio_tower=AudioTower(rngs, spec.audio) if spec.audio else None,
        spec=spec,
    )


def perceive(omni: Omni, media: Media):
    """The towers' features of the media in spec.dtype: f[b, rows, d], pictures first, then sound.

    `Media.place` counts these rows: z · p / merge² of pictures, then q of sound; there may be none.
    Features that are part of the media are returned without running the towers.
    """
    spec = omni.spec
    if media.feature is not None:
        return media.feature.astype(spec.dtype)
    b = media.place.shape[0]
    rows = [jnp.zeros((b, 0, spec.text.hidden_size), spec.dtype)]
    if media.patch.shape[1]:
        patch = media.patch.astype(spec.dtype)
        place = media.patch_mask, media.patch_row_col
        rows.append(omni.visual(patch, *place, remat=spec.remat, attention=spec.attention))
    if media.sound.shape[1]:
        sound = media.sound.astype(spec.dtype)
        rows.append(omni.audio_tower(sound, media.sound_length, media.sound_pair, remat=spec.remat))
    return jnp.concatenate(rows, 1)


def read_prompts(
    decoder: Decoder, prompts: Prompts, features_brd, remat: bool = False, attention: str = 'auto'
) -> Keys:
    """The keys of prompts, with the features in place of their media tokens.

    Activations have the dtype of the features, also if there are no rows.
    """
    x = embed_prompts(decoder, prompts, features_brd)
    return prefill(decoder, x, prompts.position, prompts.mask, remat, attention)


def embed_prompts(decoder: Decoder, prompts: Prompts, features_brd):
    """The embeddings f[b, t, d] of prompts, with the features in place of their media tokens."""
    x = pin(decoder.embed(prompts.token, features_brd.dtype))
    place = prompts.media.place
    if features_brd.shape[1]:
        shown = jnp.take_along_axis(features_brd, jnp.maximum(place, 0)[..., None], axis=1)
        x = jnp.where(place[..., None] >= 0, shown, x)
    return x


def read_branches(
    policy: Omni, prompts: Prompts, features_brd, token_bgs, packing: Packing | None = None
):
    """The hidden states f[b, g, s, d] of branches, and of nothing else, behind their prompts.

    With `packing` those of its rows, f[r, c, d].

    Where devices share the weights, prompts and branches pass through the layers together.
    """
    decoder, ways = policy.decoder, (policy.spec.remat, policy.spec.attention)
    if weight_devices() == 1:
        keys = read_prompts(decoder, prompts, features_brd, *ways)
        given = token_bgs, prompts.next_position, keys, prompts.mask
        return extend(decoder, *given, *ways, packing)
    x = embed_prompts(decoder, prompts, features_brd)
    given = prompts.position, prompts.mask, token_bgs, prompts.next_position
    return prefill_and_extend(decoder, x, *given, *ways, packing)
