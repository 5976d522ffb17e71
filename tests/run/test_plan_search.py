"""The search for keys with which a run fits."""

import dataclasses

import jax
import pytest
from small_plan import shrunk

from mer_jax.run import plan_search
from mer_jax.run.defaults import mer_r1
from mer_jax.run.plan_compile import Planned
from mer_jax.run.plan_cost import Cost
from mer_jax.run.plan_memory import Memory
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.topology import Chip, Topology

COST = Cost(1.0, 1.0, [])
TOPOLOGY = Topology('cpu:2', jax.devices()[:2], Chip(hbm=100, flops=1.0, memory=1.0, links=1.0))


@pytest.fixture
def setting():
    """The setting of a tiny run of four prompts, with weights over two devices."""
    c = shrunk(mer_r1(), prompts_per_step=4, mesh__data=1, mesh__fsdp=-1)
    return planned_setting(c, '', TOPOLOGY.devices)


def plan_of(setting, only=()):
    """A plan whose update fits with two-way tensor parallelism and microbatches of one prompt."""
    c = setting.config
    size = 200 // c.mesh.tensor - 10 * c.learn.microbatch
    grown = c.rollout.microbatch or c.prompts_per_step // (2 // c.mesh.tensor)
    plan = {
        'roll_out': Planned(Memory(1, 1, 1, 1, 48 + grown, 0), COST, 0.0),
        'update': Planned(Memory(1, 1, 1, 1, size, 0), COST, 0.0),
    }
    return {name: one for name, one in plan.items() if not only or name in only}


@pytest.fixture
def calls(monkeypatch):
    """The programs that each attempt compiles; () for all."""
    made = []

    def make_plan(setting, topology, media, only=()):
        made.append(tuple(only))
        return plan_of(setting, only)

    monkeypatch.setattr(plan_search, 'make_plan', make_plan)
    return made


def with_memory(hbm: int) -> Topology:
    """TOPOLOGY with so many bytes a chip."""
    return dataclasses.replace(TOPOLOGY, chip=dataclasses.replace(TOPOLOGY.chip, hbm=hbm))


def searched(setting, hbm: int, only: list[str]):
    """The setting and the plan that a search finds for these programs, with `hbm` bytes a chip."""
    given = '', with_memory(hbm), 'features', plan_of(setting, only), only
    return plan_search.search(setting, *given)


def test_changes_are_tried_until_all_fits(setting, calls, capsys):
    topology = with_memory(95)
    found, plan = plan_search.search(setting, '', topology, 'features', plan_of(setting))
    c = found.config
    assert (c.learn.microbatch, c.mesh.tensor, plan['update'].memory.peak) == (1, 2, 90)
    assert calls == [('update',)] * 3 + [()]
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith('--config.learn.microbatch=1: too large: update')
    small = '--config.learn.microbatch=1 --config.learn.chunk=32'
    assert told[1].startswith(f'{small}: too large: update')
    assert told[-1] == f'{small} --config.mesh.tensor=2: fits'


def test_a_plan_of_some_programs_stays_one_of_them(setting, calls):
    found, plan = searched(setting, 95, ['update'])
    assert found.config.mesh.tensor == 2 and plan.keys() == {'update'}
    assert calls == [('update',)] * 4


def test_changes_without_a_price_come_first_and_adapters_last(setting):
    small = {'learn.microbatch': 1, 'learn.chunk': 32}
    tensor, moments = {'mesh.tensor': 2}, {'optim.moments': 'bfloat16'}
    wanted = [{'learn.microbatch': 1}, small, small | tensor, small | moments]
    adapters = {'learn.train': 'lora', 'cold_start.towers': False}
    wanted += [small | tensor | moments, small | adapters]
    assert plan_search.changes(setting, ['update']) == wanted
    lora = plan_search.changed(setting, '', TOPOLOGY, adapters)
    assert plan_search.changes(lora, ['update']) == wanted[:-1]


def test_a_rollout_that_is_too_large_is_grown_in_pieces_no_smaller_than_needed(setting):
    setting.config.prompts_per_step = 8
    sizes = [change['rollout.microbatch'] for change in plan_search.changes(setting, ['roll_out'])]
    assert sizes == [2, 1] + [1] * (len(sizes) - 2) and len(sizes) > 2


def test_pieces_of_a_rollout_are_found(setting, calls):
    found, plan = searched(setting, 49, ['roll_out'])
    assert found.config.rollout.microbatch == 1 and plan.keys() == {'roll_out'}


def test_where_nothing_fits_the_plan_stays(setting, calls):
    topology = with_memory(60)
    given = plan_of(setting)
    found, plan = plan_search.search(setting, '', topology, 'features', given)
    assert found is setting and plan is given
    assert setting.config.learn.microbatch == 0
