"""Writes the policy of a run as a Hugging Face folder that other programs load unchanged.

It is the last one, or the best one if that is the one that the run evaluated. Adapters are merged
into the weights, or written alone in the format of PEFT.

    python -m mer_jax.export --run runs/first --out exported
    python -m mer_jax.export --run runs/lora --out adapter --adapter
"""

import argparse
import logging

from mer_jax.errors import quiet_pipes
from mer_jax.run.checkpoints import evaluated_best
from mer_jax.run.command_line import printable
from mer_jax.run.device_errors import explained
from mer_jax.run.export import export_adapter, export_policy
from mer_jax.run.origin import base_of
from mer_jax.run.setting import open_checkpoint
from mer_jax.storage.paths import StorageError, check_bucket, naming, path_of


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.export',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--run', required=True, help='the workdir of a run')
    parser.add_argument('--out', required=True, help='a new folder')
    parser.add_argument(
        '--adapter', action='store_true', help='the LoRA adapter alone, as peft saves one'
    )
    asked = parser.parse_args()
    try:
        run, out = path_of(asked.run), path_of(asked.out)
        check_bucket(out)
        with naming(out):
            setting, policy = open_checkpoint(asked.run)
            if asked.adapter:
                export_adapter(setting, policy, out, run, base_of(asked.run))
            else:
                export_policy(setting, policy, out, run)
    except (ValueError, OSError, StorageError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    which = 'last' if evaluated_best(run) is None else 'best'
    kind = 'an adapter in the format of PEFT' if asked.adapter else 'a Hugging Face checkpoint'
    print(f'{asked.out} holds the {which} policy of {asked.run} as {kind}')


if __name__ == '__main__':
    with quiet_pipes(), explained():
        main()
