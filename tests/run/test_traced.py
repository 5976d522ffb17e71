"""Programs of a run are traced once: a later start reads them, and nothing else is read."""

import contextlib
import logging
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mer_jax.group import Branches, Keys, Rollout
from mer_jax.run import all_defaults, traced
from mer_jax.run.config_rules import flat
from mer_jax.run.traced import keep_traced, load_ahead
from mer_jax.sharding import make_mesh

X = np.arange(3, dtype=np.float32)


class Tokenizer:
    """As much of a tokenizer as is hashed."""

    def __init__(self, text):
        self.backend_tokenizer = types.SimpleNamespace(to_str=lambda: text)


class Traces:
    """A program that notes each time that it is traced."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *arguments):
        self.count += 1
        return self.function(*arguments)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """As much of a Setting as decides about a traced program."""
    monkeypatch.setattr(traced, '_AHEAD', {})
    return types.SimpleNamespace(
        traced=tmp_path / 'traced',
        mesh=make_mesh(1, 1, 1, jax.devices()[:1]),
        config=ConfigDict({'optim': {'b2': 0.9}}),
        spec='small',
        wheels=None,
        tokenizer=Tokenizer('{}'),
        in_use=contextlib.nullcontext,
    )


def start(setting, function=lambda x: {'twice': 2 * x}, donates=False):
    """A program as a new start of a run has it, and the function that counts its traces."""
    counted = Traces(function)
    return keep_traced(setting, 'double', jax.jit(counted), donates), counted


def files(setting):
    return list(setting.traced.glob('*'))


def test_a_second_start_gives_the_same_and_traces_nothing(setting):
    first, traces = start(setting)
    assert (first(X)['twice'] == 2 * X).all() and (first(X + 1)['twice'] == 2 * X + 2).all()
    assert traces.count == 1 and len(files(setting)) == 1
    again, traces = start(setting)
    assert (again(X)['twice'] == 2 * X).all()
    assert traces.count == 0 and len(files(setting)) == 1


@pytest.mark.parametrize('key', ['config', 'spec', 'words', 'XLA_FLAGS'])
def test_everything_that_a_program_depends_on_tells_its_file(setting, key, monkeypatch):
    start(setting)[0](X)
    if key == 'config':
        setting.config.optim.b2 = 0.99
    elif key == 'spec':
        setting.spec = 'large'
    elif key == 'words':
        setting.tokenizer = Tokenizer('{"a": 1}')
    else:
        monkeypatch.setenv('XLA_FLAGS', '--other')
    again, traces = start(setting)
    again(X)
    assert traces.count == 1 and len(files(setting)) == 2


def test_keys_that_no_program_depends_on_change_no_file(setting):
    start(setting)[0](X)
    setting.config.update({'steps': 3, 'seed': 7, 'every': {'save': 2}, 'data': {'cache': 'a'}})
    again, traces = start(setting)
    again(X)
    assert traces.count == 0 and len(files(setting)) == 1


@pytest.mark.parametrize('method', all_defaults.DEFAULTS)
def test_keys_that_no_program_depends_on_exist(method):
    keys = flat(all_defaults.DEFAULTS[method].stage())
    for key in traced.UNTRACED:
        assert any(known.startswith(key) for known in keys), key


@pytest.mark.parametrize('x', [X[:2], X.astype(np.int32)])
def test_other_arguments_have_a_program_of_their_own(setting, x):
    program, traces = start(setting)
    program(X)
    assert (program(x)['twice'] == 2 * x).all()
    assert traces.count == 2 and len(files(setting)) == 2


def test_a_state_is_donated_and_comes_back_as_the_tree_that_it_was(setting):
    def step(state, x):
        weights, moments = state
        return (weights + x, moments), {'loss': x.sum()}

    for count in (1, 0):
        program, traces = start(setting, step, donates=True)
        state = jnp.zeros(3), [jnp.ones(3)]
        (weights, (moment,)), figures = program(state, X)
        assert state[0].is_deleted() and state[1][0].is_deleted()
        assert (weights == X).all() and (moment == 1).all() and figures['loss'] == 3
        assert traces.count == count


def test_a_rollout_comes_back_whole(setting):
    def grow(x):
        branches = Branches(token=x, mask=x > 0, logp=-x, watched=())
        return Rollout(branches=branches, features=3 * x, keys=Keys(k=x, v=4 * x))

    for count in (1, 0):
        program, traces = start(setting, grow)
        found = program(X)
        assert jax.tree.structure(found) == jax.tree.structure(grow(X))
        assert jax.tree.all(jax.tree.map(np.array_equal, found, grow(X)))
        assert traces.count == count


def test_a_program_that_is_loaded_ahead_gives_the_same_and_is_read_once(setting, monkeypatch):
    program, _ = start(setting)
    program(X[:2])
    program(X)
    reads = Traces(traced._read)
    monkeypatch.setattr(traced, '_read', reads)
    load_ahead(setting, ['none', 'double'])
    again, traces = start(setting)
    assert (again(X)['twice'] == 2 * X).all() and (again(X + 1)['twice'] == 2 * X + 2).all()
    assert (traces.count, reads.count) == (0, 1)
    assert (again(X[:2])['twice'] == 2 * X[:2]).all()  # written before, so not loaded ahead
    assert (traces.count, reads.count) == (0, 2)


def test_a_state_is_donated_to_a_program_that_was_loaded_ahead(setting):
    def step(state, x):
        return [state[0] + x], {'loss': x.sum()}

    start(setting, step, donates=True)[0]([jnp.zeros(3)], X)
    load_ahead(setting, ['double'])
    program, traces = start(setting, step, donates=True)
    state = [jnp.zeros(3)]
    (weights,), figures = program(state, X)
    assert state[0].is_deleted() and (weights == X).all() and figures['loss'] == 3
    assert traces.count == 0


def test_a_damaged_file_that_is_loaded_ahead_is_written_anew(setting):
    start(setting)[0](X)
    (file,) = files(setting)
    file.write_bytes(b'')
    load_ahead(setting, ['double'])
    program, traces = start(setting)
    assert (program(X)['twice'] == 2 * X).all() and traces.count == 1
    assert file.stat().st_size


def test_a_damaged_file_is_written_anew(setting):
    start(setting)[0](X)
    (file,) = files(setting)
    whole = file.read_bytes()
    for damaged in (b'', whole[:40], whole[:-1] + b'x'):
        file.write_bytes(damaged)
        program, traces = start(setting)
        assert (program(X)['twice'] == 2 * X).all() and traces.count == 1
        assert len(files(setting)) == 1


def test_a_folder_that_cannot_be_written_is_told_and_the_program_works(setting, tmp_path, caplog):
    (tmp_path / 'traced').write_text('a file')
    with caplog.at_level(logging.WARNING):
        assert (start(setting)[0](X)['twice'] == 2 * X).all()
    assert str(tmp_path / 'traced') in caplog.text


def test_programs_of_several_devices_and_without_a_folder_stay_as_they_are(setting):
    program = jax.jit(lambda x: x)
    folder, setting.traced = setting.traced, None
    assert keep_traced(setting, 'same', program) is program
    setting.traced, setting.mesh = folder, make_mesh(-1, 1, 1)
    assert keep_traced(setting, 'same', program) is program


def test_the_folder_lies_within_that_of_compiled_programs(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        for given, wanted in (
            (str(tmp_path), tmp_path / traced.FOLDER),
            (None, None),
            ('gs://bucket/compiled', None),
        ):
            jax.config.update('jax_compilation_cache_dir', given)
            assert traced.folder_of_traced() == wanted
    finally:
        jax.config.update('jax_compilation_cache_dir', before)
