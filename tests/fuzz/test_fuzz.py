"""A few mutated files of each kind are read or refused by name; more by tests/fuzz/run.py."""

import contextlib

import pytest
from fuzz.mutations import OPERATIONS, Edit, mutated
from fuzz.readers import outcome_of
from fuzz.run import Found, Worker
from fuzz.seeds import KINDS, make_seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MEDIA = ('film', 'sound', 'picture')  # native decoders could end the process of the tests
EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from(OPERATIONS),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)
FEW = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope='module')
def worker():
    """A process that reads media."""
    with contextlib.closing(Worker('film')) as started:
        yield started


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'checkpoint'])
def test_mutated_files_are_read_or_refused_by_name(kind, worker, tmp_path):
    seeds, beside = make_seeds(kind)
    for name, data in beside.items():
        (tmp_path / name).write_bytes(data)

    def read(path):
        return worker.read(path) if kind in MEDIA else Found(outcome_of(kind, path))

    @FEW
    @given(st.sampled_from(seeds), st.data(), EDITS)
    def each(seed, drawn, edits):
        name = drawn.draw(st.sampled_from(list(seed.parts)))
        path = tmp_path / seed.name
        path.write_bytes(seed.data(seed.parts | {name: mutated(seed.parts[name], edits)}))
        assert read(path).crashed == ''
        if seed.name in beside:
            path.write_bytes(beside[seed.name])

    for seed in seeds:
        (tmp_path / seed.name).write_bytes(seed.data())
        assert read(tmp_path / seed.name).outcome == 'read'
    each()


def test_a_reading_process_that_ends_counts_as_a_crash_and_is_started_anew(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('sad')
    with contextlib.closing(Worker('manifest')) as worker:
        assert worker.read(path).outcome == 'refused'
        worker.process.kill()
        worker.process.wait()
        assert 'ended' in worker.read(path).crashed
        assert worker.read(path).outcome == 'refused'


def test_slow_files_large_ones_and_other_errors_count_as_crashes():
    assert Found('read', 1.0, 100.0).crashed == Found('refused').crashed == ''
    assert Found('read', 10.5).crashed == 'takes 10.5 s'
    assert Found('refused', 1.0, 2000.0).crashed == 'takes 2000 MB'
    assert Found('KeyError: 3').crashed == 'KeyError: 3'
