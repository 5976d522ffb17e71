"""The largest batches that a config admits, as abstract arrays."""

import dataclasses
import math

import jax
import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.collate import size_class
from mer_jax.group import Media, Prompts
from mer_jax.methods import emo_r3_reading
from mer_jax.run.setting import Setting
from mer_jax.sharding import named

MEDIA = ('largest', 'features')


@dataclasses.dataclass(frozen=True)
class MediaSizes:
    """The padded sizes of the media of a batch."""

    frames: int  # temporal patches
    patches: int  # of a frame
    chunks: int  # of sound
    tokens: int  # of sound


def largest_media(setting: Setting) -> MediaSizes:
    """A video of square frames, of data.max_frames and data.max_pixels, and sound in the rest.

    Both together have at most the tokens of the longest prompt, and at least one frame is there.
    """
    data, layout = setting.config.data, setting.writer.layout
    tokens, side = max(data.prompt_tokens), layout.patch * layout.merge
    edge = max(math.isqrt(min(data.max_pixels // side**2, tokens)), 1)  # in cells
    frames = max(min(data.max_frames // layout.temporal_patch, tokens // edge**2), 1)
    windows = size_class((-(-edge // layout.window)) ** 2)
    chunks = 0
    if setting.spec.audio:
        chunk_tokens = layout.chunk // 4
        chunks = size_class(max(tokens - frames * edge**2, 0) // chunk_tokens)
    return MediaSizes(
        frames=size_class(frames),
        patches=windows * (layout.window * layout.merge) ** 2,
        chunks=chunks,
        tokens=-(-chunks * layout.chunk // 4),
    )


def abstract_prompts(setting: Setting, b: int, media: str) -> Prompts:
    """The longest prompts of a batch, as `run.batching` collates them, on the mesh.

    `media` is 'largest', or 'features' that the towers have computed before.
    """
    layout, t = setting.writer.layout, max(setting.config.data.prompt_tokens)
    sizes = MediaSizes(0, 0, 0, 0) if media == 'features' else largest_media(setting)
    z, p, j, q = dataclasses.astuple(sizes)

    def array(dtype, *shape):
        return on_mesh(setting, b, dtype, *shape)

    feature = array(setting.spec.dtype, t, setting.spec.text.hidden_size)
    return Prompts(
        token=array('int32', t),
        mask=array('bool', t),
        position=array('int32', 3, t),
        start=array('int32'),
        next_position=array('int32'),
        media=Media(
            patch=array('float32', z, p, 3 * layout.temporal_patch * layout.patch**2),
            patch_mask=array('bool', z, p),
            patch_row_col=array('int32', z, p, 2),
            sound=array('float32', j, layout.chunk, layout.bands),
            sound_length=array('int32', j),
            sound_pair=array('int32', q, 2),
            place=array('int32', t),
            feature=feature if media == 'features' else None,
        ),
    )


def on_mesh(setting: Setting, b: int, dtype, *shape: int) -> jax.ShapeDtypeStruct:
    """An abstract array of a batch of b rows, spread over the mesh as prompts are."""
    sharding = named(setting.mesh, 'batch')
    return jax.ShapeDtypeStruct((b, *shape), np.dtype(dtype), sharding=sharding)


def like_batch(setting: Setting, tree):
    """Arrays that lead with b as abstract arrays on the mesh."""
    return jax.tree.map(lambda x: on_mesh(setting, x.shape[0], x.dtype, *x.shape[1:]), tree)


def largest_reading(setting: Setting, b: int):
    """A method's reading of b groups of answers, as numpy, with arrays as large as they can be."""
    c = setting.config
    shape = b, c.rollout.group, c.rollout.slow_tokens
    texts = setting.texts.read(np.full(shape, setting.end, np.int32), np.zeros(shape, bool))
    words = setting.method.labels[:1] or ('happy',)
    reading, _ = setting.method.read(texts, [Clip(id='', words=words)] * b)
    if isinstance(reading, emo_r3_reading.Reading):  # questions, padded to the longest of a batch
        question = np.zeros((*shape[:2], c.rollout.reflection_tokens), np.int32)
        reading = reading.replace(story=question, view=question)
    return reading
