"""Processes of one run that fall silent are named; pauses and processes that are done are not."""

import threading
import time

import jax
import pytest
from jax._src import distributed

from mer_jax.run import signs_of_life
from mer_jax.run.signs_of_life import DONE, Signs, told_of, watch, watching


def test_a_process_whose_sign_does_not_change_is_silent():
    signs = Signs(3, now=0.0)
    signs.note({0: '1', 1: '1', 2: '1'}, now=1.0)
    signs.note({0: '2', 1: '1', 2: '2'}, now=9.0)
    assert signs.silent(now=10.0, limit=8.0) == [1]
    assert signs.silent(now=9.0, limit=8.0) == []


def test_a_process_that_never_gave_a_sign_is_silent():
    signs = Signs(2, now=0.0)
    signs.note({0: '1'}, now=5.0)
    assert signs.silent(now=9.0, limit=8.0) == [1]


def test_a_process_that_is_done_is_not_missed():
    signs = Signs(2, now=0.0)
    signs.note({0: '1', 1: DONE}, now=1.0)
    assert signs.silent(now=100.0, limit=8.0) == [0]


def test_after_a_pause_of_its_own_a_process_gives_the_others_their_time_again():
    signs = Signs(2, now=0.0)
    signs.begin_anew(now=50.0)
    assert signs.silent(now=57.0, limit=8.0) == []
    assert signs.silent(now=59.0, limit=8.0) == [0, 1]


@pytest.mark.parametrize(
    ('silent', 'named'),
    [
        ([2], 'process 2 gives no sign of life for 15 s (--heartbeat)'),
        ([1, 2], 'processes 1, 2 give no sign of life'),
        ([0, 1, 2, 3], 'process 0, through which all hear of each other, gives no sign of life'),
    ],
)
def test_the_message_names_the_processes_that_are_missing(silent, named):
    told = told_of(silent, processes=4, limit=15)
    assert told.startswith(named) and 'Start all again' in told


class Store:
    """The store that processes share, of which one, number 1, writes by itself."""

    def __init__(self):
        self.held, self.alive = {}, True

    def key_value_set(self, key, value, allow_overwrite):
        self.held[key] = value

    def key_value_dir_get(self, key):
        if not self.alive:
            raise jax.errors.JaxRuntimeError('UNAVAILABLE: no answer')
        return [*self.held.items(), (f'{key}/1', str(time.monotonic()))]


@pytest.fixture
def two(monkeypatch):
    """This process as number 0 of two; the store that they share and the messages at the end."""
    store, said = Store(), []
    shared = distributed.global_state
    for name, value in (('client', store), ('process_id', 0), ('num_processes', 2)):
        monkeypatch.setattr(shared, name, value)
    for name, seconds in (('BEAT', 0.01), ('LOOK', 0.01), ('LAST', 0.0)):
        monkeypatch.setattr(signs_of_life, name, seconds)
    monkeypatch.setattr(signs_of_life, 'leave', lambda message, at_once: said.append(message))
    return store, said


def test_processes_that_give_signs_are_left_alone_and_told_when_this_one_is_done(two):
    store, said = two
    with watching(1):
        while store.held.get(f'{signs_of_life.KEY}/0') != '3':
            time.sleep(0.01)
    assert said == [] and store.held[f'{signs_of_life.KEY}/0'] == DONE


def test_a_store_without_an_answer_ends_this_process(two):
    store, said = two
    store.alive = False
    with watching(1):
        while not said:
            time.sleep(0.01)
    assert said[0].startswith('process 0, through which all hear of each other')


def test_one_process_alone_watches_nobody():
    threads = threading.active_count()
    with watching(1):
        assert threading.active_count() == threads


def test_a_watch_ends_when_it_is_told_to():
    ended = threading.Event()
    ended.set()
    assert watch(Signs(2, now=-100.0), limit=1.0, ended=ended) is None
