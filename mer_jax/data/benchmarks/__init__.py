"""Published benchmarks: `BENCHMARKS[key].read(root)` gives clips and gold labels."""

from mer_jax.data.benchmarks.published import MER_UNIBENCH, Row, published
from mer_jax.data.benchmarks.sets import BENCHMARKS, Benchmark, Found

__all__ = ['BENCHMARKS', 'MER_UNIBENCH', 'Benchmark', 'Found', 'Row', 'published']
