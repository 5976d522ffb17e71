"""Traces of updates and the page about their time."""

import collections
import pathlib

import jax
import jax.numpy as jnp
import pytest

from mer_jax.run.profiling import (
    Measured,
    Operation,
    own_times,
    page_of,
    profiled,
    table,
)
from mer_jax.run.records import Timer


@pytest.fixture(scope='module')
def traced(tmp_path_factory):
    """A stage of six updates, of which the first compiles and two are traced."""
    workdir = tmp_path_factory.mktemp('run')
    program = jax.jit(lambda x: jnp.tanh(x @ x))

    def update(state, batch, step):
        timer = Timer()
        with timer('grow'):
            state = jax.block_until_ready(program(state))
        return state, {'loss': 0.0}, timer.seconds | {'tokens_per_second': 1.0}

    state = jnp.ones((8, 8))
    with profiled(update, 'train', workdir, 2) as function:
        for step in range(1, 7):
            state, figures, _ = function(state, None, step)
    assert figures == {'loss': 0.0}
    return workdir / 'profile' / 'train'


def test_updates_after_the_compiling_ones_are_traced(traced):
    page = (traced / 'summary.md').read_text()
    assert page.startswith('# train, updates 3 to 4: seconds of one\n')
    assert '0 programs were compiled meanwhile' in page
    assert '\n| grow | ' in page and 'tokens_per_second' not in page


def test_the_page_names_programs_and_operations_of_the_trace(traced):
    page = (traced / 'summary.md').read_text()
    assert '\n| _lambda | ' in page and ' of _lambda | ' in page
    assert list(traced.rglob('*.trace.json.gz')) and list(traced.rglob('*.xplane.pb'))


def test_without_the_flag_the_function_is_left_as_it_is(tmp_path):
    with profiled(len, 'train', tmp_path, 0) as function:
        assert function is len
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_ends_early_is_summed_up_or_told(tmp_path, caplog):
    def update(state, batch, step):
        return state, {}, {'grow': 1.0}

    with profiled(update, 'train', tmp_path, 5) as function:
        for step in range(4):
            function(0, None, step)
    page = (tmp_path / 'profile/train/summary.md').read_text()
    assert 'updates 1 to 3' in page and 'The trace names no operations' in page
    with profiled(update, 'cold_start', tmp_path, 5) as function:
        function(0, None, 1)
    assert 'no update of cold_start was traced' in caplog.text
    assert not pathlib.Path(tmp_path / 'profile/cold_start').exists()


def test_time_inside_an_operation_is_not_its_own():
    events = [
        (0.0, 100.0, 'update', 'while'),
        (10.0, 40.0, 'update', 'dot'),
        (20.0, 25.0, 'update', 'copy'),
        (50.0, 90.0, 'update', 'dot'),
        (100.0, 110.0, 'grow', 'add'),
    ]
    own = collections.Counter()
    for one in own_times(events):
        own[one.program, one.name] += round(one.seconds * 1e9)
    assert own == {
        ('update', 'while'): 30,
        ('update', 'dot'): 65,
        ('update', 'copy'): 5,
        ('grow', 'add'): 10,
    }


def test_a_page_divides_by_the_number_of_updates():
    measured = Measured([4, 5], collections.Counter(grow=2.0, learn=4.0), 7.0, 0.5)
    operations = [Operation('update', 'dot', 1.0), Operation('update', 'dot', 2.0)]
    lines = page_of('train', measured, operations).splitlines()
    assert '| grow | 1.0000 | 25.0 |' in lines and '| learn | 2.0000 | 50.0 |' in lines
    assert '| rest of the update | 0.5000 | 12.5 |' in lines
    assert '| between two updates (records, saves, waiting) | 0.5000 | 12.5 |' in lines
    assert '| dot of update | 1.5000 | 100.0 | 1 |' in lines
    assert table(('part', 'seconds', '%'), [('none', 0.0, '')])[-1] == '| none | 0.0000 | 0.0 |'
