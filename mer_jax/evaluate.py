r"""Answers benchmarks with one checkpoint and scores them.

    python -m mer_jax.evaluate --config configs/eval_mer_unibench.py \
        --config.model.checkpoint=DIR --config.data.root=DIR --workdir evaluations/first
    python -m mer_jax.evaluate --config configs/eval_emotion_images.py --print_config

The second prints the keys with their values, meanings and units. --config.KEY=VALUE changes a key.
Interrupted, the same command resumes.
"""

import functools
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from mer_jax.data.media.container import MediaError
from mer_jax.errors import quiet_pipes
from mer_jax.evaluation import defaults
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.benchmark import run
from mer_jax.evaluation.config_rules import check_evaluation
from mer_jax.evaluation.tables import as_text, warnings_of
from mer_jax.run import defaults as run_defaults
from mer_jax.run.checkpoints import DamagedCheckpoints
from mer_jax.run.command_line import (
    CONFIG,
    define_print_config,
    leave,
    overridden,
    prefix_of,
    read_flags,
)
from mer_jax.run.config_rules import flat
from mer_jax.run.device_errors import explained
from mer_jax.run.key_meanings import LEGEND, described, keys_as_text, meanings_of
from mer_jax.run.lock import hold
from mer_jax.storage.objects import uploading_lines
from mer_jax.storage.paths import StorageError, check_bucket, naming, path_of


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)
    c = flags.FLAGS.config
    if asked := flags.FLAGS.print_config:
        print_keys(c, prefix_of(asked))
        return
    try:
        check_evaluation(c)
    except ValueError as error:
        leave(str(error))
    for key, value in (('model.checkpoint', c.model.checkpoint), ('data.root', c.data.root)):
        if not value:
            leave(f'--config.{key} is missing: name a folder')
    try:
        workdir = path_of(flags.FLAGS.workdir)
        check_bucket(workdir)
        with naming(workdir), hold(workdir), uploading_lines():
            results = run(c, workdir)
    except (ValueError, OSError, MediaError, DamagedCheckpoints, StorageError) as error:
        leave(str(error))
    if results['absent']:
        count = len(results['absent'])
        named = f'{count} sets are missing or damaged: {workdir / "results.md"} names them'
        print(named, file=sys.stderr)
    for told in warnings_of(results):
        print(told, file=sys.stderr)
    print(as_text(results))
    for key, scored in results['sets'].items():
        if clips := scored.get('mean_over_clips'):
            for mode in MODES:
                means = {name: x for name, x in clips[mode].items() if not name.endswith('_se')}
                figures = ', '.join(f'{name} {x:.3f}' for name, x in means.items())
                print(f'{key}, {mode}, means over {clips["clips"]} clips: {figures}')
    print(f'{workdir / "results.md"} and results.json hold the figures, predictions/ the answers')


def print_keys(c, prefix: str) -> None:
    """Prints the keys of an evaluation that begin with a prefix."""
    known, meanings = flat(defaults.mer_unibench()), meanings_of([run_defaults, defaults])
    keys = described(flat(c), meanings, overridden(), [known], {})
    try:
        print(keys_as_text(keys, LEGEND, prefix))
    except ValueError as error:
        leave(str(error))


def run_command() -> None:
    """The command line of `python -m mer_jax.evaluate`."""
    config_flags.DEFINE_config_file('config', None, CONFIG, lock_config=True)
    define_print_config()
    flags.DEFINE_string('workdir', 'evaluations/last', 'Folder; the same folder again resumes it.')
    read = functools.partial(read_flags, default=defaults.__file__, about=__doc__)
    with quiet_pipes(), explained():
        app.run(main, flags_parser=read)


if __name__ == '__main__':
    run_command()
