"""Trackers of a run: steps, resumed curves, failures, and the libraries themselves offline."""

import json
import logging
import struct
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from small import changed

from mer_jax.run.defaults import mer_r1
from mer_jax.run.records import Records
from mer_jax.run.tracker import CLIENTS, FILE, Tracker, check_tracker, last_steps, tracking

ROWS = [
    {'id': 'a', 'frame': np.zeros((8, 8, 3), np.uint8), 'slow': 'sad'},
    {'id': 'b', 'frame': None, 'slow': 'glad'},
]


class Client:
    """A stand-in for a client: all calls, in their order."""

    def __init__(self, *given):
        self.given, self.calls = given, []

    def add(self, figures, step):
        self.calls.append((step, figures))

    def show(self, name, rows, step):
        self.calls.append((step, name, [row['id'] for row in rows]))

    def finish(self, failed):
        self.calls.append(('finish', failed))


@pytest.fixture
def clients(monkeypatch):
    """The stand-ins of all clients that are opened."""
    opened = []

    def connect(*given):
        opened.append(Client(*given))
        return opened[-1]

    monkeypatch.setitem(CLIENTS, 'wandb', connect)
    return opened


@pytest.fixture
def config():
    return changed(mer_r1(), records__tracker='wandb', cold_start__steps=3, steps=4)


def run(config, workdir, begin, end):
    """Sends the records of updates begin + 1 to end of RL, after those of the cold start."""
    with tracking(config, workdir) as tracker:
        for stage, steps, start, stop in (
            ('cold_start', 3, 0 if begin is None else 3, 3),
            ('train', 4, begin or 0, end),
        ):
            with Records(workdir, stage, steps, start, follow=tracker.add) as records:
                for step in range(start + 1, stop + 1):
                    records.write(step, {'loss': 1 / step}, {'seconds': 2.0})
        tracker.show('evaluation', 'evaluation', end, lambda: ROWS)


def test_steps_count_the_updates_of_all_stages(clients, config, tmp_path):
    run(config, tmp_path, None, 2)
    (client,) = clients
    figures = [call for call in client.calls if isinstance(call[1], dict)]
    assert [step for step, _ in figures] == [1, 2, 3, 4, 5]
    assert figures[0][1] == {'cold_start/loss': 1.0, 'cold_start/seconds': 2.0}
    assert figures[3][1] == {'train/loss': 1.0, 'train/seconds': 2.0}
    assert client.calls[-2:] == [(5, 'evaluation/answers', ['a', 'b']), ('finish', False)]


def test_a_resumed_run_keeps_its_id_and_sends_each_update_once(clients, config, tmp_path):
    run(config, tmp_path, None, 3)  # its last checkpoint is that of update 2
    run(config, tmp_path, 2, 4)
    first, second = clients
    assert first.given[0] == second.given[0] and len(first.given[0]) == 21
    assert [call[0] for call in second.calls] == [7, 7, 'finish']
    other = changed(config, records__tracker='')
    run(other, tmp_path, 3, 4)
    assert len(clients) == 2


def test_a_tracker_that_is_turned_on_later_begins_with_what_follows(clients, config, tmp_path):
    run(changed(config, records__tracker=''), tmp_path, None, 3)
    assert not (tmp_path / FILE).exists()
    run(changed(config, records__tracker='wandb'), tmp_path, 2, 4)
    assert [call[0] for call in clients[0].calls] == [6, 7, 7, 'finish']


@pytest.mark.parametrize('text', ['{"wandb": ', '[]', '{"wandb": 3}'])
def test_a_damaged_id_begins_new_curves(clients, config, tmp_path, caplog, text):
    run(config, tmp_path, None, 3)
    (tmp_path / FILE).write_text(text)
    run(config, tmp_path, 2, 4)
    assert clients[0].given[0] != clients[1].given[0]
    assert 'must hold the ids of the run by tracker' in caplog.text


def test_validations_and_records_share_their_steps(clients, config, tmp_path):
    with tracking(config, tmp_path) as tracker:
        tracker.add('train', 2, {'loss': 1.0})
        tracker.add('validation', 2, {'slow_f': 0.5})
        tracker.add('evaluation', 0, {'slow_f': 0.4})  # of an earlier start
        tracker.show('validation', 'validation', 1, lambda: ROWS)
    sent = [(5, {'train/loss': 1.0}), (5, {'validation/slow_f': 0.5}), ('finish', False)]
    assert clients[0].calls == sent
    line = {'stage': 'train', 'step': 2, 'slow': {'f': 0.5}}
    (tmp_path / 'validation.jsonl').write_text(json.dumps(line) + '\n')
    assert last_steps(tmp_path) == {'validation': 2}


def test_a_failing_tracker_warns_once_and_the_run_continues(config, tmp_path, caplog, monkeypatch):
    def offline(*_):
        raise ConnectionError('no network')

    monkeypatch.setitem(CLIENTS, 'wandb', offline)
    run(config, tmp_path, None, 4)
    (told,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert told.startswith('records.tracker=wandb: ConnectionError: no network. The run goes on')
    assert last_steps(tmp_path) == {'cold_start': 3, 'train': 4}


@pytest.mark.parametrize('failing', ['add', 'show', 'finish'])
def test_a_call_that_fails_is_the_last_one(clients, config, tmp_path, caplog, monkeypatch, failing):
    def fail(self, *_):
        self.calls.append(failing)
        raise SystemExit(1)  # a library may even exit

    monkeypatch.setattr(Client, failing, fail)
    run(config, tmp_path, None, 2)
    assert clients[0].calls[-1] == failing and clients[0].calls.count(failing) == 1
    assert sum(one.levelno == logging.WARNING for one in caplog.records) == 1


def test_a_picture_that_cannot_be_read_does_not_end_a_run(clients, config, tmp_path, caplog):
    with tracking(config, tmp_path) as tracker:
        tracker.show('validation', 'validation', 1, lambda: 1 / 0)
    assert 'ZeroDivisionError' in caplog.text


def test_a_run_that_fails_is_marked(clients, config, tmp_path):
    with pytest.raises(ValueError, match='broken'), tracking(config, tmp_path):
        raise ValueError('broken')
    with pytest.raises(SystemExit), tracking(config, tmp_path):
        raise SystemExit(143)  # told to stop
    assert [client.calls for client in clients] == [[('finish', True)], [('finish', False)]]


def test_without_a_tracker_nothing_is_made_or_imported(tmp_path):
    made = []
    Tracker().show('validation', 'validation', 1, lambda: made.append(1))
    assert made == []
    told = 'import sys, mer_jax.run.stages; print({"wandb", "swanlab"} & set(sys.modules))'
    said = subprocess.run([sys.executable, '-c', told], capture_output=True, text=True)
    assert said.stdout == 'set()\n'


def test_a_package_that_is_missing_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    check_tracker('')
    with pytest.raises(ValueError, match='pip install -r requirements-track.txt'):
        check_tracker('swanlab')


def calls_of(monkeypatch, name, **functions):
    """A module of this name that notes the calls of its functions."""
    calls, module = [], types.ModuleType(name)

    def noted(function, result):
        return lambda *given, **named: calls.append((function, given, named)) or result

    for function, result in functions.items():
        setattr(module, function, noted(function, result))
    monkeypatch.setitem(sys.modules, name, module)
    return calls, module


def test_swanlab_gets_tables_and_pictures_beside_them(monkeypatch, tmp_path):
    names = dict.fromkeys(('init', 'log', 'finish', 'Settings'))
    calls, module = calls_of(monkeypatch, 'swanlab', **names, Image='picture')
    rows = []
    table = types.SimpleNamespace(add=lambda *given: rows.append(given))
    module.echarts = types.SimpleNamespace(Table=lambda: table)
    client = CLIENTS['swanlab']('id', 'first', str(tmp_path), {})
    client.show('evaluation/answers', ROWS, 3)
    client.finish(True)
    assert rows == [(['id', 'slow'], [['a', 'sad'], ['b', 'glad']])]
    shown = {'evaluation/answers/table': table, 'evaluation/answers/frames': ['picture']}
    assert calls[-2] == ('log', (shown,), {'step': 3})
    assert calls[-1][2]['state'] == 'crashed'
    assert calls[1][2]['id'] == 'id' and calls[1][2]['resume'] == 'allow'


@pytest.fixture
def library(request, monkeypatch, tmp_path):
    """A library itself, offline; its files stay below the folder of the test."""
    pytest.importorskip(request.param, reason=f'{request.param}: see requirements-track.txt')
    monkeypatch.setenv(f'{request.param.upper()}_MODE', 'offline')
    monkeypatch.setenv('WANDB_DATA_DIR', str(tmp_path / 'data'))
    monkeypatch.setenv('WANDB_CACHE_DIR', str(tmp_path / 'cache'))
    return request.param


@pytest.mark.parametrize('library', ['wandb'], indirect=True)
def test_wandb_offline_holds_every_update_of_a_resumed_run_once(library, config, tmp_path):
    run(config, tmp_path, None, 3)
    time.sleep(1.1)  # its folders are named by the second
    run(config, tmp_path, 2, 4)
    (run_id,) = json.loads((tmp_path / FILE).read_text()).values()
    files = sorted((tmp_path / 'wandb').glob(f'offline-run-*/run-{run_id}.wandb'))
    first, second = ([line for line in map(figures_of, records_of(one)) if line] for one in files)
    assert [step for step, _ in first] == [1, 2, 3, 4, 5, 6]
    assert first[3][1]['train/loss'] == 1.0 and 'evaluation/answers/path' in first[-1][1]
    assert [step for step, _ in second] == [7] and second[0][1]['train/loss'] == 0.25
    staged = [path.read_bytes() for path in (tmp_path / 'data').rglob('*') if path.is_file()]
    assert any(content.startswith(b'\x89PNG') for content in staged)  # the frame of the table


@pytest.mark.parametrize('library', ['swanlab'], indirect=True)
def test_swanlab_offline_keeps_figures_table_and_frames(library, config, tmp_path):
    run(changed(config, records__tracker='swanlab'), tmp_path, None, 3)
    (run_id,) = json.loads((tmp_path / FILE).read_text()).values()
    (folder,) = (tmp_path / 'swanlog').glob(f'run-*-{run_id}')
    assert (folder / f'run-{run_id}.swanlab').stat().st_size > 0
    assert len(list(folder.rglob('*.png'))) == 1
    (table,) = folder.rglob('media/echarts/*.json')
    assert 'glad' in table.read_text()


def records_of(file):
    """The records of a file of Weights & Biases: chunks of a log in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = file.read_bytes(), 7, b''
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack('<IHB', data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b''


def figures_of(record):
    """The step and the figures of a record of the history; None for another record."""
    if record.WhichOneof('record_type') != 'history':
        return None
    items = record.history.item
    named = {item.key or '/'.join(item.nested_key): json.loads(item.value_json) for item in items}
    return record.history.step.num, named
