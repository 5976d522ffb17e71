"""FLOPs by formula, against numbers by hand and the count of the compiler."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from tiny import policy
from tiny_workload import text_prompts, work_of

from experiments import flops
from mer_jax.group import Keys
from mer_jax.models.audio import AudioTower
from mer_jax.models.decoder import branch_rotary
from mer_jax.models.spec import AudioSpec, Spec, TextSpec, VisionSpec
from mer_jax.models.vision import VisionTower
from mer_jax.rl.score import Sampling, score
from mer_jax.sharding import pin

SMALL = TextSpec(
    vocab_size=11,
    hidden_size=2,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=2,
    intermediate_size=3,
    mrope_section=(1, 0, 0),
)
WIDE = TextSpec(
    vocab_size=512,
    hidden_size=128,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    intermediate_size=384,
    mrope_section=(4, 6, 6),
)
VISION = VisionSpec(
    hidden_size=2,
    depth=3,
    num_heads=1,
    intermediate_size=3,
    out_hidden_size=5,
    patch_size=2,
    window_size=8,
    fullatt_block_indexes=(2, 7),
)
AUDIO = AudioSpec(
    d_model=4,
    encoder_layers=3,
    encoder_attention_heads=1,
    encoder_ffn_dim=4,
    output_dim=5,
    num_mel_bins=7,
    n_window=2,
)
B, T, G, S = 2, 48, 4, 33


def compiled_flops(function, *arguments):
    """What XLA counts in the compiled function: right for one layer, more than the products."""
    return jax.jit(function).lower(*arguments).compile().cost_analysis()['flops']


def traced_flops(function, *arguments):
    """The products in the traced function, those of a scan times its length."""

    def count(jaxpr, times):
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == 'dot_general':
                left, out = equation.invars[0].aval, equation.outvars[0].aval
                (contracted, _), _ = equation.params['dimension_numbers']
                total += 2 * times * out.size * np.prod([left.shape[i] for i in contracted])
            inner = times * equation.params.get('length', 1)
            values = [v if isinstance(v, tuple) else (v,) for v in equation.params.values()]
            parts = [part for value in values for part in value if hasattr(part, 'eqns')]
            total += sum(count(part, inner) for part in parts)
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr, 1)


def scoring(text, remat=False):
    """A sum of scores as a function of policy and keys, and those."""
    shown = text_prompts(B, T, text.vocab_size)
    token_bgs = np.zeros((B, G, S), np.int32)
    policy = tiny.shapes(Spec(text=text, vision=None, audio=None, remat=remat))
    shape = text.num_hidden_layers, B, T, text.num_key_value_heads, text.head_dim
    keys = Keys(k=jnp.ones(shape), v=jnp.ones(shape))
    sampling = Sampling(tokens=S, end=0, banned=())

    def scored(policy, keys):
        return score(policy, shown, keys, token_bgs, sampling, chunk=S).sum()

    return scored, policy, keys


def test_a_layer_takes_two_flops_for_each_weight_and_four_for_each_key_and_value():
    # weights: q 2·4, k and v 2·2 each, o 4·2, MLP 3·2·3 = 42; a token sees 7 keys in 2 heads of 2.
    assert flops.layer(SMALL, tokens=5, keys=7) == 2 * 5 * 42 + 4 * 5 * 7 * 2 * 2


def test_the_last_layer_of_prefill_stops_at_keys_and_values():
    # 2 · 4 tokens, each through a key and a value projection of 2 · 2.
    last = 2 * 8 * (2 * 2 + 2 * 2)
    assert flops.prefill(SMALL, b=2, t=4) == 2 * flops.layer(SMALL, 8, 4) + last


def test_a_long_prompt_sees_the_keys_up_to_the_ends_of_its_pieces():
    seen = sum(flops.layer(SMALL, 2 * 128, keys) for keys in (128, 256)) + flops.layer(
        SMALL, 8, 260
    )
    last = 2 * 2 * 260 * (2 * 2 + 2 * 2)
    assert flops.prefill(SMALL, b=2, t=260) == 2 * seen + last


def test_branches_go_through_all_layers_and_the_head():
    assert flops.extend(SMALL, tokens=6, keys=9) == 3 * flops.layer(SMALL, 6, 9)
    assert flops.head(SMALL, tokens=6) == 2 * 6 * 2 * 11


def test_the_vision_tower_counts_windows_and_whole_frames():
    # patches of 3·2·2·2 = 24 values; a window has 16 patches, a frame 32; block 2 sees frames,
    # and the index 7 is beyond the depth.
    weights = 24 * 2 + 3 * (4 * 2 * 2 + 3 * 2 * 3) + 4 * 2 * 2 + 2 * 5
    patches = 1 * 2 * 32
    expected = 2 * patches * weights + 4 * patches * (16 + 16 + 32) * 2
    assert flops.vision(VISION, (1, 2, 32, 24)) == expected
    assert flops.vision(VISION, (1, 0, 32, 24)) == flops.vision(None, (1, 0, 0, 0)) == 0


def test_the_audio_tower_counts_convolved_frames_at_half_the_rate():
    # 2 chunks of 4 frames, 2 after the second convolution; 3 audio tokens.
    first, second = 2 * 4 * 2 * (7 * 3 * 4), 2 * 2 * 2 * (4 * 3 * 4)
    layers = 3 * (2 * 2 * 2 * (4 * 16 + 2 * 16) + 4 * 2 * 2 * 2 * 4)
    assert flops.audio(AUDIO, (1, 2, 4, 7), 3) == first + second + layers + 2 * 3 * 4 * 5
    assert flops.audio(AUDIO, (1, 0, 4, 7), 0) == flops.audio(None, (1, 0, 0, 0), 0) == 0


def test_the_formula_of_a_layer_is_what_the_compiler_counts():
    decoder = policy(spec=Spec(WIDE, None, None)).decoder
    layer = jax.tree.map(lambda leaf: leaf[0], decoder.model.layers)

    def forward(layer, x):
        angles = [angle[:, 0] for angle in branch_rotary(WIDE, jnp.zeros(B), T)]
        mixed = jax.nn.dot_product_attention(*layer.project(x, angles, pin, pin))
        return layer.finish(x, mixed, pin, pin)

    counted = compiled_flops(forward, layer, jnp.ones((B, T, 128)))
    assert flops.layer(WIDE, B * T, T) <= counted < 1.03 * flops.layer(WIDE, B * T, T)


def test_the_formula_of_scoring_is_what_the_compiler_counts():
    expected = flops.extend(WIDE, B * G * S, T + S) + flops.head(WIDE, B * G * (S - 1))
    assert expected <= compiled_flops(*scoring(WIDE)) < 1.05 * expected


@pytest.mark.parametrize('remat', [False, True])
def test_an_update_takes_three_passes_and_one_more_of_what_is_recomputed(remat):
    text = dataclasses.replace(WIDE, num_hidden_layers=3)
    scored, *weights = scoring(text, remat)
    layers, head = flops.extend(text, B * G * S, T + S), flops.head(text, B * G * (S - 1))
    assert traced_flops(scored, *weights) == layers + head
    down = 3 * 2 * B * G * S * 384 * 128  # not recomputed: no gradient needs what it gives
    expected = (3 + remat) * layers + 4 * head - remat * down
    assert traced_flops(jax.grad(scored, argnums=(0, 1)), *weights) == expected


@pytest.mark.parametrize('fully', [(), (0,)])
def test_the_formula_of_the_vision_tower_is_what_the_compiler_counts(fully):
    spec = dataclasses.replace(
        VISION, hidden_size=64, num_heads=2, depth=1, intermediate_size=128, out_hidden_size=64
    )
    spec = dataclasses.replace(spec, fullatt_block_indexes=fully)
    tower = jax.eval_shape(lambda: VisionTower(nnx.Rngs(0), spec))
    shape = (B, 2, 64, 24)
    place = jnp.zeros((*shape[:3], 2), jnp.int32)
    counted = compiled_flops(
        lambda tower, patch: tower(patch, jnp.ones(shape[:3], bool), place),
        tower,
        jnp.ones(shape),
    )
    assert flops.vision(spec, shape) <= counted < 1.1 * flops.vision(spec, shape)


def test_the_formula_of_the_audio_tower_is_what_is_traced():
    tower, shape = jax.eval_shape(lambda: AudioTower(nnx.Rngs(0), AUDIO)), (B, 2, 4, 7)
    pair, length = jnp.zeros((B, 3, 2), jnp.int32), jnp.full((B, 2), 4)
    traced = traced_flops(lambda tower, sound: tower(sound, length, pair), tower, jnp.ones(shape))
    assert traced == flops.audio(AUDIO, shape, 3)


def test_decoding_reads_weights_prompt_keys_and_what_was_written():
    work = work_of(Spec(SMALL, None, None))
    weights = 3 * (42 + 8 + 2 * 2) + 2 * 11  # layers with biases (4 + 2 + 2) and norms, head
    token = 2 * 3 * 1 * 2  # key and value of a token in 3 layers
    numbers = 3 * (weights + 2 * 5 * token) + 2 * 3 * token * (1 + 2 + 3)
    decoder = tiny.shapes(work.spec).decoder
    assert flops.grow_bytes(work, decoder) == 4 * numbers


def test_copies_of_a_prompt_cost_one_more_reading_each():
    shared = work_of()
    one, many = flops.part_flops(shared), flops.part_flops(shared.copied())
    assert many['prefill'] == 3 * one['prefill']
    assert many['grow'] == one['grow'] and many['echo'] == one['echo']
    assert many['score'] - one['score'] == 2 * one['prefill']
