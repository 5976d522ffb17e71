"""A whole Thinker: its leaves, its static spec, and media in its prompts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from tiny_state import SPEC

from mer_jax.models.decoder import prefill
from mer_jax.models.omni import make_omni, perceive, read_prompts

KEY = jax.random.key(0)


def test_a_policy_has_sixty_leaves_and_each_is_a_weight():
    policy = tiny.shapes(SPEC)
    assert len(jax.tree.leaves(policy.decoder)) == 15
    assert len(jax.tree.leaves(policy.visual)) == 22
    assert len(jax.tree.leaves(policy.audio_tower)) == 23
    assert len(jax.tree.leaves(policy)) == 60
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(policy))


def test_without_a_key_weights_are_zero_and_otherwise_the_same():
    drawn, zeros = (jax.eval_shape(lambda key=key: make_omni(key, SPEC)) for key in (KEY, None))
    assert jax.tree.structure(drawn) == jax.tree.structure(zeros)  # axes of weights included
    assert jax.tree.leaves(drawn) == jax.tree.leaves(zeros)


def test_a_media_token_is_replaced_by_the_feature_of_its_place_and_others_are_not():
    policy, prompts = tiny.policy(), tiny.prompts([6, 4], 6)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 32)), jnp.float32)
    place = np.array([[-1, 3, 0, -1, 4, -1], [-1, -1, -1, 2, 2, -1]], np.int32)
    prompts = prompts.replace(media=prompts.media.replace(place=place))
    shown = jax.jit(read_prompts)(policy.decoder, prompts, features)

    x = np.array(policy.decoder.embed(prompts.token, 'float32'))
    for row, slot in zip(*np.nonzero(place >= 0), strict=True):
        x[row, slot] = features[row, place[row, slot]]
    wanted = jax.jit(prefill)(policy.decoder, x, prompts.position, prompts.mask)
    np.testing.assert_allclose(shown.k, wanted.k, atol=1e-6)
    np.testing.assert_allclose(shown.v, wanted.v, atol=1e-6)


def test_prompts_without_media_have_no_feature_rows():
    features = perceive(tiny.policy(), tiny.silence(3, 6))
    assert features.shape == (3, 0, 32)


def test_a_spec_is_static_to_every_transformation():
    traced = []

    @jax.jit
    def widths(policy):
        traced.append(policy.spec)
        return policy.decoder.embed(jnp.arange(2), policy.spec.dtype)

    abstract = tiny.shapes(SPEC)
    one, other = (tiny.policy(seed, SPEC) for seed in (0, 1))
    for policy in (one, other, jax.jit(lambda: one)(), jax.tree.map(jnp.zeros_like, one)):
        widths(policy)
        assert policy.spec == SPEC and policy.decoder.spec == SPEC.text
        assert policy.visual.blocks.spec == SPEC.vision  # of stacked layers too
        assert jax.tree.structure(policy) == jax.tree.structure(abstract)
    assert traced == [SPEC]
    widths(one.replace(spec=dataclasses.replace(SPEC, dtype='bfloat16')))
    assert len(traced) == 2


def test_features_have_the_dtype_of_the_spec_with_and_without_rows():
    policy = tiny.policy(spec=dataclasses.replace(tiny.SPEC, dtype='bfloat16'))
    media = tiny.silence(3, 6)
    assert perceive(policy, media).dtype == jnp.bfloat16
    kept = media.replace(feature=np.ones((3, 2, 32), np.float32))
    assert perceive(policy, kept).dtype == jnp.bfloat16
