"""The cache of features of frozen towers: opened for one policy, filled batch by batch."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from mer_jax.data.cache import FeatureCache
from mer_jax.group import Prompts
from mer_jax.models.omni import Omni
from mer_jax.run.examples import PROMPT_KEYS, question_of
from mer_jax.run.setting import Setting
from mer_jax.sharding import to_host


def open_cache(setting: Setting, policy: Omni) -> FeatureCache | None:
    """The cache of features that the frozen towers of this policy compute; None if unwanted.

    It is keyed by the weights of the towers and by everything that prompts depend on.
    """
    data = setting.config.data
    if not data.cache:
        return None
    sums = fingerprint([policy.visual, policy.audio_tower])
    asked = {key: data[key] for key in PROMPT_KEYS} | {
        'question': question_of(data, setting.method)
    }
    layout, root = setting.writer.layout, str(setting.origin.root)
    about = sums, asked, layout, setting.tokenizer.chat_template, root
    return FeatureCache(data.cache, repr((about, setting.spec.dtype)))


def keep_features(cache: FeatureCache | None, examples, prompts: Prompts, features) -> None:
    """Put the features f[b, rows, d] of a batch into the cache, if there is one."""
    if cache is None or prompts.media.feature is not None:
        return
    feature_brd = to_host(features)
    for example, place_t, feature_rd in zip(
        examples, prompts.media.place, feature_brd, strict=False
    ):
        cache.save(example.clip, example.prompt, feature_rd[place_t[place_t >= 0]])


def fingerprint(tree) -> str:
    """Eight hex digits that tell the weights of a tree apart."""
    sums = [int(one) for one in weight_sums(jax.tree.leaves(tree))]
    return f'{zlib.crc32(repr(sums).encode()):08x}'


@jax.jit
def weight_sums(weights):
    """The `weight_sum` of each of these weights, by one program: many small ones compile slowly."""
    return [weight_sum(weight) for weight in weights]


@jax.jit
def weight_sum(weight):
    """A number u32[] that tells weights apart: their bits, each times an odd number of its own.

    The odd number is 2 · i + 1 for weight number i in row order. Each device sums its own share.
    """
    bits = jax.lax.bitcast_convert_type(weight.astype(jnp.float32), jnp.uint32)
    number, step = jnp.uint32(0), 1
    for axis in reversed(range(weight.ndim)):
        number += jax.lax.broadcasted_iota(jnp.uint32, weight.shape, axis) * np.uint32(step)
        step = step * weight.shape[axis] % 2**32
    return (bits * (2 * number + 1)).sum(dtype=jnp.uint32)
