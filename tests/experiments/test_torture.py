"""Kills of a small run: where they hit by its files, and what counts as equal."""

import json
import os
import time

from experiments.killed_runs import STEPS, phase_of, same, table, values_of

BEGAN = time.time() - 5


def write(path, text='{}'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def record(workdir, stage, steps):
    with (workdir / 'records.jsonl').open('a') as file:
        file.writelines(json.dumps({'stage': stage, 'step': n + 1}) + '\n' for n in range(steps))


def test_each_phase_of_a_run_is_known_by_its_files(tmp_path):
    seen = [phase_of(tmp_path, BEGAN)]
    write(tmp_path / 'tensorboard' / 'cold_start' / 'events.1')
    record(tmp_path, 'cold_start', 2)
    seen.append(phase_of(tmp_path, BEGAN))
    saving = tmp_path / 'cold_start' / '2.orbax-checkpoint-tmp'
    saving.mkdir(parents=True)
    seen.append(phase_of(tmp_path, BEGAN))
    saving.rename(tmp_path / 'cold_start' / '2')
    seen.append(phase_of(tmp_path, BEGAN))
    write(tmp_path / 'cold_start' / 'checksums_2.json')
    record(tmp_path, 'cold_start', STEPS - 2)
    seen.append(phase_of(tmp_path, BEGAN))
    write(tmp_path / 'evaluation_cold_start.json')
    seen.append(phase_of(tmp_path, BEGAN))
    write(tmp_path / 'tensorboard' / 'train' / 'events.1')
    record(tmp_path, 'train', 2)
    seen.append(phase_of(tmp_path, BEGAN))
    write(tmp_path / 'validation.jsonl', '{"step": 2}\n{"step": 4}\n{"step": 6}\n')
    seen.append(phase_of(tmp_path, BEGAN))
    record(tmp_path, 'train', STEPS - 2)
    seen.append(phase_of(tmp_path, BEGAN))
    write(tmp_path / 'evaluation_end.json')
    seen.append(phase_of(tmp_path, BEGAN))
    assert seen == (
        ['start', 'cold_start', 'save', 'checksums', 'evaluation', 'start of train']
        + ['validation', 'train', 'evaluation', 'report']
    )


def test_files_of_an_earlier_start_say_nothing_of_this_one(tmp_path):
    events = tmp_path / 'tensorboard' / 'train' / 'events.1'
    for path in (events, tmp_path / 'results.json'):
        write(path)
        os.utime(path, (BEGAN - 10, BEGAN - 10))
    assert phase_of(tmp_path, BEGAN) == 'start'


def test_seconds_do_not_count_and_every_bit_does(tmp_path):
    write(tmp_path / 'a.json', '{"seconds": 1.0, "scores": 2}')
    write(tmp_path / 'b.json', '{"seconds": 3.0, "scores": 2}')
    assert values_of(tmp_path / 'a.json') == values_of(tmp_path / 'b.json') == {'scores': 2}
    assert same([1.0], [1.0]) and not same([0.0], [-0.0]) and not same([1], [1.0])


def test_the_table_counts_kills_of_runs_that_ended_alike():
    kills = [
        {'run': run, 'signal': 'SIGKILL', 'hit': 'save', 'ended': 0.25 * (run + 1)}
        for run in (0, 0, 1)
    ]
    runs = [{'run': 0, 'differences': []}, {'run': 1, 'differences': ['records.jsonl']}]
    lines = table(kills, runs).splitlines()
    assert lines[1].split() == ['SIGKILL', 'save', '3', '2', '0.50']
    assert lines[-1].startswith('2 of 3 kills ended identical')
