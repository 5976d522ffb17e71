"""Export: the last policy of a run as a Hugging Face folder that other programs load unchanged.

python -m mer_jax.export --run runs/first --out exported
"""

import argparse
import json
import logging
import pathlib
import shutil
import tempfile

import jax

from mer_jax.models.checkpoint.save import export, hf_config, save_omni
from mer_jax.models.omni import Omni
from mer_jax.run.command_line import printable
from mer_jax.run.config_rules import flat
from mer_jax.run.origin import PROMPTS_FILE
from mer_jax.run.setting import Setting, open_checkpoint
from mer_jax.sharding import largest_of_all


def export_policy(setting: Setting, policy: Omni, folder: pathlib.Path) -> None:
    """Write a policy with its tokenizer, and the config that says how it was asked.

    Weights are written in the dtype of the activations, in which they were used. Raises ValueError
    if the folder holds something.
    """
    origin, spec = setting.origin, setting.spec
    with tempfile.TemporaryDirectory() as held:
        asked = pathlib.Path(held) / PROMPTS_FILE
        asked.write_text(json.dumps(flat(setting.config), indent=1) + '\n', encoding='utf-8')
        if origin.root is None:
            setting.tokenizer.save_pretrained(held)
            config, beside = hf_config(spec, origin.ids), sorted(pathlib.Path(held).iterdir())
            save_omni(folder, policy, config, dtype=spec.dtype, beside=beside)
        else:
            export(folder, policy, origin.root, dtype=spec.dtype, more=[asked])


def export_anew(setting: Setting, policy: Omni, folder: pathlib.Path) -> None:
    """`export_policy` into a folder of the run, over what an earlier start of it has written."""
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    largest_of_all([0])  # nobody looks at the folder before it is gone
    export_policy(setting, policy, folder)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    parser = argparse.ArgumentParser(prog='mer_jax.export', description=__doc__.partition('\n')[0])
    parser.add_argument('--run', required=True, help='the workdir of a run')
    parser.add_argument('--out', required=True, help='a new folder')
    asked = parser.parse_args()
    try:
        export_policy(*open_checkpoint(asked.run), pathlib.Path(asked.out))
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    print(f'{asked.out} holds the last policy of {asked.run} as a Hugging Face checkpoint')


if __name__ == '__main__':
    main()
