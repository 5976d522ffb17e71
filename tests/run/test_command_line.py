"""Messages and flags of the commands."""

import os
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from mer_jax.run import defaults
from mer_jax.run.command_line import config_file, keys_of, leave, printable, read_flags


def test_a_message_takes_one_line_and_keeps_letters():
    assert printable('Grüße, 笑顔') == 'Grüße, 笑顔'
    assert printable('a\nb\x1b[2J') == 'a\\nb\\x1b[2J'
    assert printable(os.fsdecode(b'a\xff.mp4')) == 'a\\udcff.mp4'


def test_a_command_exits_with_its_message_and_status(capsys):
    with pytest.raises(SystemExit) as left:
        leave('no such\nfile', 2)
    assert left.value.code == 2
    assert capsys.readouterr().err == 'mer_jax: no such\\nfile\n'


def test_the_keys_of_a_flag_are_those_of_the_config():
    assert keys_of('--config.learn.kl=0.1') == ['learn', 'kl']
    assert keys_of('--workdir=runs/a.b') == []


def test_the_config_file_is_named_without_its_variant():
    assert config_file(['x', '--config=a/b.py:small', '--config.steps=3']) == 'a/b.py'
    assert config_file(['x', '--config', 'a/b.py', '--workdir=w']) == 'a/b.py'
    assert config_file(['x', '--config.steps=3']) is None


# The library of flags loads a config file in a way that Python deprecates.
LOADS = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


@pytest.fixture
def parsed(monkeypatch):
    """The config that arguments give, in flags of this test alone."""

    def parse(*arguments):
        monkeypatch.setattr(sys, 'argv', ['main', *arguments])
        monkeypatch.delitem(sys.modules, 'config_config', raising=False)  # of an earlier test
        monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())
        config_flags.DEFINE_config_file('config', lock_config=True, flag_values=flags.FLAGS)
        read_flags(sys.argv, defaults.__file__)
        return flags.FLAGS['config'].value

    return parse


@LOADS
def test_keys_change_the_default_config_where_no_file_is_named(parsed):
    assert parsed('--config.learn.kl=0.5').learn.kl == 0.5


BODIES = [  # a config file, and what its message holds
    ('def get_config():\n    return {}["boom"]\n', ['line 2', "KeyError: 'boom'", 'mend the file']),
    ('def get_config():\n    return 1 / 0\n', ['line 2', 'ZeroDivisionError: division by zero']),
    ('def get_config():\n    raise ValueError("a\\nb")\n', ['line 2 raises ValueError: a b']),
    ('x = [].no\n', ['line 1', 'AttributeError']),
    ('def get_config(:\n', ['line 1: invalid syntax', 'mend the file']),
    ('x = 1\n', ['must define get_config()']),
    ('def get_config():\n    return 3\n', ['must return a ConfigDict, and returns int']),
]


@LOADS
@pytest.mark.parametrize('changes', [(), ('--config.learn.kl=0.5',)])
@pytest.mark.parametrize(('body', 'parts'), BODIES)
def test_a_config_file_that_cannot_be_used_is_named(parsed, capsys, tmp_path, body, parts, changes):
    file = tmp_path / 'own.py'
    file.write_text(body)
    with pytest.raises(SystemExit):
        parsed(f'--config={file}', *changes)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f'mer_jax: --config={file}: ')
    assert [part for part in parts if part not in said] == []


FLAGS = [
    ('--config=nope.py', '--config=nope.py: no such file; name a config'),
    ('--config.learn.kll=1', '--config.learn.kll=1: the config has no such key: kll Did you mean'),
    ('--config.steps.few=1', '--config.steps.few=1: the config has no such key'),
    ('--config.learn.kl=low', 'flag --config.learn.kl=low: could not convert string to float'),
]


@LOADS
@pytest.mark.parametrize(('flag', 'message'), FLAGS)
def test_a_flag_that_cannot_be_used_is_named(parsed, capsys, flag, message):
    with pytest.raises(SystemExit):
        parsed(flag)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f'mer_jax: {message}')
