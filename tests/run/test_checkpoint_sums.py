"""Damage to any file of a checkpoint is found and set aside; a passing fault is not damage."""

import errno
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from damages import cut, delete, flip

from mer_jax.run import checkpoint_sums
from mer_jax.run.checkpoint_sums import examine, steps_with_checksums
from mer_jax.run.checkpoints import Checkpoints, DamagedCheckpoints, load_policy
from mer_jax.storage import faults
from mer_jax.storage.objects import file_names, upload_folder
from mer_jax.storage.paths import StorageError

# The storage library leaves futures behind whose errors nobody fetches.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
STATE = {'policy': {'x': jnp.arange(300.0), 'n': jnp.int32(4)}}
BLANK = {'policy': {'x': jnp.zeros(300), 'n': jnp.int32(0)}}


class Reader:
    """Batches that say how many clips they have read."""

    size, read = 3, 21


def times(factor):
    return {'policy': {'x': STATE['policy']['x'] * factor, 'n': jnp.int32(factor)}}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The folder of a stage with checkpoints 5 and 7."""
    folder = tmp_path_factory.mktemp('saved') / 'train'
    with Checkpoints(folder, keep=2) as checkpoints:
        for step in (5, 7):
            checkpoints.save(step, times(step), Reader())
    return folder


@pytest.fixture
def stage(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / 'train')


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(faults, 'PAUSES', (0, 0, 0))


def restored(folder):
    with Checkpoints(folder, keep=2) as checkpoints:
        return checkpoints.restore_last(BLANK, Reader())


@pytest.mark.parametrize('damage', [flip, cut, delete])
def test_damage_to_any_file_is_found_and_the_step_before_is_taken(saved, tmp_path, caplog, damage):
    names = file_names(saved / '7')
    assert len(names) > 10
    for number, name in enumerate(names):
        caplog.clear()
        stage = shutil.copytree(saved, tmp_path / str(number) / 'train')
        before = file_names(stage)
        damage(stage / '7' / name)
        step, state = restored(stage)
        assert step == 5, name
        np.testing.assert_array_equal(state['policy']['x'], times(5)['policy']['x'])
        assert f'checkpoint 7 cannot be read ({stage / "7" / name} ' in caplog.text
        kept = [file.replace('7/', 'damaged_7/') for file in before]
        kept = [file.replace('checksums_7.json', 'damaged_7/checksums.json') for file in kept]
        if damage is delete:
            kept.remove(f'damaged_7/{name}')
        assert file_names(stage) == sorted(kept), name


@pytest.mark.parametrize('damage', [flip, cut])
def test_damaged_checksums_are_never_trusted(stage, caplog, damage):
    damage(stage / 'checksums_7.json')
    assert restored(stage)[0] == 5
    assert 'checksums_7.json is damaged' in caplog.text
    assert (stage / 'damaged_7' / 'checksums.json').exists()


def test_a_checkpoint_without_checksums_is_read_and_that_is_said(stage, caplog):
    (stage / 'checksums_7.json').unlink()
    assert restored(stage)[0] == 7
    assert f'{stage / "7"}: has no checksums' in caplog.text


def test_a_missing_checkpoint_is_said(stage, caplog):
    shutil.rmtree(stage / '7')
    assert restored(stage)[0] == 5
    assert f'{stage / "7"} is missing' in caplog.text
    assert restored(stage)[0] == 5 and steps_with_checksums(stage) == [5]


def test_a_whole_checkpoint_is_restored_without_a_word(stage, caplog):
    step, state = restored(stage)
    assert step == 7 and int(state['policy']['n']) == 7
    assert not caplog.records


def test_a_whole_checkpoint_of_another_model_is_not_taken_for_damaged(stage):
    before = file_names(stage)
    other = {'policy': {'x': jnp.zeros(20), 'n': jnp.int32(0)}}
    with Checkpoints(stage, keep=2) as checkpoints:
        with pytest.raises(DamagedCheckpoints, match=f'^{stage}/7: all its files are as they were'):
            checkpoints.restore_last(other)
    assert file_names(stage) == before


def test_nothing_is_moved_if_no_checkpoint_is_whole(stage):
    flip(stage / '5' / 'state' / '_METADATA')
    flip(stage / '7' / 'read' / 'metadata')
    before = file_names(stage)
    with pytest.raises(DamagedCheckpoints) as caught:
        restored(stage)
    assert str(stage / '5/state/_METADATA') in str(caught.value)
    assert str(stage / '7/read/metadata') in str(caught.value)
    assert file_names(stage) == before


def test_checksums_of_removed_checkpoints_are_removed(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, STATE)
    assert steps_with_checksums(tmp_path) == [3]


def test_a_step_that_was_set_aside_gets_new_checksums(stage):
    flip(stage / '7' / '_CHECKPOINT_METADATA')
    with Checkpoints(stage, keep=2) as checkpoints:
        step, _ = checkpoints.restore_last(BLANK)
        checkpoints.save(7, times(9))
    assert examine(stage, 7) == checkpoint_sums.Examined(None, True)
    assert restored(stage)[0] == 7


def test_a_policy_of_a_damaged_checkpoint_is_not_replaced_by_an_older_one(stage):
    flip(stage / '7' / 'state' / '_METADATA')
    with pytest.raises(DamagedCheckpoints, match='7/state/_METADATA has other content'):
        load_policy(stage.parent, BLANK['policy'])
    shutil.rmtree(stage / '7')
    with pytest.raises(DamagedCheckpoints, match='7 is missing'):
        load_policy(stage.parent, BLANK['policy'])


@pytest.mark.parametrize(
    ('fault', 'way_out'),
    [
        (PermissionError(errno.EACCES, 'Permission denied'), 'the right to read'),
        (OSError(errno.EBUSY, 'Device or resource busy'), 'check the disk'),
        (OSError(errno.EIO, 'Input/output error'), 'check the disk'),
        (OSError(errno.ENOSPC, 'No space left on device'), 'free space'),
        (MemoryError('no more'), 'more memory'),
        (TimeoutError('timed out'), 'check the disk'),
    ],
)
def test_a_passing_fault_is_tried_again_then_ends_the_run_with_all_files(
    stage, monkeypatch, no_pauses, fault, way_out
):
    tries, before = [], file_names(stage)

    def read_range(path, begin, end):
        tries.append(path)
        raise fault

    monkeypatch.setattr(checkpoint_sums, 'read_range', read_range)
    monkeypatch.setattr(checkpoint_sums, 'THREADS', 1)
    with pytest.raises(StorageError) as caught:
        restored(stage)
    told = str(caught.value)
    assert str(fault) in told and way_out in told and f'{stage / "7"}: ' in told
    assert '4 times' in told and len(set(tries)) < len(tries)
    assert file_names(stage) == before


def test_a_fault_that_passes_is_not_noticed(stage, monkeypatch, no_pauses, caplog):
    real, failing = checkpoint_sums.read_range, [1, 2, 3]

    def read_range(path, begin, end):
        if failing:
            failing.pop()
            raise OSError(errno.EBUSY, 'Device or resource busy')
        return real(path, begin, end)

    monkeypatch.setattr(checkpoint_sums, 'read_range', read_range)
    monkeypatch.setattr(checkpoint_sums, 'THREADS', 1)
    assert restored(stage)[0] == 7
    assert not caplog.records


def test_a_fault_of_a_library_is_tried_again_and_its_reason_is_not_cut(
    stage, monkeypatch, no_pauses
):
    before = file_names(stage)

    def restore(*_):
        raise ValueError(f'NOT_FOUND: {"long " * 200} Permission denied')

    monkeypatch.setattr(Checkpoints, 'restore', restore)
    with pytest.raises(StorageError, match=r'7: ValueError: .*Permission denied, 4 times .*right'):
        restored(stage)
    assert file_names(stage) == before


def test_one_process_that_finds_damage_decides_for_all(stage, monkeypatch):
    rows = [{'found': [None, True]}, {'found': ['b is missing', True]}]
    monkeypatch.setattr('mer_jax.run.common_reads.gather_rows', lambda _: rows)
    assert examine(stage, 7).damage == 'b is missing'
    rows[1] = {'fault': 'b: busy', 'final': True}
    with pytest.raises(StorageError, match='b: busy'):
        examine(stage, 7)


def test_processes_share_the_files(stage, monkeypatch):
    name = file_names(stage / '7')[1]
    flip(stage / '7' / name)
    monkeypatch.setattr('jax.process_count', lambda: 2)
    found = []
    for index in (0, 1):
        monkeypatch.setattr('jax.process_index', lambda index=index: index)
        found.append(checkpoint_sums.damage_here(stage, 7)[0])
    assert found[0] is None and name in found[1]


def test_checksums_are_verified_in_a_bucket(saved, bucket):
    upload_folder(saved, bucket / 'train')
    assert examine(bucket / 'train', 7) == checkpoint_sums.Examined(None, True)
    (bucket / 'train' / '7' / 'read' / 'metadata').write_bytes(b'{"places":  9')
    assert 'read/metadata' in examine(bucket / 'train', 7).damage
    assert steps_with_checksums(bucket / 'train') == [5, 7]
