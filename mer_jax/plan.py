r"""Compiles every program of a config for named devices, and says whether they hold it.

    python -m mer_jax.plan --config configs/mer_r1.py:qwen2_5_omni_7b --topology v5e:4x4
    python -m mer_jax.plan --config configs/mer_r1.py:qwen2_5_omni_7b --topology cpu:16 --json

Nothing runs and no weights are read. A TPU slice needs libtpu (requirements-plan.txt).
"""

import functools
import json

from absl import app, flags, logging
from ml_collections import config_flags

from mer_jax.errors import quiet_pipes
from mer_jax.run import defaults
from mer_jax.run.command_line import CONFIG, leave, read_flags
from mer_jax.run.device_errors import explained
from mer_jax.run.plan_batches import MEDIA
from mer_jax.run.plan_compile import make_plan
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.plan_report import as_json, as_text, too_large
from mer_jax.run.plan_search import search
from mer_jax.run.topology import NoCompiler, open_topology


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    asked = flags.FLAGS
    variant = config_flags.get_config_filename(asked['config']).partition(':')[2]
    try:
        topology = open_topology(asked.topology)
        setting = planned_setting(asked.config, variant, topology.devices)
    except (ValueError, OSError, NoCompiler) as error:
        leave(str(error))
    plan = make_plan(setting, topology, asked.media, asked.programs)
    if unknown := set(asked.programs) - plan.keys():
        leave(
            f'--programs={",".join(asked.programs)}: must name programs of this run, and it has no '
            f'{", ".join(sorted(unknown))}; docs/PODS.md lists them, and without the flag all are '
            'compiled'
        )
    if asked.search and too_large(plan, topology.chip):
        setting, plan = search(setting, variant, topology, asked.media, plan, asked.programs)
    if asked.json:
        print(json.dumps(as_json(plan, topology)))
    else:
        print(as_text(plan, setting, topology, asked.media))


def run_command() -> None:
    """The command line of `python -m mer_jax.plan`."""
    config_flags.DEFINE_config_file('config', None, CONFIG, lock_config=True)
    flags.DEFINE_string('topology', 'cpu:1', 'v5e:AxB, v6e:AxB, v5p:AxBxC or cpu:N.')
    flags.DEFINE_enum('media', MEDIA[0], MEDIA, 'Media of prompts: the largest, or as features.')
    flags.DEFINE_bool(
        'search', False, 'Try other keys where it does not fit; docs/PODS.md names them.'
    )
    flags.DEFINE_list('programs', [], 'Compile only these, by name; none: all of them.')
    flags.DEFINE_bool('json', False, 'One JSON object.')
    read = functools.partial(read_flags, default=defaults.__file__, about=__doc__)
    with quiet_pipes(), explained():
        app.run(main, flags_parser=read)


if __name__ == '__main__':
    run_command()
