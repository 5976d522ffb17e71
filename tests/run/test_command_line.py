"""Messages and flags of the commands."""

import os

import pytest

from mer_jax.run.command_line import keys_of, leave, printable


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
