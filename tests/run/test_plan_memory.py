"""Memory of compiled and of refused programs."""

import jax
import numpy as np

from mer_jax.run.plan_memory import bytes_of, memory_of, memory_of_refused
from mer_jax.sharding import make_mesh, named

REFUSED = (
    'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. '
    'Used 31.48G of 15.75G hbm. Exceeded hbm capacity by 15.73G.'
)

REFUSED_TEMPORARIES = (
    'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory '
    'required for HLO temporaries (39.62G) exceeds available HBM (15.75G). HLO module: jit_f.'
)


def spread(*shape):
    """An abstract float32 array whose rows lie on eight devices."""
    sharding = named(make_mesh(1, 8, 1), 'batch')
    return jax.ShapeDtypeStruct(shape, 'float32', sharding=sharding)


def test_a_chip_holds_its_share_of_the_arguments():
    whole = jax.ShapeDtypeStruct((3,), 'int32')
    arrays = {'rows': spread(16, 5), 'numbers': whole, 'seed': np.uint32(7)}
    assert bytes_of(arrays) == 2 * 5 * 4 + 12 + 4


def test_a_compiled_program_says_its_memory():
    compiled = jax.jit(lambda x: x + 1, donate_argnums=0).lower(spread(16, 5)).compile()
    memory = memory_of(compiled, beside=1000)
    assert (memory.arguments, memory.outputs, memory.aliased) == (40, 40, 40)
    assert memory.peak >= 1040 and memory.beside == 1000


def test_a_refused_program_says_what_it_would_use():
    memory = memory_of_refused(RuntimeError(REFUSED), spread(16, 5), beside=1000)
    assert memory.peak == int(31.48 * 2**30) + 1000
    assert (memory.arguments, memory.temporaries) == (40, None)


def test_a_program_that_is_refused_for_its_temporaries_needs_its_arguments_too():
    memory = memory_of_refused(RuntimeError(REFUSED_TEMPORARIES), spread(16, 5), beside=1000)
    assert memory.temporaries == int(39.62 * 2**30)
    assert memory.peak == memory.temporaries + 40 + 1000


def test_another_error_of_the_compiler_is_no_refusal():
    assert memory_of_refused(RuntimeError('INTERNAL: a bug'), (), beside=0) is None
