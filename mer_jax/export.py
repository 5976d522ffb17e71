"""Export: the last policy of a run as a Hugging Face folder that other programs load unchanged.

python -m mer_jax.export --run runs/first --out exported
"""

import argparse
import json
import logging
import pathlib
import shutil

import jax

from mer_jax.check import flat
from mer_jax.models.omni import Omni
from mer_jax.models.save import export, hf_config, save_omni
from mer_jax.origin import PROMPTS_FILE
from mer_jax.records import write_whole
from mer_jax.setting import Setting, open_checkpoint


def export_policy(setting: Setting, policy: Omni, folder: pathlib.Path) -> None:
    """Write a policy with its tokenizer, and the config that says how it was asked.

    Weights are written in the dtype of the activations, in which they were used. Raises ValueError
    if the folder holds something.
    """
    origin, spec = setting.origin, setting.spec
    if origin.root is None:
        save_omni(folder, policy, spec, hf_config(spec, origin.ids), dtype=spec.dtype)
        if jax.process_index() == 0:
            setting.tokenizer.save_pretrained(folder)
    else:
        export(folder, policy, spec, origin.root, dtype=spec.dtype)
    if jax.process_index() == 0:
        asked = json.dumps(flat(setting.config), indent=1)
        write_whole(folder / PROMPTS_FILE, asked + '\n')


def export_anew(setting: Setting, policy: Omni, folder: pathlib.Path) -> None:
    """`export_policy` into a folder of the run, over what an earlier start of it has written."""
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    export_policy(setting, policy, folder)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    parser = argparse.ArgumentParser(prog='mer_jax.export', description=__doc__.partition('\n')[0])
    parser.add_argument('--run', required=True, help='the workdir of a run')
    parser.add_argument('--out', required=True, help='a new folder')
    asked = parser.parse_args()
    try:
        export_policy(*open_checkpoint(asked.run), pathlib.Path(asked.out))
    except (ValueError, OSError) as error:
        raise SystemExit(f'mer_jax: {error}') from None
    print(f'{asked.out} holds the last policy of {asked.run} as a Hugging Face checkpoint')


if __name__ == '__main__':
    main()
