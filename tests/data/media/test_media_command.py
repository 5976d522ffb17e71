"""The command that shows how media files are read."""

import json
import os

import numpy as np
import pytest
from media_files import BEEP, write_both, write_bytes, write_film, write_wave
from PIL import Image

from mer_jax.data.media.__main__ import main

KEYS = {
    'file',
    'kind',
    'size',
    'seconds',
    'track',
    'frames',
    'sound_seconds',
    'first_sound_above_silence',
    'notes',
}


def told(capsys, *arguments):
    """The exit status of the command, and its lines on stdout and stderr."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return left.value.code, out.splitlines(), err.splitlines()


def test_a_line_of_json_tells_of_each_file(tmp_path, capsys):
    film = write_both(tmp_path / 'a.mp4', late=0.5)
    sound = write_wave(tmp_path / 'b.wav', np.zeros((8000, 1)), 16_000)
    Image.new('RGB', (30, 20)).save(tmp_path / 'c.png')
    files = [film, sound, tmp_path / 'c.png']
    status, lines, _ = told(capsys, '--json', '--fps', 1, *files)
    seen = [json.loads(line) for line in lines]
    assert status == 0 and [set(one) for one in seen] == [KEYS] * 3
    assert [one['file'] for one in seen] == list(map(str, files))
    assert [one['kind'] for one in seen] == ['film', 'sound', 'picture']
    assert [one['size'] for one in seen] == [[64, 128], None, [20, 30]]
    assert [one['seconds'] for one in seen] == [3.0, 0.5, 0.0]
    assert seen[0]['track'] == {'film': 0, 'sound': 1}
    assert seen[1]['track'] == {'film': None, 'sound': 0}
    assert seen[0]['frames'] == pytest.approx([0, 0.72, 1.48, 2.24])
    assert seen[0]['first_sound_above_silence'] == pytest.approx(BEEP + 0.5, abs=0.02)
    assert (seen[1]['sound_seconds'], seen[1]['first_sound_above_silence']) == (0.5, None)
    assert 'silence comes before it' in ''.join(seen[0]['notes'])
    _, lines, _ = told(capsys, '--json', '--sound-start', 'sound', film)
    assert json.loads(lines[0])['first_sound_above_silence'] == pytest.approx(BEEP, abs=0.07)


def test_a_file_that_cannot_be_read_has_its_message_and_the_others_are_read(tmp_path, capsys):
    bad, film = write_bytes(tmp_path / 'a.mp4', b'no film'), write_film(tmp_path / 'b.mp4')
    status, lines, errors = told(capsys, '--json', bad, tmp_path / 'none.mp4', film)
    seen = [json.loads(line) for line in lines]
    assert status == 1 and errors == [] and seen[2]['kind'] == 'film'
    assert [set(one) for one in seen[:2]] == [{'file', 'error'}] * 2
    assert 'there is no such file' in seen[1]['error']
    status, lines, errors = told(capsys, bad, film)
    assert status == 1 and len(errors) == 1 and f'{bad}: cannot be decoded' in errors[0]
    assert lines[0].startswith(f'{film}: film, 96 x 64 pixels, 5.000 s, video track 0')


def test_names_that_begin_with_a_dash_are_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('-3g5y.mp4', '--b.mp4'):
        os.rename(write_film(tmp_path / 'a.mp4', frames=8), name)
    for arguments in (['-3g5y.mp4', '--b.mp4', '--json'], ['--json', '--', '-3g5y.mp4', '--b.mp4']):
        status, lines, _ = told(capsys, *arguments)
        assert status == 0
        assert [json.loads(line)['file'] for line in lines] == ['-3g5y.mp4', '--b.mp4']
    status, _, errors = told(capsys, '-none.mp4')
    assert status == 2 and 'comes last, after --' in errors[-1]


def test_a_contact_sheet_shows_all_files(tmp_path, capsys):
    film = write_film(tmp_path / 'a$x_1.mp4', sound=True)
    sound = write_wave(tmp_path / 'b.wav', np.zeros((0, 1)), 16_000)
    Image.new('RGB', (30, 20)).save(tmp_path / 'c.png')
    status, _, _ = told(capsys, film, sound, tmp_path / 'c.png', '--png', tmp_path / 'sheet.png')
    assert status == 0
    three = np.asarray(Image.open(tmp_path / 'sheet.png').convert('RGB'))
    told(capsys, film, '--png', tmp_path / 'one.png')
    one = np.asarray(Image.open(tmp_path / 'one.png').convert('RGB'))
    assert three.shape[0] == pytest.approx(3 * one.shape[0], abs=3) and one.std() > 10


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--fps=0'], 'must be a number above 0'),
        (['--fps=nan'], 'must be a number above 0'),
        (['--png=none/a.png'], 'make it first'),
        (['--sound-start=x'], 'invalid choice'),
    ],
)
def test_flags_out_of_range_are_refused(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    status, _, errors = told(capsys, 'a.mp4', *flags)
    assert status == 2 and message in errors[-1]
