"""The installed package alone: all commands work from another folder, without the source tree."""

import json
import shutil
import subprocess
import sys

import pytest
from programs import ROOT, SMALL, environment

from mer_jax.data.stage import stage

SHORT = 'steps=1', 'cold_start.steps=0', 'learn.kl=0.0'


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder that pip has installed the package into, built from a copy of its sources."""
    folder = tmp_path_factory.mktemp('installed')
    sources = folder / 'sources'
    shutil.copytree(ROOT / 'mer_jax', sources / 'mer_jax')
    for name in ('pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, sources)
    offline = ('--no-deps', '--no-index', '--no-build-isolation', '--quiet')
    pip = [sys.executable, '-m', 'pip', 'install', *offline, '--target', folder / 'site', sources]
    said = subprocess.run(pip, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return folder / 'site'


@pytest.mark.slow
def test_each_command_of_an_installed_package_works_from_another_folder(installed, tmp_path):
    def run(*arguments):
        said = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment() | {'PYTHONPATH': str(installed)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout

    assert run('-c', 'import mer_jax; print(mer_jax.__file__)').startswith(str(installed))
    assert 'python -m mer_jax.predict' in run('-m', 'mer_jax')
    assert '--max-seconds' in run('-m', 'mer_jax.demo', '--help')
    assert (installed / 'mer_jax' / 'demo' / 'page.css').is_file()
    assert 'learn.kl = 0.04  (code)' in run('-m', 'mer_jax.main', '--print_config=learn.kl')
    stage.write(tmp_path / 'films', clips=3, seed=5, split='test', sheet=False)
    film = next((tmp_path / 'films').rglob('*.mp4'))
    changes = [f'--config.{change}' for change in (*SMALL, *SHORT)]
    assert 'Slow F' in run('-m', 'mer_jax.main', '--workdir=run', *changes)
    exported = run('-m', 'mer_jax.export', '--run=run', '--out=exported')
    assert 'exported holds the last policy of run' in exported
    answers = run('-m', 'mer_jax.predict', '--json', '--checkpoint=exported', str(film))
    assert set(json.loads(answers)) == {'clip', 'fast', 'slow', 'only'}
    keys = ('model.checkpoint=run', 'data.root=films', 'evaluate.batch=2')
    asked = [f'--config.{key}' for key in keys]
    assert 'manifest  F' in run('-m', 'mer_jax.evaluate', '--workdir=evaluation', *asked)
    (tmp_path / 'gold.csv').write_text('name,openset\na,[happy]\n')
    (tmp_path / 'said.csv').write_text('name,answer\na,[happy]\n')
    seen = json.loads(run('-m', 'mer_jax.data.media', '--json', '--png=sheet.png', str(film)))
    assert seen['kind'] == 'film' and (tmp_path / 'sheet.png').stat().st_size
    scored = ('--task=open', '--labels=gold.csv', '--predictions=said.csv')
    assert '1 of 1 labels kept' in run('-m', 'mer_jax.score', *scored)
    folder = ('films/manifest.jsonl', '--out=films/mine.jsonl')
    assert 'layout table, 3 clips' in run('-m', 'mer_jax.data.prepare', *folder)
    evaluation = 'mer_jax.evaluation'
    assert '1 answers' in run('-m', f'{evaluation}.prediction_files', 'said.csv', 'said.jsonl')
    fusion = ('said.csv', 'said.jsonl', '--labels=gold.csv')
    assert 'paired over 1 items' in run('-m', f'{evaluation}.fusion', *fusion)
    track = ('--track=mer2026-fg', '--predictions=said.csv', '--out=x-openset.npz')
    assert '1 rows of mer2026-fg' in run('-m', f'{evaluation}.submissions', *track)
    assert '--minus-prior' in run('-m', f'{evaluation}.preference', '--help')
