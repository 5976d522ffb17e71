"""Collectives of compiled programs: kinds, bytes, groups and loops, against numbers by hand."""

import jax
import pytest
from jax.sharding import PartitionSpec as P

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_collectives import Collective, bytes_by_kind, collectives_of, group_size
from mer_jax.sharding import make_mesh

LAYERS, ROWS, WIDTH = 5, 16, 64


def compiled_collectives(function, *specs_and_shapes):
    """The collectives of a function on 8 devices; arguments are (spec, shape) of float32 arrays."""
    mesh = make_mesh(1, 8, 1)
    arrays = [
        jax.ShapeDtypeStruct(shape, 'float32', sharding=jax.sharding.NamedSharding(mesh, spec))
        for spec, shape in specs_and_shapes
    ]
    module = read_module(jax.jit(function).lower(*arrays).compile().as_text())
    return collectives_of(module, module.runs(most=1), chips=8)


def test_weights_that_a_scan_gathers_count_at_every_layer():
    def layers(weight, x):
        return jax.lax.scan(lambda x, w: (jax.numpy.tanh(x @ w), None), x, weight)[0]

    (found,) = compiled_collectives(
        layers, (P(None, 'fsdp'), (LAYERS, WIDTH, WIDTH)), (P('fsdp'), (ROWS, WIDTH))
    )
    assert (found.kind, found.group, found.times) == ('all-gather', 8, LAYERS)
    assert found.bytes == 4 * WIDTH * WIDTH
    assert bytes_by_kind([found]) == {'all-gather': LAYERS * 4 * WIDTH * WIDTH}
    assert [trips for _, trips in found.loops] == [LAYERS]


def test_a_sum_over_all_rows_is_reduced_once():
    (found,) = compiled_collectives(lambda x: x.sum(0), (P('fsdp'), (ROWS, WIDTH)))
    assert (found.kind, found.all_bytes, found.loops) == ('all-reduce', 4 * WIDTH, ())


@pytest.mark.parametrize(
    ('kind', 'sent'), [('all-reduce', 1400), ('all-gather', 700), ('collective-permute', 800)]
)
def test_a_chip_sends_its_part_on_a_ring(kind, sent):
    one = Collective(kind, bytes=100, times=8, group=8, loops=(), source='', shape='')
    assert one.sent == sent


@pytest.mark.parametrize(
    ('groups', 'size'),
    [
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}, dimensions={0}", 4),
        ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}", 8),
        ('replica_groups=[2,4]<=[8]', 4),
        ('replica_groups={{0,1},{2,3},{4,5},{6,7}}', 2),
        ('replica_groups={}', 16),
    ],
)
def test_the_size_of_a_group_is_read_in_every_notation(groups, size):
    assert group_size(f'), channel_id=1, {groups}', chips=16) == size


STARTED = """\
%all-reduce-scatter.1 (g: f32[64]) -> f32[8] {
  %g = f32[64] parameter(0)
  %sum = f32[64] all-reduce(%g), replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %part = f32[8] dynamic-slice(%sum), dynamic_slice_sizes={8}
}

ENTRY %main (x: bf16[8], y: f32[64]) -> bf16[64] {
  %x = bf16[8] parameter(0)
  %y = f32[64] parameter(1)
  %scattered = f32[8] fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
  %begun = (bf16[8], bf16[64]) all-gather-start(%x), replica_groups=[1,8]<=[8], dimensions={0}
  ROOT %ended = bf16[64] all-gather-done(%begun)
}
"""


def test_a_collective_in_two_halves_counts_once_and_a_scattered_sum_by_its_name():
    module = read_module(STARTED)
    found = collectives_of(module, module.runs(most=1), chips=8)
    assert bytes_by_kind(found) == {'reduce-scatter': 256, 'all-gather': 128}


CHAINED = """\
%begin.1 (p: bf16[8]) -> bf16[64] {
  %p = bf16[8] parameter(0)
  ROOT %part = bf16[64] all-gather(%p), replica_groups=[1,8]<=[8], attributes={chain_id="3"}
}

%end.1 (q: bf16[8]) -> bf16[64] {
  %q = bf16[8] parameter(0)
  ROOT %rest = bf16[64] all-gather(%q), replica_groups=[1,8]<=[8], attributes={chain_id="3"}
}

%other.1 (r: bf16[8]) -> bf16[64] {
  %r = bf16[8] parameter(0)
  ROOT %more = bf16[64] all-gather(%r), replica_groups=[1,8]<=[8], attributes={chain_id="4"}
}

%body (s: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %s = (s32[], bf16[8]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = bf16[8] get-tuple-element(%s), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %last = bf16[64] fusion(%x), kind=kCustom, calls=%end.1
  ROOT %t = (s32[], bf16[8]) tuple(%next, %x)
}

%condition (u: (s32[], bf16[8])) -> pred[] {
  %u = (s32[], bf16[8]) parameter(0)
  %j = s32[] get-tuple-element(%u), index=0
  %bound = s32[] constant(5)
  ROOT %lt = pred[] compare(%j, %bound), direction=LT
}

ENTRY %main (x: bf16[8], start: (s32[], bf16[8])) -> bf16[64] {
  %x = bf16[8] parameter(0)
  %start = (s32[], bf16[8]) parameter(1)
  %first = bf16[64] fusion(%x), kind=kCustom, calls=%begin.1
  %loop = (s32[], bf16[8]) while(%start), condition=%condition, body=%body
  ROOT %second = bf16[64] fusion(%x), kind=kCustom, calls=%other.1
}
"""


def test_a_collective_that_is_spread_over_fusions_counts_once_also_if_a_loop_holds_one_of_them():
    module = read_module(CHAINED)
    found = collectives_of(module, module.runs(most=1), chips=8)
    assert [(one.kind, one.times) for one in found] == [('all-gather', 1), ('all-gather', 1)]
    assert bytes_by_kind(found) == {'all-gather': 2 * 128}
