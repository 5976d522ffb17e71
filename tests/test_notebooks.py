"""Notebooks run from the first cell to the last, on small runs, and draw pictures."""

import json

import fake_claims
import matplotlib.pyplot as plt
import numpy as np
import pytest
import small
from PIL import Image
from programs import ROOT

from mer_jax.run.defaults import mer_r1
from mer_jax.run.emo_r3_defaults import emo_r3

NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


def small_run(config):
    """Writes a small run and gives its folder."""

    def make(folder):
        small.write_run(small.shrink(config()), folder / 'run')
        return folder / 'run'

    return make


def exported(folder):
    """Writes a Hugging Face folder."""
    small.write_export(small.shrink(mer_r1()), folder / 'export')
    return folder / 'export'


def pictures(folder):
    """Writes a manifest of three pictures."""
    lines = []
    for n, words in enumerate((['happy'], ['sad', 'afraid'], ['angry'])):
        Image.fromarray(np.full((56, 56, 3), 60 * n, np.uint8)).save(folder / f'{n}.png')
        lines.append({'id': f'c{n}', 'image': f'{n}.png', 'words': words, 'subtitle': 'Well.'})
    path = folder / 'clips.jsonl'
    path.write_text('\n'.join(map(json.dumps, lines)) + '\n')
    return path


def claimed(folder):
    """Writes made-up results of claims.py."""
    path = folder / 'claims.jsonl'
    path.write_text('\n'.join(map(json.dumps, fake_claims.lines())) + '\n')
    return path


NEEDS = {  # the places that a notebook is told of, and words that it prints; all of them
    'claims': ({'MER_JAX_CLAIMS': claimed}, ('| full | 3 |', 'confirmed', 'mer_r1 b ')),
    'emo_r3_reflection': (
        {'MER_JAX_EMO_RUN': small_run(emo_r3)},
        ('slow  accuracy', 'true steps outrank false ones', 'lead to the gold word'),
    ),
    'fast_slow_variance': (
        {'MER_JAX_RUN': small_run(mer_r1)},
        ('clips whose answers all score the same', 'slow  expected calibration error'),
    ),
    'interference': (
        {'MER_JAX_RUN': small_run(mer_r1)},
        ('run update 1', 'summed   recall_norm', 'separate recall_norm'),
    ),
    'your_checkpoint': (
        {'MER_JAX_CHECKPOINT': exported, 'MER_JAX_MANIFEST': pictures},
        ('MER-R1, 3 clips', 'c2 gold: angry', 'precision  fast', 'report.html'),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_draws_on_a_small_run(path, tmp_path, monkeypatch, capsys):
    places, told = NEEDS[path.stem]
    for name, make in places.items():
        monkeypatch.setenv(name, str(make(tmp_path)))
    monkeypatch.setenv('MER_JAX_PROJECT', str(ROOT))
    monkeypatch.setenv('MER_JAX_REPORT', str(tmp_path / 'report.html'))
    monkeypatch.setenv('MER_JAX_CLIPS', '3')
    monkeypatch.setenv('MER_JAX_SAMPLES', '4')
    plt.switch_backend('Agg')
    plt.close('all')
    names = {}
    for cell in cells(path):
        exec(compile(cell, str(path), 'exec'), names)
    said = capsys.readouterr().out
    assert 'nan' not in said
    for words in told:
        assert words in said, words
    drawn = [plt.figure(number) for number in plt.get_fignums()]
    assert drawn and all(figure.axes for figure in drawn)
    plt.close('all')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    kept = json.loads(path.read_text())['cells']
    assert not any(cell.get('outputs') or cell.get('execution_count') for cell in kept)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_its_runtime_and_begins_with_a_cell_that_installs_what_it_needs(path):
    first, second = json.loads(path.read_text())['cells'][:2]
    assert first['cell_type'] == 'markdown' and 'minute' in ''.join(first['source'])
    assert (
        'requirements.txt' in ''.join(second['source']) and 'MER_JAX_PROJECT' in first['source'][-1]
    )


def cells(path):
    """The code of each cell."""
    kept = json.loads(path.read_text())['cells']
    return [''.join(cell['source']) for cell in kept if cell['cell_type'] == 'code']
