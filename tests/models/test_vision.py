"""The vision tower against `transformers`, and the patches that each feature depends on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mer_jax.models.checkpoint.load import fill, names
from mer_jax.models.spec import VisionSpec
from mer_jax.models.vision import VisionTower, window_patches

OMNI = VisionSpec(
    hidden_size=32,
    depth=4,
    num_heads=2,
    intermediate_size=20,
    out_hidden_size=24,
    patch_size=4,
    window_size=16,
    fullatt_block_indexes=(1, 3),
)
VL = VisionSpec(
    hidden_size=48,
    depth=3,
    num_heads=4,
    intermediate_size=30,
    out_hidden_size=20,
    patch_size=2,
    temporal_patch_size=1,
    window_size=12,
    fullatt_block_indexes=(2,),
    rope_theta=50.0,
    fused_qkv=True,
)
CLIPS = [
    [(1, 4, 4)],
    [(1, 12, 10), (1, 2, 6)],
    [(3, 6, 8)],
    [(1, 8, 14), (2, 10, 4), (1, 6, 6)],
]


def patch_values(spec):
    return spec.in_channels * spec.temporal_patch_size * spec.patch_size**2


def raw_patches(spec, grids, seed):
    """Patches f[n, x] of a clip in Qwen's order: frame, cell (raster), patch of the cell."""
    count = sum(t * h * w for t, h, w in grids)
    return np.random.default_rng(seed).normal(size=(count, patch_values(spec))).astype(np.float32)


def arranged(spec, grids, patches, frames, windows, padding=0.0):
    """A clip as (patch, mask, row_col), each [z, p, …], and the feature row of each cell."""
    side, whole = spec.window_size // spec.patch_size // 2, window_patches(spec)
    patch = np.full((frames, windows, whole, patches.shape[1]), padding, np.float32)
    mask = np.zeros(patch.shape[:3], bool)
    row_col = np.zeros((*patch.shape[:3], 2), np.int32)
    rows, taken, frame = [], 0, -1
    for t, h, w in grids:
        for number in range(t * h * w // 4):
            row, column = divmod(number % (h * w // 4), w // 2)
            frame += row == column == 0
            window = row // side * -(-w // 2 // side) + column // side
            start = int(mask[frame, window].sum())
            place = frame, window, slice(start, start + 4)
            patch[place], mask[place] = patches[taken : taken + 4], True
            row_col[place] = [[2 * row + r, 2 * column + c] for r in (0, 1) for c in (0, 1)]
            rows.append(((frame * windows + window) * whole + start) // 4)
            taken += 4
    flat = [array.reshape(frames, windows * whole, -1) for array in (patch, mask, row_col)]
    return flat[0], flat[1][..., 0], flat[2], np.array(rows)


def batch(spec, clips, frames, windows, padding=0.0):
    """Clips as the arguments of the tower, and the feature rows of each."""
    parts = [
        arranged(spec, grids, raw_patches(spec, grids, seed), frames, windows, padding)
        for seed, grids in enumerate(clips)
    ]
    *arguments, rows = zip(*parts, strict=True)
    return [np.stack(argument) for argument in arguments], rows


@jax.jit(static_argnames='remat')
def features(tower, patch, mask, row_col, remat=False):
    with jax.default_matmul_precision('highest'):
        return tower(patch, mask, row_col, remat)


def empty(spec):
    return jax.eval_shape(lambda: VisionTower(nnx.Rngs(0), spec))


def own(spec):
    """A tower with every weight random, biases and norms included."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(scale=0.2, size=leaf.shape).astype(np.float32), empty(spec)
    )


def reference(spec):
    """The tower of `transformers` with every weight random, biases and norms included."""
    torch = pytest.importorskip('torch')
    sizes = dataclasses.asdict(spec)
    if sizes.pop('fused_qkv'):
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

        kind = modeling.Qwen2_5_VisionTransformerPretrainedModel
    else:
        from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling

        kind = modeling.Qwen2_5OmniVisionEncoder
    config = kind.config_class(**sizes, attn_implementation='eager')
    torch.manual_seed(0)
    tower = kind(config).eval().requires_grad_(False)
    for parameter in tower.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5)
    return tower


@pytest.mark.parametrize('spec', [OMNI, VL], ids=['omni', 'vl'])
def test_features_are_those_of_transformers(spec):
    torch = pytest.importorskip('torch')
    tower = reference(spec)
    stored = {name: value.numpy() for name, value in tower.state_dict().items()}
    assert sorted(names(empty(spec))) == sorted(stored)
    filled = fill(empty(spec), stored.__getitem__)
    arguments, rows = batch(spec, CLIPS, frames=4, windows=9, padding=3.0)
    found = features(filled, *arguments)
    for seed, grids in enumerate(CLIPS):
        patches = torch.from_numpy(raw_patches(spec, grids, seed))
        wanted = tower(patches, grid_thw=torch.tensor(grids)).pooler_output.numpy()
        assert wanted.std() > 0.3
        np.testing.assert_allclose(found[seed][rows[seed]], wanted, atol=1e-5, rtol=1e-5)


def test_more_padding_changes_no_feature():
    tower = own(OMNI)
    few, few_rows = batch(OMNI, CLIPS[1:3], frames=3, windows=9)
    many, many_rows = batch(OMNI, CLIPS[1:3], frames=5, windows=11, padding=7.0)
    few, many = features(tower, *few), features(tower, *many)
    assert np.isfinite(many).all()
    for clip in range(2):
        np.testing.assert_allclose(
            few[clip][few_rows[clip]], many[clip][many_rows[clip]], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize('full', [(), (1,)], ids=['windows', 'frames'])
def test_a_feature_depends_on_its_window_or_frame_alone(full):
    spec = dataclasses.replace(OMNI, depth=2, fullatt_block_indexes=full)
    (patch, mask, row_col), rows = batch(spec, CLIPS[1:3], frames=4, windows=9)
    tower = own(spec)
    gradient = jax.grad(lambda patch: tower(patch, mask, row_col)[0, rows[0][0]].sum())
    touched = np.abs(jax.jit(gradient)(patch)).max(-1) > 0
    reach = window_patches(spec) if not full else patch.shape[2]
    wanted = np.zeros_like(touched)
    wanted[0, 0, :reach] = mask[0, 0, :reach]
    np.testing.assert_array_equal(touched, wanted)


@pytest.mark.slow
def test_recomputed_blocks_give_the_same_gradients():
    tower = own(OMNI)
    arguments, _ = batch(OMNI, CLIPS[:2], frames=2, windows=9)

    def gradient(remat):
        return jax.jit(jax.grad(lambda tower: tower(*arguments, remat).sum()))(tower)

    plain, recomputed = gradient(False), gradient(True)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, recomputed
    )


def test_features_have_the_dtype_of_the_patches():
    (patch, mask, row_col), rows = batch(OMNI, CLIPS[:1], frames=1, windows=4)
    tower = own(OMNI)
    exact = features(tower, patch, mask, row_col)[0][rows[0]]
    found = features(tower, patch.astype(jnp.bfloat16), mask, row_col)[0][rows[0]]
    assert found.dtype == jnp.bfloat16
    assert np.abs(found.astype(np.float32) - exact).max() < 0.05 * np.abs(exact).max()


def test_every_weight_is_a_leaf():
    assert len(jax.tree.leaves(empty(OMNI))) == 22
    assert len(jax.tree.leaves(empty(VL))) == 18


def test_a_frame_of_broken_windows_is_refused():
    (patch, mask, row_col), _ = batch(OMNI, CLIPS[:1], frames=1, windows=4)
    with pytest.raises(ValueError, match=r'frame = 60 must be a multiple of the 16'):
        features(own(OMNI), patch[:, :, :60], mask[:, :, :60], row_col[:, :, :60])
