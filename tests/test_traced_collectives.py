"""Collectives read from the text of compiled programs: kinds, bytes, loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced_collectives import bytes_by_kind, collectives

from mer_jax.sharding import make_mesh, named

# Layers in a loop over tokens, of which only the run knows the number; a gather before it.
TEXT = """HloModule jit_f

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%layer.1 (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %all-reduce.1 = bf16[4,8]{1,0} all-reduce(%x), channel_id=1, to_apply=%sum
  %moved = (f32[2,3]{1,0}, f32[2,3]{1,0}) all-to-all(%y, %z), channel_id=2
}

%cond (p: (s32[], bf16[4,8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%token (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %while.1 = (s32[], bf16[4,8]) while(%t), condition=%cond, body=%layer.1, \
backend_config={"known_trip_count":{"n":"28"}}
}

ENTRY %main.2 (x: bf16[4,8]) -> bf16[4,8] {
  %all-gather-start.1 = (f32[2,5]{1,0}, f32[16,5]{1,0}) all-gather-start(%w), \
metadata={op_name="jit(f)/dot_general"}
  %all-gather-done.1 = f32[16,5]{1,0} all-gather-done(%all-gather-start.1)
  ROOT %while.2 = (s32[], bf16[4,8]) while(%t), condition=%cond, body=%token
}
"""


def test_collectives_have_their_bytes_and_the_loops_around_them():
    found = {one.kind: one for one in collectives(TEXT, trips=10)}
    assert found.keys() == {'all-reduce', 'all-to-all', 'all-gather'}
    reduced, moved, gathered = (found[k] for k in ('all-reduce', 'all-to-all', 'all-gather'))
    assert (reduced.size, reduced.times, reduced.loops, reduced.endless) == (64, 280, 2, True)
    assert moved.size == 48 and moved.arrays == (('f32', (2, 3)),) * 2
    assert (gathered.size, gathered.times, gathered.loops) == (320, 1, 0)
    assert not gathered.endless and gathered.place == 'jit(f)/dot_general'


def test_bytes_are_summed_by_kind_over_all_runs_of_a_loop():
    assert bytes_by_kind(collectives(TEXT, trips=10)) == {
        'all-reduce': 64 * 280,
        'all-to-all': 48 * 280,
        'all-gather': 320,
    }
    assert bytes_by_kind(collectives(TEXT))['all-reduce'] == 64 * 28


@pytest.mark.parametrize('count', [1, 5])
def test_a_compiled_program_counts_the_trips_of_its_scans(count):
    mesh = make_mesh(1, 8, 1)
    x = jax.device_put(np.ones((16, 24), np.float32), named(mesh, None, 'embed'))

    def step(x, _):
        return jnp.sin(x * x.sum(1, keepdims=True)), None

    program = jax.jit(lambda x: jax.lax.scan(step, x, length=count)[0]).lower(x).compile()
    assert bytes_by_kind(collectives(program.as_text())) == {'all-reduce': 16 * 4 * count}
