"""Notebooks run from the first cell to the last."""

import json

import matplotlib
import pytest
import small
from programs import ROOT

NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_on_a_run(path, module_config, tmp_path, monkeypatch, capsys):
    small.write_run(small.shrink(module_config), tmp_path / 'run')
    monkeypatch.setenv('MER_JAX_PROJECT', str(ROOT))
    monkeypatch.setenv('MER_JAX_RUN', str(tmp_path / 'run'))
    monkeypatch.setenv('MER_JAX_CLIPS', '3')
    monkeypatch.setenv('MER_JAX_SAMPLES', '4')
    matplotlib.use('Agg')
    names = {}
    for cell in cells(path):
        exec(compile(cell, str(path), 'exec'), names)
    out = capsys.readouterr().out
    assert 'nan' not in out and out.count('fast') >= 3 and out.count('slow') >= 3


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    kept = json.loads(path.read_text())['cells']
    assert not any(cell.get('outputs') or cell.get('execution_count') for cell in kept)


def cells(path):
    """The code of each cell."""
    kept = json.loads(path.read_text())['cells']
    return [''.join(cell['source']) for cell in kept if cell['cell_type'] == 'code']
