"""The Thinker: towers that perceive, and the decoder that reads what they saw."""

import jax.numpy as jnp
from flax import nnx, struct

from mer_jax.group import Keys, Media, Prompts
from mer_jax.models.audio import AudioTower
from mer_jax.models.decoder import Decoder, prefill
from mer_jax.models.spec import Spec
from mer_jax.models.vision import VisionTower


@struct.dataclass
class Omni:
    """Decoder and towers; a tower that the spec lacks is None."""

    decoder: Decoder
    visual: VisionTower | None
    audio_tower: AudioTower | None


def make_omni(key, spec: Spec) -> Omni:
    """A Thinker with random weights."""
    rngs = nnx.Rngs(params=key)
    return Omni(
        decoder=Decoder(rngs, spec.text),
        visual=VisionTower(rngs, spec.vision) if spec.vision else None,
        audio_tower=AudioTower(rngs, spec.audio) if spec.audio else None,
    )


def perceive(omni: Omni, spec: Spec, media: Media):
    """What the towers make of the media: f[b, rows, d], pictures first, then sound.

    The rows are those that `Media.place` counts: z · p / merge² of pictures, then q of sound.
    Features that come with the media are taken as they are.
    """
    if media.feature is not None:
        return media.feature.astype(spec.dtype)
    b = media.place.shape[0]
    rows = [jnp.zeros((b, 0, spec.text.hidden_size), spec.dtype)]
    if media.patch.shape[1]:
        patch = media.patch.astype(spec.dtype)
        rows.append(
            omni.visual(spec.vision, patch, media.patch_mask, media.patch_row_col, remat=spec.remat)
        )
    if media.sound.shape[1]:
        sound = media.sound.astype(spec.dtype)
        rows.append(
            omni.audio_tower(
                spec.audio, sound, media.sound_length, media.sound_pair, remat=spec.remat
            )
        )
    return jnp.concatenate(rows, 1)


def read_prompts(decoder: Decoder, spec: Spec, prompts: Prompts, features_brd) -> Keys:
    """The keys of prompts whose media tokens show the features, f[l, b, t, k, h]."""
    x = decoder.embed(prompts.token, spec.dtype)
    place = prompts.media.place
    if features_brd.shape[1]:
        shown = jnp.take_along_axis(features_brd, jnp.maximum(place, 0)[..., None], axis=1)
        x = jnp.where(place[..., None] >= 0, shown.astype(x.dtype), x)
    return prefill(decoder, spec.text, x, prompts.position, prompts.mask, spec.remat)
