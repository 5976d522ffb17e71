"""All kinds of attention against whole scores: values, gradients, and which kind is taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced_collectives import collectives

from mer_jax.group import Keys
from mer_jax.models import attention, attention_blocks
from mer_jax.models.attention import attend_branches, attend_prompts, attend_within, chosen_kind
from mer_jax.models.attention_plain import attend_shared, by_head, by_head_of_branches
from mer_jax.models.attention_splash import PAIRS, TreeMask
from mer_jax.sharding import make_mesh, named, to_devices

SMALL_BLOCKS = {'KEY_BLOCKS': (8, 4), 'QUERY_BLOCKS': (6, 4)}
KINDS = ['blocks', 'splash', 'fused']
KINDS_ON_A_MESH = ['blocks', pytest.param('splash', marks=pytest.mark.slow), 'fused']
B, N, K, H = 2, 6, 2, 8


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few tokens, so that short rows have several."""
    for name, sizes in SMALL_BLOCKS.items():
        monkeypatch.setattr(attention_blocks, name, sizes)


def random(seed: int, *shape):
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def padded(b: int, t: int):
    """Prompts of t slots: one whole, one padded left, one right, then one without any token."""
    slot = np.arange(t)
    rows = [slot >= 0, slot >= t // 3, slot < t - t // 4, slot < 0]
    return np.stack([rows[i % 4] for i in range(b)])


def over_prompts(kind: str, t: int, b: int = 4):
    """A function of (queries, keys, values) of prompts, its arguments, and the rows that count."""
    shapes = (b, t, N, H), (b, t, K, H), (b, t, K, H)
    mask = padded(b, t)
    return (
        lambda *qkv: attend_prompts(kind, *qkv, mask),
        [random(i, *shape) for i, shape in enumerate(shapes)],
        mask[..., None, None],
    )


def over_branches(kind: str, t: int, g: int, s: int, b: int = 4):
    """The same of branches; of a prompt without tokens they see themselves alone."""
    own, shared = (b, g, s, K, H), (b, t, K, H)
    mask = padded(b, t)

    def attend(query, key, value, own_key, own_value):
        return attend_branches(kind, query, Keys(k=key, v=value), mask, own_key, own_value)

    shapes = (b, g, s, N, H), shared, shared, own, own
    return attend, [random(i, *shape) for i, shape in enumerate(shapes)], np.ones((b, 1, 1, 1, 1))


def value_and_gradients(attend, arguments, counts):
    """Attention, and the gradients of a weighed sum of the rows that count."""

    def weighed(*arguments):
        mixed = attend(*arguments)
        return (jnp.where(counts, mixed, 0) * random(9, *mixed.shape)).sum(), mixed

    grad = jax.value_and_grad(weighed, range(len(arguments)), has_aux=True)
    (_, mixed), gradients = jax.jit(grad)(*arguments)
    return [jnp.where(counts, mixed, 0), *gradients], mixed


@functools.cache
def plain(of, *sizes):
    """Values and gradients of whole scores, computed once for all kinds."""
    return value_and_gradients(*of('plain', *sizes))[0]


def assert_equal_to_plain(kind: str, of, *sizes):
    """Checks values and gradients of a kind, and that all are finite."""
    found, mixed = value_and_gradients(*of(kind, *sizes))
    wanted = plain(of, *sizes)
    assert all(np.isfinite(x).all() for x in (*found, mixed))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('t', [5, 8, 23])
def test_attention_of_prompts_equals_whole_scores(kind, t):
    assert_equal_to_plain(kind, over_prompts, t)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('t', 'g', 's'), [(8, 3, 12), (13, 1, 9), (3, 2, 17)])
def test_attention_of_branches_equals_whole_scores(kind, t, g, s):
    assert_equal_to_plain(kind, over_branches, t, g, s)


@pytest.mark.parametrize('kind', KINDS)
def test_attention_equals_whole_scores_in_the_blocks_of_a_run(kind):
    assert_equal_to_plain(kind, over_prompts, 300, 2)
    assert_equal_to_plain(kind, over_branches, 150, 2, 140, 2)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('rows', [(3,), (2, 3)])
def test_attention_within_frames_equals_whole_scores(rows):
    mask = np.resize(padded(4, 40)[:3], (*rows, 40))
    # A frame without a valid patch gives a mean under one kind, zeros under the other.
    seen = np.repeat(mask.reshape(*rows, 4, 10).any(-1), 10, -1)
    assert seen.sum() < mask.size

    def of(kind):
        def attend(*qkv):
            return attend_within(kind, *qkv, mask, block=10)

        return attend, [random(i, *mask.shape, N, H) for i in range(3)], seen[..., None, None]

    assert_equal_to_plain('blocks', of)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('kind', KINDS_ON_A_MESH)
@pytest.mark.parametrize('of', [over_prompts, functools.partial(over_branches, g=2, s=9)])
def test_attention_on_a_mesh_and_recomputed_equals_that_on_one_device(kind, of):
    mesh = make_mesh(2, 2, 2)
    attend, arguments, counts = of(kind, t=10)
    alone, _ = value_and_gradients(attend, arguments, counts)
    with jax.set_mesh(mesh):
        found, _ = value_and_gradients(jax.checkpoint(attend), to_devices(mesh, arguments), counts)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(jax.device_get(one), other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('kind', KINDS_ON_A_MESH)
def test_prompts_that_do_not_divide_over_devices_are_computed_by_all(kind):
    attend, arguments, counts = over_branches(kind, 5, 1, 6, b=3)
    alone, _ = value_and_gradients(attend, arguments, counts)
    with jax.set_mesh(make_mesh(2, 1, 4)):  # nor do the two key heads
        found, _ = value_and_gradients(attend, arguments, counts)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(jax.device_get(one), other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('kind', KINDS_ON_A_MESH)
@pytest.mark.parametrize('of', [over_prompts, functools.partial(over_branches, g=2, s=9)])
def test_nothing_travels_between_devices_that_have_prompts_of_their_own(kind, of):
    mesh = make_mesh(1, 8, 1)
    attend, arguments, _ = of(kind, t=10, b=8)

    def both(slope, *arguments):
        mixed, back = jax.vjp(attend, *arguments)
        return mixed, back(slope)

    given = [arguments[0], *arguments]  # the slope has the shape of the queries
    given = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=named(mesh, 'batch')) for x in given]
    with jax.set_mesh(mesh):
        text = jax.jit(both).lower(*given).compile().as_text()
    assert not collectives(text)


@pytest.mark.usefixtures('small_blocks')
def test_blocks_that_causality_removes_are_not_computed():
    attend, arguments, _ = over_prompts('blocks', 48)
    text = str(jax.make_jaxpr(attend)(*arguments))
    # 8 blocks of 6 queries, 6 of 8 keys: pairs up to the diagonal of 48.
    assert 'length=30' in text and 'length=48' not in text


@pytest.mark.parametrize('kind', ['plain', 'blocks', 'splash'])
def test_decoding_rounds_the_weights_of_values_where_scoring_does(kind):
    exact = attention.decodes_exactly(kind, jnp.ones((B, 300), bool), g=4, s=100, n=N)
    query, prompt_key, prompt_value, key, value = (
        jnp.asarray(x, jnp.bfloat16) for x in over_branches('plain', 30, 2, 1, B)[1]
    )
    shared = by_head(Keys(k=prompt_key, v=prompt_value))
    own = by_head_of_branches(key, value)
    arrays = query, shared, jnp.ones((B, 30), bool), own, np.ones((1, 1), bool)
    found = attend_shared(*arrays, exact).astype(jnp.float32)
    wide = [jax.tree.map(lambda x: x.astype(jnp.float32), x) for x in arrays[:4]]
    wide[0] = (query * H**-0.5).astype(jnp.float32) * H**0.5  # queries are scaled in bfloat16
    wanted = attend_shared(wide[0], *wide[1:4], arrays[4])
    rounded_once = np.abs(found - wanted) <= np.abs(wanted) * 2**-8
    assert rounded_once.all() == (kind == 'splash')


def test_the_program_of_the_kernel_says_how_many_pairs_it_computes():
    whole = TreeMask(t=512, s=256, first=0, slots=1024)
    branches = TreeMask(t=512, s=256, first=512, slots=1024)
    # Of the prompt 4 blocks by 4, 10 below the diagonal; a branch has 8 with it and 3 of its own.
    assert whole.pairs(128, 128) == (10 + 2 * (8 + 3)) * 128**2
    assert branches.pairs(128, 128) == 2 * (8 + 3) * 128**2
    assert branches.pairs(256, 512) == (2 + 2) * 256 * 512
    attend, arguments, _ = over_branches('splash', 8, 2, 16)
    assert f'{PAIRS}{128 * 256}' in jax.jit(attend).lower(*arguments).as_text(debug_info=True)


def test_small_scores_are_whole_and_large_ones_are_not():
    most = attention.LARGEST_SCORES
    pairs = most // 4 // 16
    assert chosen_kind('auto', 4, 4, pairs) == 'plain'
    assert chosen_kind('auto', 4, 4, pairs + 1) == 'blocks'
    assert chosen_kind('plain', 4, 4, pairs + 1) == 'plain'
    assert chosen_kind('blocks', 4, 4, 1) == 'blocks'
    with jax.set_mesh(make_mesh(2, 2, 2)):
        assert chosen_kind('auto', 4, 4, 8 * pairs) == 'plain'
        assert chosen_kind('auto', 4, 4, 8 * pairs + 1) == 'blocks'
        assert chosen_kind('auto', 3, 3, most // 4 // 9 + 1) == 'blocks'  # neither is split


def test_large_scores_take_the_kernel_of_a_tpu(monkeypatch):
    monkeypatch.setattr(attention, 'platform_in_use', lambda: 'tpu')
    assert chosen_kind('auto', 1, 1, attention.LARGEST_SCORES // 4) == 'plain'
    assert chosen_kind('auto', 1, 1, attention.LARGEST_SCORES // 4 + 1) == 'splash'


def test_on_a_gpu_scores_may_be_larger_before_they_are_cut_into_blocks(monkeypatch):
    monkeypatch.setattr(attention, 'platform_in_use', lambda: 'gpu')
    assert chosen_kind('auto', 1, 1, attention.LARGEST_SCORES_ON_GPU // 4) == 'plain'
    assert chosen_kind('auto', 1, 1, attention.LARGEST_SCORES_ON_GPU // 4 + 1) == 'blocks'


def test_scores_of_one_decoded_token_are_small():
    b, g, n, t, s = 32, 16, 28, 4096, 1024  # of the largest rollout on one device
    assert 4 * b * g * n * (t + s) <= 2 * attention.LARGEST_SCORES
