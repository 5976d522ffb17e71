"""Reads files that atheris mutates towards lines of the readers that no file has reached yet.

    pip install atheris
    python tests/fuzz/guided.py KIND [--seconds N] [--runs N]

KIND is one of tests/fuzz/seeds.py, whose small files are the first corpus. Ends with status 1, a
traceback and the file `crash-…` in the current folder at the first error that is no refusal by
name, after 10 seconds for a file, and above 2 GB.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import atheris  # noqa: E402, after the path is set

with atheris.instrument_imports(include=['mer_jax.data', 'mer_jax.evaluation', 'mer_jax.models']):
    import mer_jax.data.answer_text
    import mer_jax.data.clips
    import mer_jax.data.media.look
    import mer_jax.data.media.sound
    import mer_jax.data.media.video
    import mer_jax.evaluation.label_files
    import mer_jax.evaluation.scoring
    import mer_jax.evaluation.valence
    import mer_jax.models.checkpoint.safetensors
    import mer_jax.models.spec  # noqa: F401, the readers import these

from fuzz.readers import outcome_of  # noqa: E402
from fuzz.seeds import KINDS, make_seeds  # noqa: E402

LIMITS = ('-timeout=10', '-rss_limit_mb=2048', '-max_len=65536', '-print_final_stats=1')


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('kind', choices=KINDS)
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--runs', type=int, default=-1, help='at most so many files')
    asked = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    home = pathlib.Path(tempfile.mkdtemp(prefix='guided_'))
    seeds, beside = make_seeds(asked.kind)
    (home / 'corpus').mkdir()
    for number, seed in enumerate(seeds):
        (home / 'corpus' / f'{number}_{seed.name}').write_bytes(seed.data())
    for name, data in beside.items():
        (home / name).write_bytes(data)
    path = home / seeds[0].name

    def read(data: bytes) -> None:
        path.write_bytes(data)
        outcome = outcome_of(asked.kind, path)
        if outcome not in ('read', 'refused'):
            raise RuntimeError(f'{asked.kind}: {outcome}')

    budget = f'-max_total_time={asked.seconds}', f'-runs={asked.runs}'
    atheris.Setup([sys.argv[0], *LIMITS, *budget, str(home / 'corpus')], read)
    atheris.Fuzz()


if __name__ == '__main__':
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    main()
