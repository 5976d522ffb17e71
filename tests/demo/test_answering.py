"""Files of visitors as function calls: good ones are answered, bad ones get a plain message."""

import re
import wave

import av
import media_files
import numpy as np
import pytest
import small
from PIL import Image

from mer_jax.demo import answering
from mer_jax.demo.answering import BROKEN, MOST_LETTERS, NO_CLIP, Answerer, told
from mer_jax.demo.limits import Limits
from mer_jax.demo.stage_examples import write_examples
from mer_jax.run.defaults import mer_r1
from mer_jax.run.setting import Setting
from mer_jax.storage.paths import StorageError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('uploads')


@pytest.fixture(scope='module')
def answerer(folder):
    """An answerer without a policy, which no bad file reaches."""
    setting = Setting(small.shrink(mer_r1()))
    return Answerer(setting, None, folder, Limits(1, 4), most=3, trained=120)


@pytest.fixture(scope='module')
def example(folder):
    ((path, _),) = write_examples(folder / 'examples', 1, 'films')
    return path


def sample(setting, policy, example, modes, samples, seed):
    """Samples in place of those of a policy: sample n of a mode names `happy` n times out of 2."""
    said = {'text': 'all of it', 'think': 'voice bright', 'formed': True, 'confidence': {}}
    return {
        mode: [said | {'words': ['happy'] if n % 2 == 0 else ['sad']} for n in range(samples)]
        for mode in modes
    }


def message(answerer, path, subtitle='', samples=1):
    """The message in place of answers."""
    found = re.fullmatch(
        '<div class="mer message" role="alert">(.*)</div>',
        answerer.page(path and str(path), subtitle, samples),
    )
    assert found and str(answerer.folder) not in found[1] and 'Traceback' not in found[1]
    return found[1]


def test_a_clip_is_answered_fast_and_slow(answerer, example, monkeypatch):
    monkeypatch.setattr(answering, 'sample', sample)
    page = answerer.page(example, 'I am <fine>.', 2)
    assert 'happy<small>1 of 2</small>' in page and '2 samples of each mode (3 grow' in page
    assert '“I am &lt;fine&gt;.”' in page and '<mark class="cue-voice">bright</mark>' in page
    assert str(answerer.folder) not in page


def test_the_frames_shown_are_as_many_as_the_prompt_takes(answerer, folder, monkeypatch):
    monkeypatch.setattr(answering, 'sample', sample)
    film = media_files.write_film(folder / 'three_seconds.mp4', frames=24)
    assert len(answerer.answer(str(film), '', 1).look.frames) == 4


def test_a_subtitle_is_one_line_of_letters_that_can_be_shown(answerer, example, monkeypatch):
    monkeypatch.setattr(answering, 'sample', sample)
    page = answerer.page(example, ' I am\n fine\ud800 ', 1)
    assert '“I am fine\\ud800”' in page and page.encode()


@pytest.mark.parametrize(('asked', 'shown'), [(0, 1), (-3, 1), (2.0, 2), (99, 3)])
def test_samples_are_held_within_the_slider(answerer, example, asked, shown, monkeypatch):
    monkeypatch.setattr(answering, 'sample', sample)
    assert answerer.answer(example, '', int(asked)).samples == shown


def test_pictures_and_sounds_share_the_program_of_the_example(answerer, example, monkeypatch):
    monkeypatch.setattr(answering, 'sample', sample)
    lines = []
    answerer.warm_up(example, lines.append)
    picture = answerer.folder / 'a.png'
    Image.new('RGB', (60, 40), 'red').save(picture)
    heard = media_files.write_wave(answerer.folder / 'a.wav', media_files.noise(), 16_000)
    assert [answerer.answer(str(path), '', 1).compiled for path in (picture, heard)] == [False] * 2
    assert len(lines) == 2


def write_damaged(folder, example):
    """Bad files by name, with words of the message that each of them gets."""
    with wave.open(str(folder / 'long.wav'), 'wb') as file:
        file.setparams((1, 2, 8000, 0, 'NONE', ''))
        file.writeframes(bytes(2 * 8000 * 5))
    with open(example, 'rb') as file:
        whole = file.read()
    (folder / 'text.mp4').write_text('no film')
    (folder / 'empty.mp4').touch()
    (folder / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    (folder / 'playlist.m3u8').write_text('#EXTM3U\nfile:///etc/passwd\n')
    (folder / 'big.mp4').write_bytes(bytes(2**20 + 1))
    (folder / 'folder.mp4').mkdir()
    Image.new('1', (9000, 9000)).save(folder / 'huge.png')
    Image.new('RGB', (4000, 4)).save(folder / 'thin.png')
    media_files.write_film(folder / 'long.mp4', frames=40)
    with av.open(str(folder / 'frameless.mkv'), 'w') as container:
        container.add_stream('libx264', rate=8).width = 64
        container.start_encoding()
    noise = np.random.default_rng(0).bytes(3000)
    (folder / 'noise.webm').write_bytes(whole[:64] + noise)


MESSAGES = {
    'text.mp4': 'cannot be decoded',
    'empty.mp4': 'is empty',
    'cut.mp4': 'cannot be decoded',
    'playlist.m3u8': 'cannot be decoded',
    'big.mp4': '--max-mb=1',
    'folder.mp4': 'not a file',
    'huge.png': 'make them smaller|more than',
    'thin.png': 'one side is over 200 times the other',
    'long.mp4': '--max-seconds=4',
    'long.wav': '--max-seconds=4',
    'frameless.mkv': 'cannot be decoded|frames|neither',
    'noise.webm': 'cannot be decoded',
    'absent.mp4': 'no such file',
}


@pytest.fixture(scope='module')
def damaged(folder, example):
    write_damaged(folder, example)


@pytest.mark.parametrize('name', MESSAGES)
def test_a_bad_file_gets_a_message_with_its_name(answerer, folder, damaged, name):
    text = message(answerer, folder / name)
    assert text.startswith(f'{name}: ') and text.count(name) == 1
    assert re.search(MESSAGES[name], text)


def test_after_a_bad_file_the_next_clip_is_answered(
    answerer, folder, damaged, example, monkeypatch
):
    monkeypatch.setattr(answering, 'sample', sample)
    message(answerer, folder / 'text.mp4')
    assert 'class="columns"' in answerer.page(example, '', 1)


def test_a_prompt_that_is_too_long_names_the_flag(answerer, example):
    assert '--prompt-tokens' in message(answerer, example, 'a b c ' * 60)


def test_files_outside_the_folder_are_not_read(answerer, folder, tmp_path, example):
    outside = media_files.write_film(tmp_path / 'other.mp4', frames=8)
    assert message(answerer, outside) == 'other.mp4: there is no such file'
    (folder / 'link.mp4').symlink_to(outside)
    for path in (folder / 'link.mp4', folder / '..' / outside.name, 'gs://bucket/a.mp4'):
        assert 'there is no such file' in message(answerer, path)


def test_no_clip_and_a_long_subtitle_are_told(answerer, example):
    assert message(answerer, None) == NO_CLIP and message(answerer, '') == NO_CLIP
    assert f'{MOST_LETTERS} letters' in message(answerer, example, 'a' * (MOST_LETTERS + 1))


def test_an_error_of_the_program_is_logged_and_not_shown(answerer, example, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError(f'secret of {answerer.folder}')

    monkeypatch.setattr(answering, 'sample', fail)
    assert message(answerer, example) == BROKEN
    assert 'secret' in caplog.text


def test_an_error_of_the_device_is_explained(answerer, example, monkeypatch):
    def fail(*_):
        raise RuntimeError('RESOURCE_EXHAUSTED: 3 GiB')

    monkeypatch.setattr(answering, 'sample', fail)
    assert 'out of memory' in message(answerer, example)


def test_messages_hold_no_path_of_the_server(folder):
    path = str(folder / 'a.mp4')
    assert told(OSError(28, 'x', path), path, folder) == 'a.mp4: no space left on device'
    assert told(StorageError(f'{path}: x in {folder}/b'), path, folder) == 'a.mp4: x in /b'


def test_examples_are_held_out_clips_as_files(folder):
    films = write_examples(folder / 'films', 2, 'films')
    pictures = write_examples(folder / 'pictures', 1, 'away')
    assert [path.rsplit('.', 1)[1] for path, _ in films + pictures] == ['mp4', 'mp4', 'png']
    assert all('test-1-' in path for path, _ in films + pictures) and films[0][1]


def test_the_answers_of_a_visitor_wait_for_those_of_another(answerer, example, monkeypatch):
    def check(*arguments):
        assert answerer.turn.locked()
        return sample(*arguments)

    monkeypatch.setattr(answering, 'sample', check)
    assert 'class="columns"' in answerer.page(example, '', 1)
    assert not answerer.turn.locked()
