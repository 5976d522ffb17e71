"""Attention by Splash, the TPU kernel of JAX: prompt and branches of a group as one sequence.

A static mask says which slots each one sees: of the prompt those before it, of branches those of
its own up to itself. Blocks without any pair are left out; segment ids hide padding. On other
platforms the kernel is interpreted, which is slow and meant for tests.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import PartitionSpec

from mer_jax.group import Keys
from mer_jax.models.attention_blocks import best_block
from mer_jax.sharding import platform_in_use, rules_in_use, spec_by_name

BLOCKS = 512, 256, 128  # tokens
PAIRS = 'pairs_computed_'  # of slots by a kernel, as its name says


@dataclasses.dataclass(frozen=True)
class TreeMask(splash.Mask):
    """Which of `slots` slots each one from `first` on sees: t of the prompt, then branches of s.

    Slots behind the last branch are padding and count as further branches, so that every row sees
    at least itself.
    """

    t: int
    s: int
    first: int
    slots: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.slots - self.first, self.slots

    def pairs(self, rows: int, columns: int) -> int:
        """The pairs of slots in all blocks of rows · columns that hold a pair which is seen."""
        cuts = (
            [slice(i, i + size) for i in range(0, n, size)]
            for n, size in zip(self.shape, (rows, columns), strict=True)
        )
        return rows * columns * sum(self[cut].any() for cut in itertools.product(*cuts))

    def __getitem__(self, index) -> np.ndarray:
        rows, columns = (np.arange(n)[cut] for n, cut in zip(self.shape, index, strict=True))
        row, column = rows[:, None] + self.first, columns[None]
        same = (row - self.t) // self.s == (column - self.t) // self.s
        return (column <= row) & (same | (column < self.t))


def attend_before(query_btnh, key_btkh, value_btkh, mask_bt):
    """Causal attention f[b, t, n, h] over the valid tokens of prompts."""
    t = query_btnh.shape[1]
    keys = _padded(key_btkh), _padded(value_btkh)
    query, segment = _padded(query_btnh), _padded(mask_bt.astype(jnp.int32))
    slots = query.shape[1]
    tree = TreeMask(t=slots, s=1, first=0, slots=slots)
    return _attend(tree, query, *keys, segment, segment)[:, :t]


def attend_shared(query_bgsnh, prompt: Keys, mask_bt, key_bgskh, value_bgskh):
    """Attention f[b, g, s, n, h] of branches to [the prompt's keys | their own up to each token].

    `prompt` holds the keys of one layer, f[b, t, k, h].
    """
    b, g, s, n, h = query_bgsnh.shape
    t = mask_bt.shape[1]
    query = _padded(query_bgsnh.reshape(b, g * s, n, h))
    spare = _padded(mask_bt, axis=1).shape[1] - t
    key, value = (
        jnp.concatenate([_padded(shared), _padded(own.reshape(b, g * s, *own.shape[3:]))], 1)
        for shared, own in ((prompt.k, key_bgskh), (prompt.v, value_bgskh))
    )
    own = jnp.ones(query.shape[:2], jnp.int32)
    seen = jnp.concatenate([_padded(mask_bt.astype(jnp.int32)), own], 1)
    tree = TreeMask(t=t + spare, s=s, first=t + spare, slots=seen.shape[1])
    return _attend(tree, query, key, value, own, seen)[:, : g * s].reshape(b, g, s, n, h)


def _padded(x, axis: int = 1):
    """x padded with zeros to whole blocks along its tokens."""
    size = max(best_block(x.shape[axis], BLOCKS), min(BLOCKS))
    spare = -x.shape[axis] % size
    return jnp.pad(x, [(0, spare if i == axis else 0) for i in range(x.ndim)])


def _attend(tree: TreeMask, query_bqnh, key_bukh, value_bukh, segment_bq, segment_bu):
    """Attention f[b, q, n, h] under a mask; each device computes its rows and heads."""
    query = query_bqnh * query_bqnh.shape[-1] ** -0.5
    arrays = tuple(x.swapaxes(1, 2) for x in (query, key_bukh, value_bukh))
    run = functools.partial(_run_kernel, tree)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        by_head = spec_by_name(mesh, arrays[1].shape, ('batch', 'heads'), rules_in_use())
        by_row = PartitionSpec(by_head[0])
        specs = (by_head, by_head, by_head, by_row, by_row)
        run = jax.shard_map(run, in_specs=specs, out_specs=by_head, check_vma=False)
    return run(*arrays, segment_bq, segment_bu).swapaxes(1, 2)


def _run_kernel(tree: TreeMask, query_bnqh, key_bkuh, value_bkuh, segment_bq, segment_bu):
    """The kernel for the rows and heads of one device, f[b, n, q, h]."""
    q, u = (best_block(size, BLOCKS) for size in tree.shape)
    sizes = splash.BlockSizes(
        block_q=q,
        block_kv=u,
        block_q_dkv=q,
        block_kv_dkv=u,
        block_q_dq=q,
        block_kv_dq=u,
    )
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([tree] * query_bnqh.shape[1]),
        block_sizes=sizes,
        interpret=platform_in_use() != 'tpu',
    )
    segments = splash.SegmentIds(q=segment_bq, kv=segment_bu)
    with jax.named_scope(f'{PAIRS}{tree.pairs(q, u)}'):  # in the compiled program, for its FLOPs
        return jax.vmap(kernel)(query_bnqh, key_bkuh, value_bkuh, segments)
