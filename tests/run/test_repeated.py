"""A stage whose result is lost after a later stage has begun is made again, and no record lost."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from damages import cut, delete, flip

from mer_jax.run.checkpoints import DamagedCheckpoints
from mer_jax.run.records import read_records
from mer_jax.run.repeated import OtherResult
from mer_jax.run.stage_loop import Every, run_stage
from mer_jax.storage.objects import file_names

# The storage library leaves futures behind whose errors nobody fetches.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


class Numbers:
    """Batches 1, 2, 3, … that say how many of them were read."""

    size, read = 1, 0

    def __next__(self):
        self.read += 1
        return self.read


SLOW = pytest.mark.slow


def stage(workdir, name, rate=1.0, stop=0, every=2):
    """The state of a stage of four updates by batches, as the cold start and RL are called."""

    def update(state, batch, step):
        if step == stop:
            raise RuntimeError('power cut')
        x = state['x'] * 1.01 + rate * batch
        return {'x': x}, {'loss': float(x.sum())}, {}

    later = 'train' if name == 'cold_start' else None
    state = {'x': jnp.full(3, 0.1)}
    return run_stage(name, workdir, 4, state, Numbers(), update, Every(every), later=later)


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
    """The workdir of a run that has ended, and the result of each stage."""
    workdir = tmp_path_factory.mktemp('ended') / 'run'
    return workdir, {
        name: np.asarray(stage(workdir, name)['x']) for name in ('cold_start', 'train')
    }


@pytest.fixture
def run(ended, tmp_path):
    return shutil.copytree(ended[0], tmp_path / 'run')


def all_but(workdir, *folders):
    """The contents of all files of a workdir outside some folders."""
    names = [name for name in file_names(workdir) if not name.startswith(folders)]
    return {name: (workdir / name).read_bytes() for name in names}


@pytest.mark.parametrize('damage', [flip, *(pytest.param(x, marks=SLOW) for x in (cut, delete))])
@pytest.mark.parametrize('name', ['cold_start', 'train'])
def test_damage_to_any_saved_file_of_a_run_loses_no_record_and_no_other_file(
    ended, tmp_path, caplog, name, damage
):
    whole, states = ended
    checkpoint = [f'4/{file}' for file in file_names(whole / name / '4')]
    for number, file in enumerate([*checkpoint, 'checksums_4.json']):
        if damage is delete and file == 'checksums_4.json':
            continue  # read unverified, which is said
        workdir = shutil.copytree(whole, tmp_path / str(number) / 'run')
        caplog.clear()
        damage(workdir / name / file)
        left, kept = (workdir / name / file).exists(), all_but(workdir, name, 'tens', 'timings')
        for one in ('cold_start', 'train'):
            np.testing.assert_array_equal(stage(workdir, one)['x'], states[one], file)
        assert f'checkpoint 4 cannot be read ({workdir / name / file} ' in caplog.text, file
        assert all_but(workdir, name, 'tens', 'timings') == kept, file
        aside = file.replace('4/', 'damaged_4/').replace('checksums_4', 'damaged_4/checksums')
        assert (workdir / name / aside).exists() == left, file


def test_a_lost_cold_start_is_made_again_from_the_step_before(run, ended, caplog):
    flip(run / 'cold_start' / '4' / 'state' / '_METADATA')
    records = (run / 'records.jsonl').read_bytes()
    state = stage(run, 'cold_start')
    np.testing.assert_array_equal(state['x'], ended[1]['cold_start'])
    assert 'updates 3 to 4 are made again' in caplog.text
    assert '2 of 2 have a record, and their loss differs from it by at most 0.0e+00' in caplog.text
    assert (run / 'records.jsonl').read_bytes() == records
    caplog.clear()
    np.testing.assert_array_equal(stage(run, 'cold_start')['x'], ended[1]['cold_start'])
    assert not caplog.records


def test_a_removed_cold_start_is_made_again_as_a_whole(run, ended, caplog):
    shutil.rmtree(run / 'cold_start')
    records = (run / 'records.jsonl').read_bytes()
    np.testing.assert_array_equal(stage(run, 'cold_start')['x'], ended[1]['cold_start'])
    assert 'updates 1 to 4 are made again' in caplog.text
    assert (run / 'records.jsonl').read_bytes() == records
    assert len(read_records(run, 'train')) == 4


def test_a_cold_start_without_any_whole_checkpoint_is_named_and_left(run):
    for step in (2, 4):
        flip(run / 'cold_start' / str(step) / 'state' / '_METADATA')
    before = file_names(run)
    with pytest.raises(DamagedCheckpoints, match='rename it to begin the stage anew'):
        stage(run, 'cold_start')
    assert file_names(run) == before


def test_another_result_than_that_of_the_records_is_refused_and_not_saved(run):
    shutil.rmtree(run / 'cold_start' / '4')
    records = (run / 'records.jsonl').read_bytes()
    with pytest.raises(OtherResult, match=r'cold_start: update 3 was made again.*its record has'):
        stage(run, 'cold_start', rate=1.5)
    assert not (run / 'cold_start' / '4').exists()
    assert (run / 'records.jsonl').read_bytes() == records


def test_a_start_that_fails_while_it_makes_updates_again_loses_nothing(run, ended):
    shutil.rmtree(run / 'cold_start' / '4')
    records = (run / 'records.jsonl').read_bytes()
    with pytest.raises(RuntimeError, match='power cut'):
        stage(run, 'cold_start', stop=4)
    assert (run / 'records.jsonl').read_bytes() == records
    np.testing.assert_array_equal(stage(run, 'cold_start')['x'], ended[1]['cold_start'])


def test_updates_without_a_record_are_counted(run, caplog):
    shutil.rmtree(run / 'cold_start' / '4')
    lines = (run / 'records.jsonl').read_text().splitlines(keepends=True)
    (run / 'records.jsonl').write_text(''.join(lines[:3] + lines[4:]))
    stage(run, 'cold_start')
    assert '1 of 2 have a record' in caplog.text
