"""The lock of a workdir: who may take it, who is refused, and whose lock is taken over."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from mer_jax.run import lock
from mer_jax.run.lock import FILE, Holder, give_signs, hold, is_alive, this_process
from mer_jax.storage.objects import write_whole


@pytest.fixture(params=['local', 'bucket'])
def folder(request):
    """A folder of the test's own, local or in a bucket."""
    return request.getfixturevalue({'local': 'tmp_path', 'bucket': 'bucket'}[request.param])


@pytest.fixture
def impatient(monkeypatch):
    """Signs of life and looks at them many times a second."""
    for name, seconds in (('BEAT', 0.02), ('LOOK', 0.02), ('SILENT', 0.3)):
        monkeypatch.setattr(lock, name, seconds)


def write(folder, **changes):
    """Leaves a lock in a folder, of this process but for the changes."""
    holder = dataclasses.replace(this_process(), **changes)
    write_whole(folder / FILE, json.dumps(dataclasses.asdict(holder)))
    return holder


def test_a_held_folder_is_refused_with_its_holder_and_the_way_out(folder):
    with hold(folder):
        with pytest.raises(ValueError) as raised, hold(folder):
            pass
        assert (folder / FILE).exists()
    said = str(raised.value)
    held = platform.node(), f'process {os.getpid()}', f'--workdir={folder}', 'UTC'
    assert [part for part in held if part not in said] == []
    assert 'choose another --workdir' in said and f'remove {folder / FILE}' in said


def test_a_lock_is_released_at_the_end_and_after_an_error(folder):
    with hold(folder):
        pass
    with pytest.raises(KeyError), hold(folder):
        raise KeyError
    assert not (folder / FILE).exists()


def test_a_folder_made_for_a_lock_is_removed_unless_something_is_in_it(tmp_path):
    with hold(tmp_path / 'a' / 'b'):
        assert [path.name for path in (tmp_path / 'a' / 'b').iterdir()] == [FILE]
    assert not (tmp_path / 'a').exists()
    with hold(tmp_path / 'a' / 'b'):
        (tmp_path / 'a' / 'results').touch()
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['results']


def test_the_lock_of_a_killed_process_is_taken_over_at_once_and_said(tmp_path, capsys):
    code = (
        'import sys, pathlib, time; from mer_jax.run.lock import hold\n'
        f'with hold(pathlib.Path({str(tmp_path)!r})): print("held", flush=True); time.sleep(60)'
    )
    other = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b'held\n'
    with pytest.raises(ValueError, match=f'process {other.pid} on .* writes into this'):
        with hold(tmp_path):
            pass
    other.kill()
    time.sleep(0.2)  # it is dead but not waited for: its number is still taken
    began = time.monotonic()
    with hold(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())['process'] == os.getpid()
    assert time.monotonic() - began < 1
    assert f'process {other.pid} on' in (said := capsys.readouterr().err)
    assert 'is gone; its lock is taken over' in said
    other.wait()


def test_a_process_with_the_number_of_one_that_is_gone_is_not_taken_for_it(tmp_path):
    assert is_alive(this_process())
    assert not is_alive(write(tmp_path, born='1'))
    with hold(tmp_path):
        pass


def test_a_silent_process_of_another_machine_is_gone_after_a_while(folder, impatient, capsys):
    write(folder, host='other', machine='other', token='x')
    began = time.monotonic()
    with hold(folder):
        assert time.monotonic() - began >= 0.3
    said = capsys.readouterr().err
    assert 'on other' in said and 'waiting up to' in said and 'taken over' in said


def test_a_lock_of_long_ago_is_taken_over_without_waiting(folder):
    write(folder, host='other', machine='other', token='x', beat=0.0)
    began = time.monotonic()
    with hold(folder):
        assert time.monotonic() - began < lock.LOOK


def test_a_process_of_another_machine_that_gives_signs_is_not_gone(folder, impatient):
    other = write(folder, host='other', machine='other', token='x')
    ended = threading.Event()
    beating = threading.Thread(target=give_signs, args=(folder / FILE, other, ended))
    beating.start()
    with pytest.raises(ValueError, match='on other, since .* writes into this folder'):
        with hold(folder):
            pass
    ended.set()
    beating.join()


def test_a_process_that_has_lost_its_lock_ends(tmp_path, impatient):
    mine, lost = this_process(), []
    other = write(tmp_path, host='other', token='x')
    give_signs(tmp_path / FILE, mine, threading.Event(), lambda *told: lost.append(told))
    assert lost == [(tmp_path / FILE, other)]
    assert Holder(**json.loads((tmp_path / FILE).read_text())) == other


@pytest.mark.parametrize('text', ['', '{', '[]', '{"token": "x"}'])
def test_a_damaged_lock_is_taken_over(folder, text):
    write_whole(folder / FILE, text)
    with hold(folder):
        assert json.loads((folder / FILE).read_bytes())['process'] == os.getpid()


def test_of_many_processes_that_start_together_one_takes_the_lock(tmp_path):
    write(tmp_path, process=2**22 + 1, born='1', token='x')  # and all of them find a stale one
    held, refused = [], []
    ready = threading.Barrier(8)

    def start():
        ready.wait()
        try:
            with hold(tmp_path):
                held.append(1)
                together.wait()
        except ValueError:
            refused.append(1)
            together.wait()

    together = threading.Barrier(8)
    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1 and len(refused) == 7
    assert list(tmp_path.iterdir()) == []
