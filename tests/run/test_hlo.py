"""Reading the text of compiled programs."""

import jax
import jax.numpy as jnp
import pytest

from mer_jax.run.hlo import Shape, read_module

TEXT = """\
HloModule jit_f, is_scheduled=true

%body (p: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %p = (s32[], bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %x.1 = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%p), index=1
  %twice = bf16[8,128]{1,0} fusion(%x.1, /*index=1*/%x.1), kind=kLoop, calls=%fused
  ROOT %out = (s32[], bf16[8,128]{1,0}) tuple(%x.1, %twice)
}

%fused (a: bf16[8,128], b: bf16[8,128]) -> bf16[8,128] {
  %a = bf16[8,128]{1,0} parameter(0)
  %b = bf16[8,128]{1,0} parameter(1)
  ROOT %add.1 = bf16[8,128]{1,0} add(%a, %b), metadata={op_name="jit(f)/add"}
}

%cond (p: (s32[], bf16[8,128])) -> pred[] {
  %p = (s32[], bf16[8,128]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

%small (q: bf16[8,128]) -> bf16[8,128] {
  ROOT %q = bf16[8,128]{1,0} parameter(0)
}

%large (r: bf16[8,128]) -> bf16[8,128] {
  %r = bf16[8,128]{1,0} parameter(0)
  ROOT %minus = bf16[8,128]{1,0} negate(%r)
}

ENTRY %main (x: bf16[8,128]) -> bf16[8,128] {
  %x = bf16[8,128]{1,0} parameter(0)
  %start = (s32[], bf16[8,128]{1,0}) tuple(%x, %x)
  %known = (s32[], bf16[8,128]{1,0}) while(%start), condition=%cond, body=%body, \
metadata={op_name="jit(f)/while"}, backend_config={"known_trip_count":{"n":"5"}}
  %open = (s32[], bf16[8,128]{1,0}) while(%known), condition=%cond, body=%body
  %y = bf16[8,128]{1,0} get-tuple-element(%open), index=1
  ROOT %either = bf16[8,128]{1,0} conditional(%x, %y, %y), \
branch_computations={%small, %large}
}
"""


@pytest.fixture(scope='module')
def module():
    return read_module(TEXT)


def test_a_counter_in_the_condition_of_a_loop_tells_its_trips_too():
    condition = """\
  %bound = s32[] constant(9)
  %count = s32[] get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%count, %bound), direction=LT"""
    text = TEXT.replace('  ROOT %less = pred[] constant(true)', condition)
    times = [run.times for run in read_module(text).runs(7) if run.instruction.name == 'twice']
    assert times == [5, 9]


def test_the_trips_of_a_loop_are_counted_and_those_that_depend_on_data_taken_as_given(module):
    times = [run.times for run in module.runs(most=7) if run.instruction.name == 'twice']
    assert times == [5, 7]


def test_the_trips_of_loops_in_loops_multiply():
    def columns(x):
        return jax.lax.map(lambda row: jax.lax.map(jnp.sin, row), x)

    text = jax.jit(columns).lower(jax.ShapeDtypeStruct((3, 4), 'float32')).compile().as_text()
    runs = read_module(text).runs(most=1)
    (sine,) = [run for run in runs if run.instruction.kind == 'sine']
    assert sine.times == 12 and [trips for _, trips in sine.loops] == [3, 4]


def test_a_loop_is_named_by_its_operation(module):
    first = next(run for run in module.runs(most=7) if run.instruction.name == 'twice')
    assert first.loops == (('jit(f)/while', 5),)


def test_the_parts_of_a_fusion_run_with_it(module):
    parts = [run for run in module.runs(most=7) if run.instruction.name == 'add.1']
    assert [run.times for run in parts] == [5, 7] and all(run.fused for run in parts)
    assert parts[0].instruction.source == 'jit(f)/add'


def test_the_longest_branch_of_a_conditional_counts(module):
    names = [run.instruction.name for run in module.runs(most=1)]
    assert 'minus' in names and 'q' not in names


def test_operands_are_found_between_layouts_and_comments(module):
    run = next(run for run in module.runs(most=1) if run.instruction.name == 'twice')
    assert [operand.name for operand in module.operands(run)] == ['x.1', 'x.1']
    assert run.instruction.shapes == (Shape('bf16', (8, 128)),)


@pytest.mark.parametrize(
    ('dtype', 'size'),
    [('pred', 6), ('s8', 6), ('bf16', 12), ('f32', 24), ('s64', 48), ('f8e4m3fn', 6), ('u4', 3)],
)
def test_bytes_follow_from_the_dtype(dtype, size):
    assert Shape(dtype, (2, 3)).bytes == size


def test_a_token_has_no_bytes():
    assert Shape('token', ()).bytes == 0
