"""Figures that a refactoring must not change: small runs by two checkouts, digit by digit.

    python experiments/golden.py --made M --out before.json --checkout ../before
    python experiments/golden.py --made M --out now.json      # this checkout, the same material
    python experiments/golden.py --compare before.json now.json

Four runs of 6 updates of cold start and 6 of reinforcement learning, each with its two
evaluations: the embedded stage, its baseline, an Omni folder with films, a VL run with pictures.
They start from policies of 120 updates of cold start, which the first checkout makes in M. Only
command lines are used, so any commit that has them can be asked.
Figures of two machines or of two versions of JAX differ in their last digits; compare like with
like.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from PIL import Image

SHORT = {
    'steps': 6,
    'cold_start.steps': 6,
    'evaluate.clips': 64,
    'every.save': 6,
}
FILES = SHORT | {
    'steps': 6,
    'prompts_per_step': 8,
    'cold_start.prompts_per_step': 8,
    'rollout.slow_tokens': 64,
    'rollout.echo_tokens': 24,
    'rollout.anchors': 8,
    'model.dtype': 'float32',
    'cold_start.learning_rate': 1e-3,
    'optim.learning_rate': 1e-4,
    'evaluate.batch': 8,
    'evaluate.clips': 16,
    'data.prompt_tokens': '(384,)',
    'data.max_frames': 4,
    'data.min_pixels': 56 * 56,
    'data.max_pixels': 56 * 56,
    'export': False,
}
TAUGHT = {'steps': 0, 'cold_start.steps': 120, 'evaluate.clips': 2, 'evaluate.batch': 2}


def runs(folder: pathlib.Path) -> dict[str, list[str]]:
    """The arguments of each run by its name; what they need is made by `prepare`."""
    omni = {'model.checkpoint': folder / 'omni' / 'export'}
    omni |= {'data.manifest': folder / 'clips' / 'manifest.jsonl', 'cold_start.towers': True}
    vl = {'model.checkpoint': folder / 'vl', 'model.family': 'vl', 'data.clips': 64}
    vl |= {'data.manifest': folder / 'pictures' / 'manifest.jsonl', 'data.held_out': 0.3}
    return {
        'stage': arguments('configs/mer_r1.py', SHORT | {'model.checkpoint': folder / 'omni'}),
        'grpo_f1': arguments('configs/grpo_f1.py', SHORT | {'model.checkpoint': folder / 'omni'}),
        'omni_films': arguments('configs/mer_r1.py:qwen2_5_omni_7b', FILES | omni),
        'vl_pictures': arguments('configs/mer_r1.py', SHORT | {'evaluate.clips': 16} | vl),
    }


def arguments(config: str, values: dict) -> list[str]:
    """The flags of a run."""
    return ['--config', config, *(f'--config.{key}={value}' for key, value in values.items())]


def without_validation(checkout: pathlib.Path) -> list[str]:
    """Flags with which a checkout that can validate trains on the clips of one that cannot."""
    defaults = (checkout / 'mer_jax' / 'run' / 'defaults.py').read_text()
    if 'every.validate' not in defaults:
        return []
    return ['--config.every.validate=0', '--config.evaluate.policy=last']


def call(checkout: pathlib.Path, *command) -> None:
    """Run a module of the checkout; its output is shown if it fails."""
    environment = os.environ | {'PYTHONPATH': str(checkout), 'JAX_PLATFORMS': 'cpu'}
    line = [sys.executable, '-m', *map(str, command)]
    done = subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{" ".join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}')


def prepare(checkout: pathlib.Path, folder: pathlib.Path) -> None:
    """Films of the stage, pictures in plain colours, and two taught policies."""
    clips = folder / 'clips'
    call(checkout, 'mer_jax.data.stage', '--out', clips, '--clips', 64, '--seed', 5)
    pictures = folder / 'pictures'
    pictures.mkdir()
    lines = []
    for number, line in enumerate((clips / 'manifest.jsonl').read_text().splitlines()):
        clip = json.loads(line)
        name = f'{number}.png'
        shade = (37 * number % 256, 91 * number % 256, 151 * number % 256)
        Image.new('RGB', (56 + 28 * (number % 3), 56), shade).save(pictures / name)
        kept = {key: clip[key] for key in clip if key not in ('video', 'audio')}
        lines.append(json.dumps(kept | {'image': name}))
    (pictures / 'manifest.jsonl').write_text('\n'.join(lines) + '\n')
    for family in ('omni', 'vl'):
        more = {'model.family': family, 'export': family == 'omni'}
        flags = arguments('configs/mer_r1.py', TAUGHT | more)
        call(checkout, 'mer_jax.main', *flags, '--workdir', folder / family)


def measure(checkout: pathlib.Path, made: pathlib.Path) -> dict:
    """{run: {'records': […], 'scores': {…}}} of all runs."""
    measured = {}
    if not (made / 'vl' / 'results.json').exists():
        prepare(checkout, made)
    with tempfile.TemporaryDirectory() as held:
        for name, flags in runs(made).items():
            workdir = pathlib.Path(held) / name
            flags = [*flags, *without_validation(checkout)]
            call(checkout, 'mer_jax.main', *flags, '--workdir', workdir)
            records = [json.loads(line) for line in (workdir / 'records.jsonl').open()]
            scores = {
                moment: json.loads((workdir / f'evaluation_{moment}.json').read_text())['scores']
                for moment in ('cold_start', 'end')
            }
            measured[name] = {'records': records, 'scores': scores}
            print(f'{name}: {len(records)} records', file=sys.stderr)
    return measured


def leaves(value, path: str = '') -> dict[str, float]:
    """The figures of nested dictionaries and lists under their paths."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {path: value}
    return {k: x for key, inner in pairs for k, x in leaves(inner, f'{path}/{key}').items()}


def compare(before: dict, now: dict) -> bool:
    """Print how the figures of two files differ; whether every one is there and agrees to 1e-6.

    That is 1e-6 of the figure, or of 1 where it is smaller: means of signed terms cancel, and
    `drift` is rounding alone.
    """
    whole = True
    for name in before:
        old, new = leaves(before[name]), leaves(now.get(name, {}))
        missing = [path for path in old if path not in new]
        apart = {
            path: abs(new[path] - value) / max(abs(value), 1)
            for path, value in old.items()
            if path not in missing and new[path] != value
        }
        worst = max(apart, key=apart.get, default=None)
        told = f'the largest by {apart[worst]:.1e}, {worst}' if worst else 'none'
        print(f'{name}: {len(old)} figures, {len(apart)} differ ({told})', end='')
        print(f', missing: {", ".join(missing)}' if missing else '')
        whole &= not missing and all(gap < 1e-6 for gap in apart.values())
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--out', type=pathlib.Path, help='the file of figures to write')
    parser.add_argument('--made', type=pathlib.Path, help='the folder of clips and policies')
    here = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument('--checkout', type=pathlib.Path, default=here)
    parser.add_argument('--compare', nargs=2, type=pathlib.Path, metavar=('BEFORE', 'NOW'))
    asked = parser.parse_args()
    if asked.compare:
        raise SystemExit(not compare(*(json.loads(path.read_text()) for path in asked.compare)))
    if not asked.out or not asked.made:
        parser.error('name --made and --out, or two files to --compare')
    measured = measure(asked.checkout.resolve(), asked.made.resolve())
    asked.out.write_text(json.dumps(measured, indent=1) + '\n')


if __name__ == '__main__':
    main()
