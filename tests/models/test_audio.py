"""The audio tower against `transformers`, and the frames that each feature depends on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mer_jax.models.audio import AudioTower, sinusoids, taps
from mer_jax.models.checkpoint.load import fill, names
from mer_jax.models.spec import AudioSpec

EVEN = AudioSpec(
    d_model=32,
    encoder_layers=3,
    encoder_attention_heads=2,
    encoder_ffn_dim=40,
    output_dim=24,
    num_mel_bins=6,
    n_window=4,
)
ODD = AudioSpec(
    d_model=24,
    encoder_layers=2,
    encoder_attention_heads=3,
    encoder_ffn_dim=20,
    output_dim=16,
    num_mel_bins=8,
    n_window=5,
)
PROMPTS = [[27], [7, 31], [10, 1, 12, 2], [20, 8]]  # the lengths of their sounds in mel frames


def raw_sounds(spec, lengths, seed):
    """The log-mel frames f[n, m] of the sounds of a prompt, one after the other."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(sum(lengths), spec.num_mel_bins)).astype(np.float32)


def arranged(spec, lengths, frames, chunks, tokens, padding=0.0):
    """The sounds of a prompt as (sound, length, pair), and their number of tokens."""
    size = 2 * spec.n_window
    sound = np.full((chunks, size, spec.num_mel_bins), padding, np.float32)
    length, pairs, start, j = np.zeros(chunks, np.int32), [], 0, 0
    for frame_count in lengths:
        rows = []
        for first in range(0, frame_count, size):
            length[j] = min(size, frame_count - first)
            sound[j, : length[j]] = frames[start + first : start + first + length[j]]
            rows += [j * spec.n_window + i for i in range((length[j] + 1) // 2)]
            j += 1
        start += frame_count
        pairs += [rows[i : i + 2] for i in range(0, len(rows) - 1, 2)]
    pair = np.zeros((tokens, 2), np.int32)
    pair[: len(pairs)] = pairs
    return sound, length, pair, len(pairs)


def batch(spec, prompts, chunks, tokens, padding=0.0):
    """Prompts as the arguments of the tower, and the number of tokens of each."""
    parts = [
        arranged(spec, lengths, raw_sounds(spec, lengths, seed), chunks, tokens, padding)
        for seed, lengths in enumerate(prompts)
    ]
    *arguments, counts = zip(*parts, strict=True)
    return [np.stack(argument) for argument in arguments], counts


@jax.jit(static_argnames='remat')
def features(tower, sound, length, pair, remat=False):
    with jax.default_matmul_precision('highest'):
        return tower(sound, length, pair, remat)


def empty(spec):
    return jax.eval_shape(lambda: AudioTower(nnx.Rngs(0), spec))


def own(spec):
    """A tower with every weight random, biases and norms included."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(scale=0.2, size=leaf.shape).astype(np.float32), empty(spec)
    )


def reference(spec):
    """The tower of `transformers` with every weight random, biases and norms included."""
    torch = pytest.importorskip('torch')
    from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling

    kind = modeling.Qwen2_5OmniAudioEncoder
    config = kind.config_class(**dataclasses.asdict(spec), attn_implementation='eager')
    torch.manual_seed(0)
    tower = kind(config).eval().requires_grad_(False)
    for parameter in tower.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5)
    return tower


@pytest.mark.parametrize('spec', [EVEN, ODD], ids=['even window', 'odd window'])
def test_features_are_those_of_transformers(spec):
    torch = pytest.importorskip('torch')
    tower = reference(spec)
    stored = {name: value.numpy() for name, value in tower.state_dict().items()}
    assert sorted([*names(empty(spec)), 'audio_bos_eos_token.weight']) == sorted(stored)
    filled = fill(empty(spec), stored.__getitem__)
    arguments, counts = batch(spec, PROMPTS, chunks=6, tokens=10, padding=3.0)
    found = features(filled, *arguments)
    assert np.isfinite(found).all()
    for seed, lengths in enumerate(PROMPTS):
        frames = torch.from_numpy(raw_sounds(spec, lengths, seed)).T
        wanted = tower(frames, feature_lens=torch.tensor(lengths)).last_hidden_state.numpy()
        assert len(wanted) == counts[seed] and wanted.std() > 0.3
        np.testing.assert_allclose(found[seed, : len(wanted)], wanted, atol=1e-5, rtol=1e-5)


def test_more_chunks_tokens_and_noise_in_the_padding_change_no_feature():
    tower = own(ODD)
    few, counts = batch(ODD, PROMPTS[:2], chunks=5, tokens=10)
    many, _ = batch(ODD, PROMPTS[:2], chunks=7, tokens=13, padding=np.nan)
    few, many = features(tower, *few), features(tower, *many)
    assert np.isfinite(many).all()
    for prompt, count in enumerate(counts):
        np.testing.assert_allclose(few[prompt, :count], many[prompt, :count], atol=1e-5, rtol=1e-5)


def test_a_feature_depends_on_the_valid_frames_of_its_chunks_alone():
    (sound, length, pair), _ = batch(ODD, PROMPTS[:2], chunks=5, tokens=10)
    tower = own(ODD)

    @jax.jit
    def gradient(token):
        return jax.grad(lambda x: tower(x, length, pair)[1, token].sum())(sound)

    def touched(token):
        return np.abs(gradient(token)).max(-1) > 0

    inside, across = np.zeros((2, 2, 5, 10), bool)
    inside[1, 0, :7] = True  # the first sound has 7 frames
    across[1, 1:3] = True  # the second has 31; five convolved frames a chunk, so pair 2 straddles
    np.testing.assert_array_equal(touched(0), inside)
    np.testing.assert_array_equal(touched(2 + 2), across)


def test_empty_chunks_give_no_nan_to_the_gradients():
    (sound, length, pair), _ = batch(ODD, PROMPTS[:1], chunks=4, tokens=8)
    gradient = jax.jit(jax.grad(lambda tower: tower(sound, 0 * length, pair).sum()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(own(ODD))))


@pytest.mark.slow
def test_recomputed_layers_give_the_same_gradients():
    arguments, _ = batch(ODD, PROMPTS[:2], chunks=5, tokens=10)

    def gradient(remat):
        return jax.jit(jax.grad(lambda tower: tower(*arguments, remat).sum()))(own(ODD))

    plain, recomputed = gradient(False), gradient(True)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, recomputed
    )


def test_features_have_the_dtype_of_the_sound():
    (sound, length, pair), (count,) = batch(ODD, PROMPTS[:1], chunks=3, tokens=7)
    tower = own(ODD)
    exact = features(tower, sound, length, pair)[0, :count]
    found = features(tower, sound.astype(jnp.bfloat16), length, pair)[0, :count]
    assert found.dtype == jnp.bfloat16
    assert np.abs(found.astype(np.float32) - exact).max() < 0.05 * np.abs(exact).max()


def test_taps_are_a_frame_and_its_neighbours_with_zeros_outside():
    x = np.array([[1.0], [2.0], [3.0], [4.0]])
    np.testing.assert_array_equal(taps(x, 1)[:, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]])
    np.testing.assert_array_equal(taps(x, 2)[:, 0], [[0, 1, 2], [2, 3, 4]])


def test_sinusoids_are_sines_then_cosines():
    wanted = [[0, 0, 1, 1], [np.sin(1), np.sin(1e-4), np.cos(1), np.cos(1e-4)]]
    np.testing.assert_allclose(sinusoids(2, 4), wanted, rtol=1e-6)


def test_every_weight_is_a_leaf():
    assert len(jax.tree.leaves(empty(ODD))) == 23
