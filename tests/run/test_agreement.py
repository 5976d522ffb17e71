"""Processes of one run with other configs, or with an error, end with a message that names both."""

import contextlib
import threading

import jax
import pytest
from jax._src import distributed

from mer_jax.run.agreement import agree, check_same, digest_of_code, exchange, meet


class Store:
    """The store that processes share, as the client of jax.distributed offers it."""

    def __init__(self, processes):
        self.held, self.set = {}, threading.Condition()
        self.barrier = threading.Barrier(processes)

    def key_value_set(self, key, value):
        with self.set:
            self.held[key] = value
            self.set.notify_all()

    def blocking_key_value_get(self, key, milliseconds):
        with self.set:
            if not self.set.wait_for(lambda: key in self.held, 0.01):
                raise jax.errors.JaxRuntimeError('DEADLINE_EXCEEDED: not set')
            return self.held[key]

    def wait_at_barrier(self, name, milliseconds):
        self.barrier.wait()


def told(*facts, error=''):
    return [{'error': error if n else '', 'facts': one} for n, one in enumerate(facts)]


def test_every_process_gets_the_facts_of_all_however_late_one_is():
    store, found = Store(3), {}

    def process(number):
        found[number] = exchange(store, number, 3, {'error': '', 'facts': {'seed': number}})

    threads = [threading.Thread(target=process, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
        thread.join(0.05)
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]
    assert [one['facts']['seed'] for one in found[0]] == [0, 1, 2]


def test_a_process_that_is_lost_at_the_start_is_said():
    class Lost(Store):
        def blocking_key_value_get(self, key, milliseconds):
            raise jax.errors.JaxRuntimeError('UNAVAILABLE: connection closed')

    with pytest.raises(ValueError, match='a process of this run has ended.*Start all processes'):
        exchange(Lost(2), 0, 2, {})


@pytest.mark.parametrize('missing', [False, True])
def test_processes_meet_once_all_of_them_have_come(monkeypatch, missing):
    class Late(Store):
        def blocking_key_value_get(self, key, milliseconds):
            looks.append(key)
            if len(looks) > 4 and missing:
                raise jax.errors.JaxRuntimeError('UNAVAILABLE: connection closed')
            if len(looks) == 3 and not missing:
                self.key_value_set('mer_jax/start/met/1', 'here')
            return super().blocking_key_value_get(key, milliseconds)

    looks = []
    monkeypatch.setattr(distributed.global_state, 'client', Late(2))
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax, 'process_index', lambda: 0)
    with pytest.raises(ValueError, match='has ended') if missing else contextlib.nullcontext():
        meet()
    own, other = 'mer_jax/start/met/0', 'mer_jax/start/met/1'
    assert looks == [own] + [other] * (4 if missing else 2)


def test_equal_facts_pass():
    check_same(told({'seed': 0, 'learn.kl': 0.1}, {'seed': 0, 'learn.kl': 0.1}))


def test_a_key_that_differs_is_named_with_all_values_and_processes():
    facts = {'seed': 0}, {'seed': 3}, {'seed': 0}
    with pytest.raises(ValueError, match=r'^seed=0 in process 0, 2, but 3 in process 1: all proc'):
        check_same(told(*facts))
    with pytest.raises(ValueError, match='new=nothing in process 0, but true in process 1'):
        check_same(told({}, {'new': True}))


def test_of_many_keys_that_differ_three_are_named():
    facts = [{f'key{n}': process for n in range(5)} for process in range(2)]
    with pytest.raises(ValueError, match='key2=0 in .*; 2 more keys differ'):
        check_same(told(*facts))


def test_the_error_of_one_process_ends_all_with_its_message():
    with pytest.raises(ValueError, match='^process 1 cannot start: learn.kl=-1.0: must be'):
        check_same(told({'seed': 0}, {}, error='learn.kl=-1.0: must be'))


def test_the_error_of_the_first_process_ends_the_others_too():
    told = [{'error': 'no disk', 'facts': {}}, {'error': '', 'facts': {}}]
    with pytest.raises(ValueError, match='^process 0 cannot start: no disk'):
        check_same(told)


def test_a_process_alone_has_nobody_to_agree_with():
    agree({'seed': 0})
    with pytest.raises(OSError, match='disk'):
        agree({'seed': 0}, OSError('disk'))


def test_the_digest_of_the_code_is_the_same_each_time():
    assert digest_of_code() == digest_of_code() and len(digest_of_code()) == 16
