"""The calls that are timed compute what training computes."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from tiny_workload import work_of

from experiments import timed_calls, workloads
from mer_jax.models.spec import Spec

pytestmark = pytest.mark.slow
SPEC = Spec(dataclasses.replace(tiny.SPEC.text, num_hidden_layers=1), None, None)


@pytest.fixture(scope='module')
def bound():
    """A bench and a workload bound to it, on its mesh."""
    work = work_of(SPEC)
    bench = timed_calls.make_bench(work, workloads.stage_config(0), tiny.policy(spec=SPEC))
    with jax.set_mesh(bench.mesh):
        yield bench, timed_calls.bind(work, bench, workloads.random_reading(work, 0))


def test_the_scored_log_probabilities_are_those_that_the_branches_were_grown_with(bound):
    _, side = bound
    np.testing.assert_allclose(side.calls['score'](), side.branches.logp, rtol=0, atol=1e-5)


def test_branches_are_full(bound):
    _, side = bound
    assert side.branches.mask[:, :, 1:].all()


def test_branches_of_random_weights_are_read_at_the_sizes_of_a_random_reading(bound):
    _, side = bound
    shapes = [leaf.shape for leaf in jax.tree.leaves(side.calls['read']())]
    random = workloads.random_reading(side.work, 0)
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(random)]


@pytest.mark.parametrize('name', ['learn', 'step'])
def test_an_update_replaces_the_state_and_leaves_the_policy_of_the_parts(bound, name):
    bench, side = bound
    kept = jax.device_get(bench.policy)
    before = jax.device_get(jax.tree.leaves(bench.held[0].policy))
    state = side.calls[name]()
    assert state is bench.held[0]
    after = jax.tree.leaves(state.policy)
    assert all((new != old).any() for new, old in zip(after, before, strict=True))
    jax.tree.map(np.testing.assert_array_equal, bench.policy, kept)
