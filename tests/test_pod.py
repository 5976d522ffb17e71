"""One run of two processes: they stop together, resume together or alone, and one writes."""

import json
import shutil
import signal
import socket
import time

import forks
import pytest
from programs import SMALL, environment, flags


def start(workdir, *changes, second=(), wait=60):
    """The two processes of a run, each with a device of its own; `second` are flags of one."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    given = flags(workdir, *SMALL, 'cold_start.towers=False', *changes)
    given += ['--distributed', f'--coordinator=127.0.0.1:{port}', '--processes=2']
    given += ['--heartbeat=10', f'--wait={wait}']
    return [
        forks.Fork('mer_jax.main', *given, f'--process={number}', *more, variables=environment())
        for number, more in enumerate(((), second))
    ]


def finish(processes):
    status = [process.wait(timeout=300) for process in processes]
    return status, [(process.stdout, process.stderr) for process in processes]


def records(workdir):
    path = workdir / 'records.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_two_processes_stop_together_resume_together_and_one_of_them_writes(tmp_path):
    workdir = tmp_path / 'run'
    processes = start(workdir, 'cold_start.steps=4000', 'every.save=4000')
    while len(records(workdir)) < 3:
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)  # one is told; both must save at the same update
    status, said = finish(processes)
    assert status == [128 + signal.SIGTERM] * 2, said
    assert all('told to stop (SIGTERM): cold_start is saved at update' in err for _, err in said)
    saved = len(records(workdir))
    assert (workdir / 'cold_start' / str(saved)).is_dir()

    shutil.copytree(workdir, tmp_path / 'alone')
    fewer = 'cold_start.towers=False', f'cold_start.steps={saved + 1}', 'steps=0'
    alone = flags(tmp_path / 'alone', *SMALL, *fewer)
    done = forks.run('mer_jax.main', *alone, variables=environment())
    assert done.returncode == 0, done.stderr

    changes = (
        f'cold_start.steps={saved + 1}',
        'mesh.tensor=2',  # both processes read all prompts, each computes half of the heads
        'steps=2',
        'learn.kl=0.0',
        'evaluate.clips=5',
        'export=True',
    )
    changes += ('every.validate=1', 'evaluate.policy=best', 'validation.clips=3')
    status, said = finish(start(workdir, *changes))
    assert status == [0, 0], said
    assert 'Slow F' in said[0][0] and 'Slow F' not in said[1][0]
    steps = [(record['stage'], record['step']) for record in records(workdir)]
    assert steps == [('cold_start', s + 1) for s in range(saved + 1)] + [('train', 1), ('train', 2)]
    assert records(tmp_path / 'alone')[:saved] == records(workdir)[:saved]
    one, two = records(tmp_path / 'alone')[saved], records(workdir)[saved]
    for name in one.keys() - {'stage'}:
        assert one[name] == pytest.approx(two[name], rel=1e-5), name
    end = json.loads((workdir / 'evaluation_end.json').read_text())
    assert [answer['id'] for answer in end['answers']] == [f'test-0-00000{i}' for i in range(5)]
    results = json.loads((workdir / 'results.json').read_text())
    lines = [json.loads(line) for line in (workdir / 'validation.jsonl').open()]
    assert [(line['step'], line['clips']) for line in lines] == [(1, 3), (2, 3)]
    best = 2 if lines[1]['slow']['f'] > lines[0]['slow']['f'] else 1
    assert results['clips'] == 5 and results['evaluated'] == {'policy': 'best', 'update': best}
    assert {path.name for path in (workdir / 'train').iterdir() if path.name.isdigit()} == {
        '1',
        '2',
    }
    assert (workdir / 'export' / 'model.safetensors').exists()


@pytest.mark.slow
def test_a_process_that_fails_takes_the_other_with_it(tmp_path):
    processes = start(tmp_path / 'run', 'cold_start.steps=4000')
    while len(records(tmp_path / 'run')) < 2:
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    status, said = finish(processes)
    # By its own decision, not by the abort with which JAX ends what hangs.
    assert status[0] == 1 and 'cannot continue alone' in said[0][1], said


def refused(workdir, *second, wait=60):
    """The last lines of two processes of which the second has other flags."""
    status, said = finish(start(workdir, second=second, wait=wait))
    assert all(number > 0 for number in status), said
    assert not any('Traceback' in err for _, err in said), said
    assert not workdir.exists()
    return [err.strip().splitlines()[-1] for _, err in said]


@pytest.mark.slow
def test_processes_with_other_seeds_end_with_both_seeds(tmp_path):
    one, other = refused(tmp_path / 'run', '--config.seed=3')
    assert one == other
    assert one.startswith('mer_jax: seed=0 in process 0, but 3 in process 1: all processes of a')


def test_a_process_that_is_refused_ends_the_other_with_its_message(tmp_path):
    one, other = refused(tmp_path / 'run', '--config.learn.kl=-1.0')
    assert other.startswith('mer_jax: learn.kl=-1.0')
    assert one == f'mer_jax: process 1 cannot start: {other.removeprefix("mer_jax: ")}'


@pytest.mark.slow
def test_a_process_that_never_joins_ends_the_other_after_a_while(tmp_path):
    one, other = refused(tmp_path / 'run', '--config.learn.kll=1.0', wait=8)
    assert 'learn.kll' in other and 'the config has no such key' in other
    assert one.startswith('mer_jax: --wait=8: several processes are to train together, but some')
