"""FLOPs, memory traffic and seconds of compiled programs, against numbers by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_cost import cost_of
from mer_jax.run.topology import Chip
from mer_jax.sharding import make_mesh

LAYERS, ROWS, WIDTH, TOKENS = 5, 16, 64, 11


def cost(text: str, most: int = 1, chips: int = 1):
    """The Cost of a text of HLO."""
    module = read_module(text)
    return cost_of(module, module.runs(most), chips)


def layers(weight, x):
    """Five layers, then a loop that ends by its data."""
    x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weight)

    def unfinished(state):
        return (state[0] < TOKENS) & (state[1].sum() < 1e9)

    def step(state):
        return state[0] + 1, state[1] @ weight[0]

    return jax.lax.while_loop(unfinished, step, (0, x))[1]


@pytest.fixture(scope='module')
def layered():
    """The Cost of `layers` on 8 devices, with weights and rows spread over them."""
    mesh = make_mesh(1, 8, 1)

    def array(spec, *shape):
        sharding = jax.sharding.NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(shape, 'float32', sharding=sharding)

    weight = array(P(None, 'fsdp'), LAYERS, WIDTH, WIDTH)
    compiled = jax.jit(layers).lower(weight, array(P('fsdp'), ROWS, WIDTH)).compile()
    return cost(compiled.as_text(), most=TOKENS, chips=8)


def test_flops_count_every_trip_of_scans_and_loops(layered):
    assert layered.flops == (LAYERS + TOKENS) * 2 * (ROWS // 8) * WIDTH * WIDTH


def test_a_scan_reads_each_layer_once_and_not_the_whole_stack_at_each_trip(layered):
    whole = 4 * LAYERS * WIDTH * WIDTH  # of which a trip would read all, if slices were not seen
    assert layered.traffic < (LAYERS + TOKENS) * whole


def test_seconds_are_work_over_the_rates_of_a_chip(layered):
    seconds = layered.seconds(Chip(hbm=1, flops=1e6, memory=1e3, links=1e4))
    assert seconds['compute'] == layered.flops / 1e6
    assert seconds['memory'] == layered.traffic / 1e3
    assert seconds['links'] == pytest.approx(sum(x.sent for x in layered.collectives) / 1e4)


CONVOLUTION = """\
ENTRY %main (x: {left}, w: {right}) -> {out} {{
  %x = {left} parameter(0)
  %w = {right} parameter(1)
  ROOT %y = {out} convolution(%x, %w), {attributes}
}}
"""


@pytest.mark.parametrize(
    ('left', 'right', 'out', 'attributes', 'flops'),
    [
        # A matrix product as a TPU writes it: (4, 8) times (8, 16).
        ('bf16[4,8]', 'bf16[8,16]', 'f32[4,16]', 'dim_labels=bf_io->bf', 2 * 4 * 8 * 16),
        # A batch of 3 products: a window over a kernel that is as long as the image, so that each
        # place of the output meets one place of it.
        (
            'bf16[3,4,8]',
            'bf16[3,8,16]',
            'f32[3,4,16]',
            'window={size=3 stride=2 pad=2_2 lhs_dilate=3 rhs_reversal=1}, dim_labels=0bf_0io->0bf',
            2 * 3 * 4 * 8 * 16,
        ),
        # A convolution over 6 places with a kernel of 3, without and with padding.
        (
            'f32[1,6,2]',
            'f32[3,2,5]',
            'f32[1,4,5]',
            'window={size=3}, dim_labels=b0f_0io->b0f',
            2 * 4 * 3 * 2 * 5,
        ),
        (
            'f32[1,6,2]',
            'f32[3,2,5]',
            'f32[1,6,5]',
            'window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f',
            2 * (6 * 3 - 2) * 2 * 5,
        ),
    ],
)
def test_flops_of_convolutions(left, right, out, attributes, flops):
    text = CONVOLUTION.format(left=left, right=right, out=out, attributes=attributes)
    assert cost(text).flops == flops


UPDATE = """\
%fused (stack: f32[10,100], layer: f32[100], i: s32[]) -> f32[10,100] {
  %stack = f32[10,100] parameter(0)
  %layer = f32[100] parameter(1)
  %i = s32[] parameter(2)
  %row = f32[1,100] bitcast(%layer)
  ROOT %new = f32[10,100] dynamic-update-slice(%stack, %row, %i, %i)
}

ENTRY %main (stack: f32[10,100], layer: f32[100], i: s32[]) -> f32[10,100] {
  %stack = f32[10,100] parameter(0)
  %layer = f32[100] parameter(1)
  %i = s32[] parameter(2)
  ROOT %y = f32[10,100] fusion(%stack, %layer, %i), kind=kLoop, calls=%fused
}
"""


def test_an_update_in_place_moves_the_new_slice_alone():
    read, written, index = 400, 400, 4
    assert cost(UPDATE).traffic == read + written + index


SLICED = """\
%take (q: f32[10,100], j: s32[]) -> f32[100] {
  %q = f32[10,100] parameter(0)
  %j = s32[] parameter(1)
  %cut = f32[1,100] dynamic-slice(%q, %j, %j), dynamic_slice_sizes={1,100}
  ROOT %row = f32[100] bitcast(%cut)
}

%fused (stack: f32[10,100], i: s32[]) -> f32[100] {
  %stack = f32[10,100] parameter(0)
  %i = s32[] parameter(1)
  %layer = f32[100] fusion(%stack, %i), kind=kLoop, calls=%take
  ROOT %twice = f32[100] add(%layer, %layer)
}

ENTRY %main (stack: f32[10,100], i: s32[]) -> f32[100] {
  %stack = f32[10,100] parameter(0)
  %i = s32[] parameter(1)
  ROOT %y = f32[100] fusion(%stack, %i), kind=kLoop, calls=%fused
}
"""


def test_a_slice_in_a_fusion_inside_a_fusion_reads_the_slice_alone():
    read, written, index = 400, 400, 4
    assert cost(SLICED).traffic == read + written + index
