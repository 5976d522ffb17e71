"""The command: flags, a missing library, and the page in a real headless browser."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time

import forks
import pytest
from programs import environment

from mer_jax.demo.__main__ import MISSING, check_address, main, prepare_gradio, read_flags
from mer_jax.demo.stage_examples import write_examples


def leave(capsys, *arguments):
    """The message with which the command ends before it loads a checkpoint."""
    with pytest.raises(SystemExit) as left:
        main(['--checkpoint', 'absent', *arguments])
    return f'{left.value.code} {capsys.readouterr().err}'


@pytest.mark.parametrize(
    ('flag', 'value'),
    [
        ('--samples', '0'),
        ('--waiting', '0'),
        ('--examples', '0'),
        ('--max-mb', '0'),
        ('--max-seconds', '0'),
        ('--max-seconds', '300'),
        ('--prompt-tokens', '-1'),
        ('--seed', '-1'),
        ('--port', '65536'),
    ],
)
def test_a_flag_that_cannot_be_met_is_named(flag, value, capsys):
    assert f'{flag}={value}: must be' in leave(capsys, flag, value)


def test_the_page_listens_on_this_machine_alone_by_default():
    assert read_flags(['--checkpoint', 'run']).host == '127.0.0.1'


def test_without_gradio_a_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert MISSING in leave(capsys) and 'requirements-demo.txt' in MISSING


def test_an_address_that_is_taken_is_named_before_anything_is_loaded():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f'--host=127.0.0.1 --port={port}: cannot listen'):
            check_address('127.0.0.1', port)
    check_address('127.0.0.1', port)


def test_settings_of_gradio_in_the_environment_do_not_open_the_page(monkeypatch, tmp_path):
    found = {'GRADIO_SHARE': 'True', 'GRADIO_ALLOWED_PATHS': '/', 'NO_PROXY': 'a.example'}
    monkeypatch.setattr(os, 'environ', found)
    prepare_gradio(tmp_path)
    assert 'GRADIO_SHARE' not in found and 'GRADIO_ALLOWED_PATHS' not in found
    assert found['GRADIO_ANALYTICS_ENABLED'] == 'False'
    assert found['GRADIO_TEMP_DIR'] == str(tmp_path / 'uploads')
    assert found['NO_PROXY'] == 'a.example,127.0.0.1,localhost'


@pytest.fixture
def page(omni_folder):
    """The address of a served page of a small checkpoint; its process, which the test may end."""
    for library in ('gradio', 'selenium'):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f'{library} is not installed: pip install -r requirements-test.txt')
    for program in ('chromium', 'chromedriver'):
        if subprocess.run(['sh', '-c', f'{program} --version'], capture_output=True).returncode:
            pytest.skip(f'{program} is not installed: apt-get install chromium chromium-driver')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    asked = ('--port', port, '--samples', 2, '--examples', 1, '--max-seconds', 5)
    fork = forks.Fork('mer_jax.demo', '--checkpoint', omni_folder, *asked, variables=environment())
    while not (found := re.search('the page is at (http.*?) ', fork.stdout)):
        assert fork.poll() is None, fork.stderr
        time.sleep(0.1)
    yield found[1], fork
    fork.send_signal(signal.SIGTERM)
    fork.wait(30)


@pytest.mark.slow
def test_a_browser_shows_answers_and_messages_and_asks_no_other_server(page, tmp_path):
    import browser  # imports Selenium

    address, fork = page
    ((film, _),) = write_examples(tmp_path / 'clips', 1, 'films')
    (tmp_path / 'bad.mp4').write_text('<script>document.title = "hostile"</script>')
    with browser.opened(address, tmp_path / 'profile') as visitor:
        visitor.upload(film)
        first = visitor.answer()
        assert 'Fast' in first and 'Slow' in first and 'samples of each mode' in first
        uploads = visitor.address_of_upload().partition('/gradio_api/file=')[2]
        assert os.path.isfile(uploads)
        visitor.upload(tmp_path / 'bad.mp4')
        assert visitor.answer().startswith('bad.mp4: cannot be decoded')
        visitor.take_example()
        third = visitor.answer()
        assert 'Fast' in third and 'test-1-000000.mp4' in third
        assert visitor.title().startswith('mer_jax')
        assert visitor.asked_elsewhere(address) == []
    fork.send_signal(signal.SIGTERM)
    assert fork.wait(30) == 0 and fork.stderr == ''
    assert not os.path.exists(uploads)
