"""The command `python -m mer_jax.plan`."""

import json

import forks
import pytest
from programs import SMALL, environment

TINY = [f'--config.{change}' for change in (*SMALL, 'steps=0', 'cold_start.steps=0')]


def plan(*flags):
    """The outcome of a plan of a tiny run."""
    given = ['--config=configs/mer_r1.py', *TINY, *flags]
    return forks.run('mer_jax.plan', *given, variables=environment())


@pytest.mark.slow
def test_a_plan_is_one_json_object():
    done = plan('--topology=cpu:2', '--media=features', '--json')
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told['topology'], told['chips'], told['fits']) == ('cpu:2', 2, True)
    assert list(told['programs']) == ['evaluate']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--topology=h100:8'], 'mer_jax: --topology=h100:8: must be v5e:AxB'),
        (['--topology=cpu:3'], 'mer_jax: prompts_per_step=2: must be a multiple of'),
        (['--programs=update'], 'mer_jax: --programs=update: must name programs of this run'),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(flags, message):
    done = plan(*flags)
    assert done.returncode == 1 and message in done.stderr
    assert 'Traceback' not in done.stderr
