"""Lists the commands of the package: `python -m mer_jax`."""

import ast
import pathlib
import sys

COMMANDS = (
    'main',
    'evaluate',
    'predict',
    'demo',
    'score',
    'export',
    'plan',
    'data.prepare',
    'data.stage',
    'data.media',
    'data.benchmarks',
    'data.formats.tfds_manifest',
    'evaluation.fusion',
    'evaluation.preference',
    'evaluation.prediction_files',
    'evaluation.submissions',
)
FOLDER = pathlib.Path(__file__).parent


def purpose(name: str) -> str:
    """The first line of the docstring of a command, which is read and not imported."""
    path = FOLDER.joinpath(*name.split('.'))
    file = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
    return ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))).partition('\n')[0]


def as_text() -> str:
    """The commands, a line each, and a first one to try."""
    width = max(map(len, COMMANDS))
    lines = [f'  python -m mer_jax.{name:{width}}  {purpose(name)}' for name in COMMANDS]
    return '\n'.join(
        [
            'The commands of mer_jax; each has --help:',
            '',
            *lines,
            '',
            'To begin: python -m mer_jax.main --config configs/mer_r1.py --workdir runs/first',
        ]
    )


if __name__ == '__main__':
    print(as_text())
    asked = [one for one in sys.argv[1:] if one not in ('-h', '--help')]
    if asked:
        hint = f'; did you mean python -m mer_jax.{asked[0]}?' if asked[0] in COMMANDS else ''
        raise SystemExit(f'mer_jax: {" ".join(asked)}: the command follows a dot{hint}')
