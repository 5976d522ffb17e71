"""The largest arrays of compiled programs."""

import jax
import jax.numpy as jnp

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_buffers import largest_buffers


def test_the_largest_array_is_named_with_its_line():
    def outer_sum(x):
        return jnp.sort(x[:, None] * x).sum()

    text = jax.jit(outer_sum).lower(jax.ShapeDtypeStruct((500,), 'float32')).compile().as_text()
    module = read_module(text)
    largest = largest_buffers(module, module.runs(most=1))[0]
    assert (largest.bytes, largest.shape) == (500 * 500 * 4, 'f32[500,500]')
    line = outer_sum.__code__.co_firstlineno + 1
    assert largest.line == f'tests/run/test_plan_buffers.py:{line}'


def test_where_the_line_is_not_known_the_operation_is_named():
    text = """\
ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  ROOT %y = f32[8] negate(%x), metadata={op_name="jit(f)/neg"}
}
"""
    module = read_module(text)
    (only,) = largest_buffers(module, module.runs(most=1))
    assert (only.bytes, only.line) == (32, 'jit(f)/neg')
