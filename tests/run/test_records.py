"""The records that a run writes."""

import json
import sys
import time

import jax
import numpy as np
import pytest

from mer_jax.run.records import (
    DamagedRecords,
    NotFinite,
    Records,
    Timer,
    read_records,
    stage_compilations,
    stage_seconds,
)

event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')


def run(workdir, stage, steps, start=0, stop=None):
    """Writes the made-up figures of steps start + 1 to stop (by default to the end)."""
    with Records(workdir, stage, steps, start) as records:
        for step in range(start + 1, (steps if stop is None else stop) + 1):
            figures = {'loss': 1 / (3 + step), 'recall': np.float32(0.1 * step)}
            records.write(step, figures, {'grow': time.perf_counter()})


def test_a_record_holds_every_bit_of_its_figures(tmp_path):
    with Records(tmp_path, 'train', 1, 0) as records:
        records.write(1, {'loss': 0.1 + 0.2, 'kl': np.float32(1e-7)}, {})
    (record,) = read_records(tmp_path)
    assert list(record) == ['stage', 'step', 'loss', 'kl']
    assert record['loss'] == 0.1 + 0.2 and np.float32(record['kl']) == np.float32(1e-7)


def test_a_record_is_on_disk_before_the_next_step(tmp_path):
    with Records(tmp_path, 'train', 2, 0) as records:
        records.write(1, {'loss': 1.0}, {})
        assert read_records(tmp_path) == [{'stage': 'train', 'step': 1, 'loss': 1.0}]


def test_records_of_one_stage_can_be_read_alone(tmp_path):
    run(tmp_path, 'cold_start', 2)
    run(tmp_path, 'train', 3)
    assert [r['step'] for r in read_records(tmp_path)] == [1, 2, 1, 2, 3]
    assert [r['step'] for r in read_records(tmp_path, 'cold_start')] == [1, 2]
    assert read_records(tmp_path / 'nowhere') == []


def test_a_resumed_run_leaves_the_bytes_of_an_uninterrupted_one(tmp_path):
    for stage in ('cold_start', 'train'):
        run(tmp_path / 'whole', stage, 6)
    run(tmp_path / 'cut', 'cold_start', 6, stop=5)
    run(tmp_path / 'cut', 'cold_start', 6, start=3)
    run(tmp_path / 'cut', 'train', 6, stop=4)
    with (tmp_path / 'cut/records.jsonl').open('a') as file:
        file.write('{"stage": "train", "step": 5, "lo')
    run(tmp_path / 'cut', 'cold_start', 6, start=6)
    run(tmp_path / 'cut', 'train', 6, start=2)
    whole, cut = ((tmp_path / name / 'records.jsonl').read_bytes() for name in ('whole', 'cut'))
    assert whole == cut and whole.count(b'\n') == 12


def test_starting_a_stage_anew_drops_what_later_stages_wrote(tmp_path, caplog):
    run(tmp_path, 'cold_start', 3)
    run(tmp_path, 'train', 3)
    run(tmp_path, 'cold_start', 3, stop=1)
    assert [(r['stage'], r['step']) for r in read_records(tmp_path)] == [('cold_start', 1)]
    assert 'cold_start begins anew, for it has no checkpoint; its 3 records' in caplog.text


def test_a_complete_last_line_without_its_newline_is_kept(tmp_path):
    run(tmp_path, 'train', 2)
    path = tmp_path / 'records.jsonl'
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip())
    run(tmp_path, 'train', 2, start=2)
    assert path.read_bytes() == whole


def test_a_torn_last_line_is_skipped_in_reading(tmp_path):
    run(tmp_path, 'train', 3)
    path = tmp_path / 'records.jsonl'
    path.write_bytes(path.read_bytes()[:-7])
    assert [r['step'] for r in read_records(tmp_path)] == [1, 2]


def test_a_damaged_line_inside_the_file_is_named(tmp_path):
    (tmp_path / 'records.jsonl').write_text('{"stage": "train", "step": 1}\n??\n{}\n')
    with pytest.raises(ValueError, match=r'records\.jsonl line 2: .*\?\?'):
        read_records(tmp_path)


def test_a_torn_line_of_a_finished_run_is_named_and_nothing_is_lost(tmp_path):
    run(tmp_path, 'cold_start', 2)
    run(tmp_path, 'train', 3)
    path = tmp_path / 'records.jsonl'
    path.write_bytes(path.read_bytes()[:-7])
    torn = path.read_bytes()
    run(tmp_path, 'cold_start', 2, start=2)  # the line belongs to a later stage
    assert path.read_bytes() == torn
    with pytest.raises(DamagedRecords, match=r'line 5: .* does not repeat update 3\. Restore'):
        run(tmp_path, 'train', 3, start=3)
    assert path.read_bytes() == torn


def test_a_torn_line_that_the_run_writes_again_is_said(tmp_path, caplog):
    run(tmp_path, 'train', 4, stop=3)
    path = tmp_path / 'records.jsonl'
    path.write_bytes(path.read_bytes()[:-7])
    run(tmp_path, 'train', 4, start=2)
    assert [r['step'] for r in read_records(tmp_path)] == [1, 2, 3, 4]
    assert f'{path} line 3: must be a JSON record' in caplog.text


def test_records_that_are_missing_are_said(tmp_path, caplog):
    run(tmp_path, 'train', 4, stop=3)
    (tmp_path / 'records.jsonl').unlink()
    run(tmp_path, 'train', 4, start=3)
    assert 'has no records of 3 of the 3 updates of train' in caplog.text


@pytest.mark.parametrize(
    'line',
    [
        b'{"stage": 3, "step": 1}',
        b'{"stage": "train", "step": "1"}',
        b'{"stage": "train", "step": true}',
        b'{"stage": "train", "step": 1, "loss": "low"}',
        b'{"stage": "train", "step": 1, "loss": null}',
        b'[1, 2]',
        b'null',
        b'\xff\xfe',
        b'[' * 100_000,
    ],
)
def test_a_record_of_wrong_types_is_named(tmp_path, line):
    (tmp_path / 'records.jsonl').write_bytes(line + b'\n{"stage": "train", "step": 2}\n')
    with pytest.raises(DamagedRecords, match=r'records\.jsonl line 1: must be a JSON record'):
        read_records(tmp_path)


def test_damaged_timings_are_left_out_and_said(tmp_path, caplog):
    with Records(tmp_path, 'train', 3, 0) as records:
        for step in (1, 2, 3):
            timings = {'seconds': 1.0, 'compilations': step, 'first': step == 1}
            records.write(step, {}, timings)
    path = tmp_path / 'timings.jsonl'
    first, second, third = path.read_text().splitlines()
    path.write_text(
        '\n'.join([first, '{"stage": "train", "step": 2, "seconds": "x"}', '??', third])
    )
    assert stage_seconds(tmp_path, 'train') == 2
    assert stage_compilations(tmp_path, 'train') == (1, 3)
    run(tmp_path, 'train', 3, start=3)
    assert f'{path} line 3: must be a JSON record' in caplog.text


@pytest.mark.parametrize('name', ['tensorboard', 'tensorboard/train'])
def test_a_file_in_place_of_the_folder_of_tensorboard_is_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('mine')
    with pytest.raises(DamagedRecords, match=f'{name}: must be a folder'):
        run(tmp_path, 'train', 1)
    assert (tmp_path / name).read_text() == 'mine'


def test_a_folder_in_place_of_the_records_is_named(tmp_path):
    (tmp_path / 'records.jsonl').mkdir()
    with pytest.raises(DamagedRecords, match='records.jsonl: must be a file'):
        run(tmp_path, 'train', 1)


def test_wall_clock_figures_stay_out_of_the_records(tmp_path):
    run(tmp_path, 'train', 2)
    assert 'grow' not in (tmp_path / 'records.jsonl').read_text()
    timings = [json.loads(line) for line in (tmp_path / 'timings.jsonl').open()]
    assert [list(timing) for timing in timings] == [['stage', 'step', 'grow']] * 2


def test_the_seconds_of_a_stage_count_each_step_once_over_a_kill(tmp_path):
    for start, stop, seconds in ((0, 3, 1.0), (2, 4, 10.0)):
        with Records(tmp_path, 'train', 4, start) as records:
            for step in range(start + 1, stop + 1):
                records.write(step, {}, {'seconds': seconds})
    assert stage_seconds(tmp_path, 'train') == 1 + 1 + 10 + 10
    assert stage_seconds(tmp_path, 'cold_start') == 0


def test_programs_compiled_at_the_first_update_of_each_start_are_counted_apart(tmp_path):
    for start, stop, compiled in ((0, 3, 5), (2, 4, 4)):
        with Records(tmp_path, 'train', 4, start) as records:
            for step in range(start + 1, stop + 1):
                first = step == start + 1
                records.write(step, {}, {'compilations': compiled * first + 1, 'first': first})
    assert stage_compilations(tmp_path, 'train') == (6 + 5, 1 + 1)
    assert stage_compilations(tmp_path, 'cold_start') == (0, 0)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_the_first_figure_that_is_not_finite_stops_the_run(tmp_path, bad):
    with pytest.raises(NotFinite, match=rf'train step 2: .* kl={bad}\. .*checkpoint is kept'):
        with Records(tmp_path, 'train', 3, 0) as records:
            records.write(1, {'loss': 1.0, 'kl': 0.0}, {})
            records.write(2, {'loss': 1.0, 'kl': bad}, {})
    assert [r['step'] for r in read_records(tmp_path)] == [1]
    kept = json.loads((tmp_path / 'not_finite.json').read_text())
    assert kept == {'stage': 'train', 'step': 2, 'loss': 1.0, 'kl': str(bad)}


def scalars(workdir, stage):
    events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard' / stage))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()['scalars']}


def test_tensorboard_shows_figures_and_timings_of_each_stage(tmp_path):
    run(tmp_path, 'cold_start', 2)
    run(tmp_path, 'train', 3)
    assert list(scalars(tmp_path, 'cold_start')['cold_start/loss']) == [1, 2]
    train = scalars(tmp_path, 'train')
    assert set(train) == {'train/loss', 'train/recall', 'train/grow'}
    assert train['train/loss'] == pytest.approx({1: 1 / 4, 2: 1 / 5, 3: 1 / 6})


def test_tensorboard_forgets_the_steps_that_a_resumed_run_repeats(tmp_path):
    with Records(tmp_path, 'train', 4, 0) as records:
        for step in (1, 2, 3):
            records.write(step, {'loss': 100.0 + step, 'gone': 1.0}, {})
    run(tmp_path, 'train', 4, start=1)
    found = scalars(tmp_path, 'train')
    assert found['train/loss'] == pytest.approx({1: 101.0, 2: 1 / 5, 3: 1 / 6, 4: 1 / 7})
    assert list(found['train/gone']) == [1]


def test_tensorboard_is_opened_with_the_first_figures_and_hides_no_torch(tmp_path):
    torch = sys.modules.get('torch')
    with Records(tmp_path, 'train', 4, 0) as records:
        assert not (tmp_path / 'tensorboard').exists()
        records.write(1, {'loss': 0.5}, {})
        assert (tmp_path / 'tensorboard').exists()
    assert sys.modules.get('torch') is torch and ('torch' in sys.modules) == (torch is not None)


def test_the_bar_goes_to_stderr_with_the_figures_one_watches(tmp_path, capsys):
    with Records(tmp_path, 'train', 4, 2) as records:
        records.write(3, {'loss': 0.25, 'entropy': 7.0}, {'tokens_per_second': 1234.0})
        records.write(4, {'loss': 0.125, 'entropy': 7.0}, {'tokens_per_second': 1234.0})
    out, err = capsys.readouterr()
    assert out == '' and 'train' in err and '4/4' in err
    assert 'loss=0.125' in err and 'tokens/s=1234' in err and 'entropy' not in err


def test_only_the_first_process_writes_but_every_process_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    with pytest.raises(NotFinite):
        with Records(tmp_path, 'train', 2, 0) as records:
            records.write(1, {'loss': 1.0}, {})
            records.write(2, {'loss': float('nan')}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_timer_sums_the_seconds_of_each_name(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0])
    monkeypatch.setattr(time, 'perf_counter', lambda: next(clock))
    timer = Timer()
    with timer('grow'):
        pass
    with timer('learn'):
        pass
    with pytest.raises(KeyError), timer('grow'):
        raise KeyError
    assert timer.seconds == {'grow': 3.0, 'learn': 3.0}


def test_the_bar_shows_the_loss_the_figures_asked_for_and_the_speed(tmp_path):
    with Records(tmp_path, 'train', 1, 0, shown=('wit', 'absent')) as records:
        figures = {'loss': 0.5, 'recall': 0.25, 'wit': 0.125}
        records.write(1, figures, {'tokens_per_second': 7.0})
        assert records.bar.postfix == 'loss=0.5, wit=0.125, tokens/s=7'
