"""Rules that the config of an evaluation must satisfy before a checkpoint is read."""

import jax

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.evaluation.defaults import mer_unibench
from mer_jax.evaluation.endpoint import LONGEST_WAIT
from mer_jax.run.config_rules import flat, shards_of
from mer_jax.run.config_values import (
    ABOVE_ZERO,
    AT_LEAST,
    AT_MOST,
    MOST_CLIPS,
    SHARES_OF_TOKENS,
    Bounds,
    check_names,
    check_values,
)

BOUNDS = Bounds(
    at_least=AT_LEAST | {'seed': -1, 'clips': 0, 'judge.price_read': 0, 'judge.price_written': 0},
    at_most=AT_MOST
    | {
        'seed': 2**32 - 1,
        'clips': MOST_CLIPS,
        'judge.seconds': LONGEST_WAIT,
        'judge.price_read': 1e6,
        'judge.price_written': 1e6,
    },
    above_zero=(*ABOVE_ZERO, 'judge.seconds'),
    shares=SHARES_OF_TOKENS,
)
LEVELS = (1, 2)  # of wheels


def check_evaluation(c) -> None:
    """Checks the keys of an evaluation; ValueError names key, value, rule and way out.

    Those of the checkpoint's own config are checked by `asked_config`.
    """
    values, defaults = flat(c), flat(mer_unibench())
    check_names(values, defaults.keys(), 'a config of an evaluation')
    for key, value in defaults.items():
        if key not in values:
            raise ValueError(
                f'{key}: is missing in the config; put it back, e.g. {value!r}, or start from '
                'configs/eval_mer_unibench.py'
            )
    check_values(values, defaults, BOUNDS)
    if c.level not in LEVELS:
        raise ValueError(f'level={c.level}: must be 1 or 2, the levels of the wheels')
    if not c.wheels or not all(c.wheels):
        raise ValueError(f"wheels={c.wheels}: must name wheels, e.g. ('builtin',)")
    shards_of(c.mesh, jax.device_count())
    for key in c.benchmarks:
        if key not in BENCHMARKS:
            raise ValueError(
                f'benchmarks={key!r}: is not known; the keys are {", ".join(BENCHMARKS)}, and () '
                'for a manifest alone'
            )
