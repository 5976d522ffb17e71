"""The decoder against `transformers`, and the tokens that a key depends on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mer_jax.models.checkpoint.load import fill, names
from mer_jax.models.decoder import Decoder, extend, prefill
from mer_jax.models.omni import read_prompts

READ = jax.jit(read_prompts, static_argnums=3)


@jax.jit
def whole_logits(decoder, token_bt, position_b3t, mask_bt):
    """Logits f[b, v] of the last token as a branch; the tokens before it are the prompt."""
    x = decoder.embed(token_bt[:, :-1], 'float32')
    keys = prefill(decoder, x, position_b3t[:, :, :-1], mask_bt[:, :-1])
    hidden = extend(decoder, token_bt[:, None, -1:], position_b3t[:, 0, -1], keys, mask_bt[:, :-1])
    return decoder.logits(hidden)[:, 0, 0]


@pytest.mark.parametrize(
    'change',
    [
        {},
        {'tie_word_embeddings': True},
        {
            'num_key_value_heads': 4,
            'num_hidden_layers': 2,
            'hidden_size': 64,
            'head_dim': 16,
            'mrope_section': (2, 3, 3),
        },
    ],
)
def test_logits_equal_those_of_transformers(change):
    torch = pytest.importorskip('torch')
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as reference
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig

    text = dataclasses.replace(tiny.TEXT, **change)
    config = Qwen2_5_VLTextConfig(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_hidden_layers=text.num_hidden_layers,
        num_attention_heads=text.num_attention_heads,
        num_key_value_heads=text.num_key_value_heads,
        intermediate_size=text.intermediate_size,
        rms_norm_eps=text.rms_norm_eps,
        rope_parameters={
            'rope_type': 'default',
            'rope_theta': text.rope_theta,
            'mrope_section': list(text.mrope_section),
        },
    )
    torch.manual_seed(0)
    model = reference.Qwen2_5_VLTextModel(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    head = torch.randn(text.vocab_size, text.hidden_size) * 0.3
    tensors = {f'model.{name}': x.detach().numpy() for name, x in model.named_parameters()}
    if text.tie_word_embeddings:
        head = model.embed_tokens.weight.detach()
    else:
        tensors['lm_head.weight'] = head.numpy()
    decoder = tiny.policy(spec=dataclasses.replace(tiny.SPEC, text=text)).decoder
    assert set(names(decoder)) == set(tensors)
    decoder = fill(decoder, tensors.__getitem__)

    rng = np.random.default_rng(0)
    token = rng.integers(0, text.vocab_size, (2, 9))
    position = np.sort(rng.integers(0, 20, (2, 3, 9)), -1)
    position[:, :, -1] = position[:, :1, -1]  # a branch starts with plain text
    with torch.no_grad():
        wanted = (
            model(
                input_ids=torch.tensor(token),
                position_ids=torch.tensor(position.swapaxes(0, 1)),
                attention_mask=torch.ones(2, 9, dtype=torch.long),
                use_cache=False,
            ).last_hidden_state
            @ head.T
        )
    logits = whole_logits(decoder, token, position, np.ones((2, 9), bool))
    np.testing.assert_allclose(logits, wanted[:, -1].numpy(), atol=1e-4, rtol=0)


def test_layers_are_stacked_and_a_tied_head_has_no_weight():
    policy = tiny.policy()
    assert len(jax.tree.leaves(policy.decoder)) == 15
    tied = dataclasses.replace(
        tiny.SPEC, text=dataclasses.replace(tiny.TEXT, tie_word_embeddings=True)
    )
    assert len(jax.tree.leaves(tiny.policy(spec=tied).decoder)) == 14
    layers = policy.decoder.model.layers
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(layers))


def test_a_key_does_not_depend_on_later_tokens_of_its_prompt():
    policy, prompts = tiny.policy(), tiny.prompts([6], 6)

    @jax.jit
    @jax.grad
    def by_slot(x, at):
        keys = prefill(policy.decoder, x, jnp.asarray(prompts.position), jnp.asarray(prompts.mask))
        return keys.k[-1, 0, at].sum() + keys.v[-1, 0, at].sum()

    x = policy.decoder.embed(prompts.token, 'float32')
    for at in range(6):
        seen = np.abs(by_slot(x, at)).sum((0, 2)) > 0
        assert seen.tolist() == [slot <= at for slot in range(6)]


def test_rematerialised_layers_give_the_same_gradients():
    policy, prompts = tiny.policy(), tiny.prompts([5, 3], 6)
    features = np.zeros((2, 0, 32), np.float32)

    def loss(decoder, remat):
        return (read_prompts(decoder, prompts, features, remat).v ** 2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain = gradient(policy.decoder, False)
    again = gradient(policy.decoder, True)
    assert isinstance(plain, Decoder)
    for one, other in zip(*map(jax.tree.leaves, (plain, again)), strict=True):
        assert np.abs(one - other).max() <= 1e-6 * np.abs(one).max()


def test_bfloat16_activations_stay_near_float32():
    policy, prompts = tiny.policy(), tiny.prompts([6, 6], 6)
    features = np.zeros((2, 0, 32), np.float32)
    wide = READ(policy.decoder, prompts, features)
    narrow = READ(policy.decoder, prompts, features.astype(jnp.bfloat16))
    assert narrow.k.dtype == jnp.bfloat16
    error = np.abs(np.asarray(narrow.v, np.float32) - wide.v).max() / np.abs(wide.v).max()
    assert 0 < error < 0.05
