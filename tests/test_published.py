"""A run on a Hugging Face checkpoint and films: train, be killed, resume, evaluate, export."""

import json
import signal
import subprocess
import sys
import time

import forks
import pytest
from programs import BRIEF, ROOT, environment, flags, with_fused_loops

from mer_jax.data.stage import stage

ENVIRONMENT = with_fused_loops(environment())
CHANGES = ('steps=3', 'cold_start.steps=0', *BRIEF)


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=16, seed=5, split='train', sheet=False)
    return folder


def given(omni_folder, films, workdir, *changes):
    """The flags of a run on the checkpoint and films."""
    return [
        *flags(workdir, *CHANGES, *changes, config='configs/mer_r1.py:qwen2_5_omni_7b'),
        f'--config.model.checkpoint={omni_folder}',
        f'--config.data.manifest={films / "manifest.jsonl"}',
    ]


def run(module, *arguments):
    """The standard output of a command that succeeds."""
    said = forks.run(module, *arguments, variables=ENVIRONMENT)
    assert said.returncode == 0, said.stderr
    return said.stdout


def records(workdir):
    path = workdir / 'records.jsonl'
    return path.read_text().splitlines() if path.exists() else []


PROGRAM = """
import importlib.machinery, pkgutil, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        absent = name in ('torch', 'torchvision', 'tensorflow')
        return None if absent else super().find_spec(name, *rest)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without
import mer_jax
for module in pkgutil.walk_packages(mer_jax.__path__, 'mer_jax.'):
    if module.name != 'mer_jax.demo.page':  # the one module that needs Gradio
        importlib.import_module(module.name)
from absl import app
from mer_jax import main, predict
try:
    app.run(main.main, sys.argv[3:], flags_parser=main.read_flags)
except SystemExit as left:
    assert not left.code, left.code
sys.argv = ['predict', '--json', '--checkpoint', sys.argv[1], sys.argv[2]]
try:
    predict.main()
except SystemExit as left:
    assert not left.code, left.code
assert not {'torch', 'torchvision', 'tensorflow'} & sys.modules.keys()
"""


@pytest.fixture(scope='module')
def whole(omni_folder, films, tmp_path_factory):
    """The workdir of a run of one process that also answered a film, without PyTorch."""
    workdir = tmp_path_factory.mktemp('runs') / 'whole'
    film = next(films.rglob('*.mp4'))
    said = subprocess.run(
        [sys.executable, '-c', PROGRAM, omni_folder, film, 'main']
        + given(omni_folder, films, workdir),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert said.returncode == 0, said.stderr
    assert set(json.loads(said.stdout.splitlines()[-1])) == {'clip', 'fast', 'slow', 'only'}
    return workdir


@pytest.mark.slow
def test_training_and_prediction_need_neither_torch_nor_tensorflow(whole):
    assert len(records(whole)) == 3


@pytest.mark.slow
def test_a_run_on_a_checkpoint_is_killed_and_resumed_and_exports_what_predict_reads(
    omni_folder, films, whole, tmp_path
):
    killed = tmp_path / 'killed'
    again = given(omni_folder, films, killed, f'data.cache={tmp_path / "cache"}')
    # Not forked, as the whole one: a fork has one thread of BLAS, which may round otherwise.
    command = [sys.executable, '-m', 'mer_jax.main', *again]
    how = dict(cwd=ROOT, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **how)
    while process.poll() is None and len(records(killed)) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    said = subprocess.run(command, stdout=subprocess.DEVNULL, **how)
    assert said.returncode == 0, said.stderr

    # The other run was killed and kept features on disk; neither may change what it learns.
    assert len(records(whole)) == 3 and records(whole) == records(killed)
    assert len(list((tmp_path / 'cache').glob('*.safetensors'))) >= 6
    results = [json.loads((w / 'results.json').read_text()) for w in (whole, killed)]
    assert results[0]['end'] == results[1]['end'] and results[0]['clips'] >= 2
    assert results[0]['evaluated'] == {'policy': 'best', 'update': 3}
    validations = [(w / 'validation.jsonl').read_bytes() for w in (whole, killed)]
    assert validations[0] == validations[1] and validations[0].count(b'\n') == 1
    assert results[0]['shared_with_training']['media'] == 0
    trained = (whole / 'export' / 'trained_on.jsonl').read_text()
    assert trained.count('"use": "train"') == 10 and trained.count('"validation"') == 3
    ours, theirs = (
        {path.name: path.read_bytes() for path in (w / 'export').iterdir()} for w in (whole, killed)
    )
    assert 'model.safetensors' in ours and ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == ['mer_jax.json']  # the cache
    film = next(films.rglob('*.mp4'))
    answers = run('mer_jax.predict', '--json', film, '--checkpoint', killed / 'export')
    assert set(json.loads(answers)) > {'fast', 'slow'}
