"""Published benchmarks: `BENCHMARKS[key].read(root)` gives clips and gold labels."""

from mer_jax.data.benchmarks.published import (
    EMOTION_IMAGES,
    IMAGE_CAUTIONS,
    IMAGES_OVERALL,
    MER_UNIBENCH,
    Row,
    published,
)
from mer_jax.data.benchmarks.sets import BENCHMARKS, Benchmark, Found
from mer_jax.data.benchmarks.splits import read_splits

__all__ = [
    'BENCHMARKS',
    'EMOTION_IMAGES',
    'IMAGES_OVERALL',
    'IMAGE_CAUTIONS',
    'MER_UNIBENCH',
    'Benchmark',
    'Found',
    'Row',
    'published',
    'read_splits',
]
