"""Plans as JSON and as text."""

import dataclasses

import jax
import pytest
from small_plan import shrunk

from mer_jax.run.defaults import mer_r1
from mer_jax.run.plan_collectives import Collective
from mer_jax.run.plan_compile import Planned, make_plan
from mer_jax.run.plan_cost import Cost
from mer_jax.run.plan_memory import Memory
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.plan_report import as_json, as_text
from mer_jax.run.topology import GIB, Chip, Topology

CHIP = Chip(hbm=16 * GIB, flops=1e12, memory=1e9, links=1e8)
LOOPS = (('jit(update)/while', 28),)
GATHER = Collective('all-gather', 10**6, 28, 8, LOOPS, 'jit(update)/while/dot', 'bf16[8,64]')
COST = Cost(flops=2e12, traffic=3e9, collectives=[GATHER])
MEMORY = Memory(3 * GIB, 2 * GIB, 2 * GIB, 8 * GIB, 12 * GIB, GIB)
KEYS = {
    *('fits', 'argument_bytes', 'temporary_bytes', 'peak_bytes', 'flops', 'collectives'),
    *('seconds', 'compile_seconds'),
}


@pytest.fixture(scope='module')
def setting():
    return planned_setting(shrunk(mer_r1()), '', jax.devices()[:2])


@pytest.fixture
def topology(setting):
    return Topology('v5e:4x4', setting.mesh.devices.ravel().tolist(), CHIP)


def test_json_has_the_figures_of_each_program(topology):
    told = as_json({'update': Planned(MEMORY, COST, 4.5)}, topology)
    assert told == {
        'topology': 'v5e:4x4',
        'chips': 2,
        'hbm_bytes': 16 * GIB,
        'programs': {
            'update': {
                'fits': True,
                'argument_bytes': 3 * GIB,
                'temporary_bytes': 8 * GIB,
                'peak_bytes': 12 * GIB,
                'flops': 2e12,
                'collectives': {'all-gather': 28 * 10**6},
                'seconds': {'compute': 2.0, 'memory': 3.0, 'links': 0.245},
                'compile_seconds': 4.5,
            }
        },
        'fits': True,
    }


def test_text_names_the_bound_the_loops_and_the_spare_memory(setting, topology):
    told = as_text({'update': Planned(MEMORY, COST, 4.5)}, setting, topology, 'largest')
    assert '16.00 GiB' in told and 'memory' in told
    assert 'loops: 28, jit(update)/while/dot' in told
    assert 'A step of training takes at least 3 s.' in told
    assert 'fits: every program, with 4.00 GiB to spare' in told


def test_a_program_that_needs_more_memory_does_not_fit_and_keys_are_named(setting, topology):
    large = dataclasses.replace(MEMORY, peak=17 * GIB)
    plan = {'roll_out': Planned(MEMORY, COST, 1.0), 'update': Planned(large, COST, 1.0)}
    told = as_json(plan, topology)
    assert [one['fits'] for one in told['programs'].values()] == [True, False]
    assert told['fits'] is False
    text = as_text(plan, setting, topology, 'largest')
    assert 'does not fit: update. Keys that would help:' in text
    assert '--config.optim.moments=bfloat16' in text


def test_a_refused_program_does_not_fit_and_says_no_more_than_its_memory(setting, topology):
    refused = Planned(Memory(3 * GIB, None, None, None, 31 * GIB, 0), None, 9.0)
    told = as_json({'update': refused}, topology)
    assert told['programs']['update'] == {
        'fits': False,
        'argument_bytes': 3 * GIB,
        'temporary_bytes': None,
        'peak_bytes': 31 * GIB,
        'flops': None,
        'collectives': None,
        'seconds': None,
        'compile_seconds': 9.0,
    }
    assert '31.00' in as_text({'update': refused}, setting, topology, 'largest')


@pytest.mark.slow
def test_a_program_is_compiled_for_the_devices_and_does_not_fit_a_tiny_chip():
    c = shrunk(mer_r1(), steps=0, cold_start__steps=0, mesh__fsdp=8, mesh__data=1)
    c.prompts_per_step = c.cold_start.prompts_per_step = c.evaluate.batch = 8
    setting = planned_setting(c, '', jax.devices())
    topology = Topology('cpu:8', jax.devices(), dataclasses.replace(CHIP, hbm=1000))
    plan = make_plan(setting, topology, 'features')
    told = as_json(plan, topology)
    assert told['chips'] == 8 and list(told['programs']) == ['evaluate'] and not told['fits']
    evaluate = told['programs']['evaluate']
    assert evaluate.keys() == KEYS | {'decoding'} and evaluate['flops'] > 0
    assert evaluate['decoding']['seconds'] > evaluate['decoding']['limit'] > 0
    assert evaluate['peak_bytes'] >= evaluate['argument_bytes'] > 1000
    assert as_json(plan, dataclasses.replace(topology, chip=CHIP))['fits']
