"""Files that atheris mutates by what the readers have not run yet are read or refused by name."""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('atheris', reason='pip install atheris: mutates files by coverage')


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['answer', 'safetensors', 'config', 'film'])
def test_files_that_are_mutated_towards_new_lines_are_read_or_refused(kind, tmp_path):
    guided = pathlib.Path(__file__).with_name('guided.py')
    done = subprocess.run(
        [sys.executable, guided, kind, '--runs=2000', '--seconds=120'],
        cwd=tmp_path,
        env=os.environ | {'TMPDIR': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'stat::number_of_executed_units' in done.stderr
