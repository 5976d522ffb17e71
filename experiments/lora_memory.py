r"""Memory of an update of adapters beside that of all weights, by the compiler's own account.

python experiments/lora_memory.py --layers 48 --width 512

One JSON line: arguments and temporaries in bytes of the update with learn.train=decoder and =lora,
the arrays that the run holds beside it (the reference), and the ratio of the sums. Nothing runs.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mer_jax.run.defaults import mer_r1
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.plan_report import make_plan
from mer_jax.run.topology import open_topology


def deep_config(train: str, layers: int, width: int):
    """The embedded stage with a deep decoder and few prompts: weights take most of the memory."""
    c = mer_r1()
    c.learn.train, c.cold_start.towers, c.cold_start.steps = train, False, 0
    c.prompts_per_step = c.learn.microbatch = 1
    c.rollout.group = 2
    c.model.text.update(num_hidden_layers=layers, hidden_size=width, intermediate_size=3 * width)
    return c


def update_memory(topology, train: str, layers: int, width: int) -> dict[str, int]:
    """Bytes of the update that trains this part of a policy."""
    setting = planned_setting(deep_config(train, layers, width), '', topology.devices)
    held = make_plan(setting, topology, 'features', ('update',))['update'].memory
    return {
        'arguments': held.arguments,
        'temporaries': held.temporaries,
        'beside': held.beside,
        'sum': held.arguments + held.temporaries,
    }


def main(arguments: list[str] | None = None) -> dict:
    """The figures of both updates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--layers', type=int, default=48)
    parser.add_argument('--width', type=int, default=512)
    asked = parser.parse_args(arguments)
    topology = open_topology('cpu:1')
    found = {
        part: update_memory(topology, part, asked.layers, asked.width)
        for part in ('decoder', 'lora')
    }
    ratio = found['lora']['sum'] / found['decoder']['sum']
    figures = {'layers': asked.layers, 'width': asked.width} | found | {'ratio': round(ratio, 3)}
    print(json.dumps(figures))
    return figures


if __name__ == '__main__':
    main()
