import jax
import jax.numpy as jnp
import numpy as np
import tiny
from test_checkpoints import SPEC

from mer_jax.models.decoder import prefill
from mer_jax.models.omni import make_omni, perceive, read_prompts


def test_a_policy_has_sixty_leaves_and_each_is_a_weight():
    policy = jax.eval_shape(lambda: make_omni(jax.random.key(0), SPEC))
    assert len(jax.tree.leaves(policy.decoder)) == 15
    assert len(jax.tree.leaves(policy.visual)) == 22
    assert len(jax.tree.leaves(policy.audio_tower)) == 23
    assert len(jax.tree.leaves(policy)) == 60
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(policy))


def test_a_media_token_shows_the_feature_that_its_place_names_and_others_stay_text():
    policy, prompts = tiny.policy(), tiny.prompts([6, 4], 6)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 32)), jnp.float32)
    place = np.array([[-1, 3, 0, -1, 4, -1], [-1, -1, -1, 2, 2, -1]], np.int32)
    prompts = prompts.replace(media=prompts.media.replace(place=place))
    shown = read_prompts(policy.decoder, tiny.SPEC, prompts, features)

    x = np.array(policy.decoder.embed(prompts.token, 'float32'))
    for row, slot in zip(*np.nonzero(place >= 0), strict=True):
        x[row, slot] = features[row, place[row, slot]]
    wanted = prefill(
        policy.decoder, tiny.TEXT, jnp.asarray(x), jnp.asarray(prompts.position), prompts.mask
    )
    np.testing.assert_allclose(shown.k, wanted.k, atol=1e-6)
    np.testing.assert_allclose(shown.v, wanted.v, atol=1e-6)


def test_a_model_without_media_perceives_nothing():
    features = perceive(tiny.policy(), tiny.SPEC, tiny.silence(3, 6))
    assert features.shape == (3, 0, 32)
