"""In domain and out of domain: the set on which a checkpoint was trained, and the others."""

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.benchmark_sets import MANIFEST

UNKNOWN = 'unknown'
MEANS = ('accuracy_exact', 'accuracy', 'macro_f1', 'uar')  # figures that are averaged over sets


def trained_on(c, asked) -> str:
    """The key of the set on which a checkpoint was trained; 'unknown' if nothing tells it.

    That is config.trained_on or else the set in data.manifest of the checkpoint's run, which
    `asked` holds. ValueError for an unknown key.
    """
    if c.trained_on and c.trained_on not in (*BENCHMARKS, MANIFEST):
        raise ValueError(
            f'trained_on={c.trained_on!r}: must be the key of a set, one of '
            f'{", ".join(BENCHMARKS)}, {MANIFEST}; or empty to take it from the run'
        )
    key, separator, _ = asked.data.manifest.partition(':')
    return c.trained_on or (key if separator and key in BENCHMARKS else UNKNOWN)


def mark(key: str, trained: str) -> str:
    """The key of a set, marked as in or out of domain if the training is known."""
    if trained == UNKNOWN:
        return key
    return f'{key} (in)' if key == trained else f'{key} (out)'


def out_of_domain(sets: dict, trained: str) -> dict | None:
    """Means of figures over the scored sets out of domain, {'sets', 'fast', 'slow'}.

    Only figures that all these sets have; None if the training is unknown or nothing is averaged.
    """
    others = {key: scored for key, scored in sets.items() if key != trained and 'fast' in scored}
    if trained == UNKNOWN or not others:
        return None
    tables = others.values()
    names = [name for name in MEANS if all(name in scored['slow'] for scored in tables)]
    if not names or any(scored['task'] != 'accuracy' for scored in tables):
        return None
    return {'sets': list(others)} | {
        mode: {name: sum(scored[mode][name] for scored in tables) / len(others) for name in names}
        for mode in MODES
    }
