import json
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from mer_jax.run.records import NotFinite, read_records
from mer_jax.run.spikes import Rule, Spiked
from mer_jax.run.stage_loop import Every, Stopped, Termination, run_stage


class Numbers:
    """A data iterator 1, 2, 3, … that knows nothing of checkpoints."""

    def __init__(self):
        self.at = 0

    def __next__(self):
        self.at += 1
        return self.at


def add(state, batch, step):
    """Adds the batch's number; the records hold the sum."""
    state = {'sum': state['sum'] + batch}
    return state, {'sum': float(state['sum'])}, {}


def stage(workdir, steps, update=add, save=2, batches=None):
    start = {'sum': jnp.float32(0)}
    return run_stage('train', workdir, steps, start, batches, update, Every(save=save))


@pytest.fixture(autouse=True)
def numbers_without_checkpoints(monkeypatch):
    # The toy iterator cannot be saved: the state alone is, and the iterator counts from the step.
    from mer_jax.run import stage_loop as loop

    real_save, real_restore = loop.Checkpoints.save, loop.Checkpoints.restore

    def restore(self, step, like, batches):
        batches.at = step
        return real_restore(self, step, like)

    monkeypatch.setattr(
        loop.Checkpoints, 'save', lambda self, step, state, _: real_save(self, step, state)
    )
    monkeypatch.setattr(loop.Checkpoints, 'restore', restore)


def test_a_stage_makes_its_updates_and_records_each(tmp_path):
    state = stage(tmp_path, 5, batches=Numbers())
    assert state['sum'] == 15
    assert [record['sum'] for record in read_records(tmp_path)] == [1, 3, 6, 10, 15]


def test_a_stage_that_is_done_is_not_done_again(tmp_path):
    stage(tmp_path, 3, batches=Numbers())

    def never(*_):
        raise AssertionError('an update was made')

    state = stage(tmp_path, 3, update=never, batches=Numbers())
    assert state['sum'] == 6


def test_a_broken_stage_resumes_from_its_last_checkpoint_with_the_same_records(tmp_path):
    def breaks_at_4(state, batch, step):
        if step == 4:
            raise RuntimeError('power cut')
        return add(state, batch, step)

    with pytest.raises(RuntimeError):
        stage(tmp_path / 'broken', 6, update=breaks_at_4, batches=Numbers())
    assert len(read_records(tmp_path / 'broken')) == 3
    broken = stage(tmp_path / 'broken', 6, batches=Numbers())
    whole = stage(tmp_path / 'whole', 6, batches=Numbers())
    assert broken['sum'] == whole['sum'] == 21
    lines = [(tmp_path / name / 'records.jsonl').read_bytes() for name in ('broken', 'whole')]
    assert lines[0] == lines[1]


@pytest.mark.parametrize('told_at', [1, 3, 4])
def test_sigterm_saves_the_update_under_way_and_stops(tmp_path, told_at):
    def told(state, batch, step):
        if step == told_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(state, batch, step)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped:
        stage(tmp_path, 4, update=told, save=100, batches=Numbers())
    assert stopped.value.code == 143
    assert f'update {told_at} of 4' in stopped.value.message
    assert (tmp_path / 'train' / str(told_at)).is_dir()
    assert signal.getsignal(signal.SIGTERM) is before
    assert stage(tmp_path, 4, batches=Numbers())['sum'] == 10


def test_a_signal_after_the_last_update_stops_the_run_as_well():
    with pytest.raises(Stopped) as stopped:
        with Termination():
            os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 143 and 'finished and saved' in stopped.value.message


def test_a_figure_that_is_not_finite_is_never_saved(tmp_path):
    def spoils(state, batch, step):
        state, figures, timings = add(state, batch, step)
        return state, figures | {'loss': np.nan if step == 3 else 0.5}, timings

    with pytest.raises(NotFinite, match='train step 3.*loss=nan'):
        stage(tmp_path, 6, update=spoils, save=1, batches=Numbers())
    saved = sorted(int(path.name) for path in (tmp_path / 'train').iterdir() if path.name.isdigit())
    assert saved == [1, 2]
    assert len(read_records(tmp_path)) == 2


def test_compilations_are_counted_at_the_first_update_and_later(tmp_path):
    import jax

    from mer_jax.run.records import stage_compilations

    def compiles(state, batch, step):
        shape = 3 if step < 4 else 4  # another shape, another program
        state, figures, timings = add(state, batch, step)
        jax.jit(lambda x: x * 2.5 + step // 4)(np.ones(shape, np.float32))
        return state, figures, timings

    stage(tmp_path, 3, batches=Numbers())
    first, later = stage_compilations(tmp_path, 'train')
    assert later == 0
    stage(tmp_path / 'other', 5, update=compiles, batches=Numbers())
    _, later = stage_compilations(tmp_path / 'other', 'train')
    assert later >= 1
    timings = [json.loads(line) for line in (tmp_path / 'timings.jsonl').read_text().splitlines()]
    assert [timing['first'] for timing in timings] == [1, 0, 0]


def test_spikes_in_a_row_end_the_stage_and_keep_the_checkpoint_before_them(tmp_path):
    def jumps_at_12(state, batch, step):
        state, figures, timings = add(state, batch, step)
        return state, figures | {'gradient_norm': 1.0 if step < 12 else 50.0}, timings

    given = {'sum': jnp.float32(0)}, Numbers(), jumps_at_12, Every(save=2)
    with pytest.raises(Spiked, match='step 13'):
        run_stage('train', tmp_path, 20, *given, spike=Rule(10.0, stop=2))
    records = read_records(tmp_path)
    assert [record['step'] for record in records if 'spike' in record] == [12, 13]
    assert max(int(path.name) for path in (tmp_path / 'train').glob('[0-9]*')) == 10
