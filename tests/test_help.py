"""The list of commands, the help of each, and the printer of configs."""

import re
import subprocess
import sys

import forks
import pytest
from programs import ROOT, environment

from mer_jax.__main__ import COMMANDS, as_text, purpose

PACKAGE = ROOT / 'mer_jax'
SCREEN = 50  # lines of a terminal


def run(module, *arguments):
    return forks.run(module, *arguments, variables=environment() | {'COLUMNS': '100'})


def test_every_file_that_is_a_command_is_listed_and_says_its_purpose():
    starts = [
        path.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')
        for path in PACKAGE.rglob('*.py')
        if "\nif __name__ == '__main__':" in path.read_text()
    ]
    commands = {name.removesuffix('.__main__') for name in starts} - {'__main__'}
    assert commands == set(COMMANDS)
    assert all(re.fullmatch(r'[A-Z].*\.', purpose(name)) for name in COMMANDS)
    assert len(as_text().splitlines()) < SCREEN


def test_the_package_lists_its_commands_without_importing_them():
    said = subprocess.run([sys.executable, '-Ximporttime', '-m', 'mer_jax'], capture_output=True)
    assert said.returncode == 0 and said.stdout.decode() == as_text() + '\n'
    assert b' jax\n' not in said.stderr


def test_a_command_after_a_space_is_named_with_its_dot():
    said = subprocess.run([sys.executable, '-m', 'mer_jax', 'main'], capture_output=True)
    assert said.returncode == 1
    assert said.stderr == (
        b'mer_jax: main: the command follows a dot; did you mean python -m mer_jax.main?\n'
    )


@pytest.mark.parametrize('name', COMMANDS)
def test_the_help_of_a_command_is_one_screen_with_an_example(name):
    said = run(f'mer_jax.{name}', '--help')
    assert said.returncode == 0 and not said.stderr
    assert f'\n    python -m mer_jax.{name} ' in said.stdout
    assert len(said.stdout.splitlines()) <= SCREEN
    assert max(map(len, said.stdout.splitlines())) <= 100


def test_help_lists_the_flags_of_this_package_alone():
    said = run('mer_jax.main', '--help').stdout
    assert re.findall(r'^  --(\w+)', said, re.MULTILINE) == [
        'config',
        'workdir',
        'distributed',
        'coordinator',
        'processes',
        'process',
        'heartbeat',
        'wait',
        'profile',
        'print_config',
    ]


def test_keys_of_a_run_are_printed_without_a_workdir():
    flags = '--config=configs/emo_r3.py:qwen2_5_vl_3b', '--config.learn.kl=0.5'
    said = run('mer_jax.main', *flags, '--print_config=learn.')
    assert said.returncode == 0
    assert (
        'learn.kl = 0.5  (flag)' in said.stdout and 'learn.clip_dual = 3.0  (code)' in said.stdout
    )
    assert '\nrollout' not in said.stdout and 'code: SeerRay-Lab/emo-r3' in said.stdout
    refused = run('mer_jax.main', '--print_config=no')
    assert refused.returncode == 1 and 'no key begins so' in refused.stderr


def test_keys_of_an_evaluation_are_printed():
    said = run('mer_jax.evaluate', '--print_config', '--config.clips=3')
    assert said.returncode == 0
    assert 'clips = 3 clips  (flag)\n    the first of each set; 0 = all\n' in said.stdout
