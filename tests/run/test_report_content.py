"""The clips, the title and the commit that a report shows."""

import functools
import pathlib
import subprocess
import types

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.stage import stage
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods.mer_r1 import is_right
from mer_jax.run import report_content
from mer_jax.run.report_content import (
    answers_with_frames,
    commit,
    example_clips,
    right_words,
    shown_pictures,
    title_of,
)

FRAMES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


@pytest.fixture
def setting(config):
    clips = [Clip(f'clip {i}', video=FRAMES, subtitle='Fine.', words=('sad',)) for i in range(9)]
    return types.SimpleNamespace(
        config=config,
        test_clips=clips,
        method=types.SimpleNamespace(
            title='MER-R1', right=functools.partial(is_right, load_wheels(('ekman',)))
        ),
    )


def row(name, *words):
    return {'id': name, 'gold': ('sad',), 'fast': {'words': words[:1]}, 'slow': {'words': words}}


def test_the_first_clips_are_shown_with_their_answers_before_and_after(setting):
    names = [f'clip {i}' for i in range(1, 9)]  # the first clip was damaged
    before, after = ([row(name, word) for name in names] for word in ('happy', 'sad'))
    shown = example_clips(setting, before, after)
    assert [clip['id'] for clip in shown] == names[:6]
    assert shown[0].pop('frames') is FRAMES
    assert shown[0] == {
        'id': 'clip 1',
        'subtitle': 'Fine.',
        'gold': ['sad'],
        'hit': ['sad'],
        'before': {'fast': {'words': ('happy',)}, 'slow': {'words': ('happy',)}},
        'after': {'fast': {'words': ('sad',)}, 'slow': {'words': ('sad',)}},
    }


def test_answers_of_a_table_have_a_frame_of_their_clip(setting):
    rows = [row(f'clip {i}', 'happy', 'sad') for i in (1, 2, 3)]
    for one in rows:
        one['slow']['think'] = 'He smiles.'
    first, second = answers_with_frames(setting, setting.test_clips, rows, 2)
    np.testing.assert_array_equal(first.pop('frame'), FRAMES[1])
    assert second['id'] == 'clip 2'
    assert first == {
        'id': 'clip 1',
        'subtitle': 'Fine.',
        'gold': 'sad',
        'fast': 'happy',
        'slow': 'happy, sad',
        'reasoning': 'He smiles.',
    }
    heard = [Clip('clip 1', words=('sad',))]
    assert answers_with_frames(setting, heard, rows)[0]['frame'] is None


def test_words_in_a_category_of_a_gold_word_are_right(setting):
    angry = row('a', 'rage', 'sad') | {'gold': ('annoyance',)}
    assert right_words(setting, angry, row('a', 'criticism', 'no such word')) == [
        'criticism',
        'rage',
    ]


def test_frames_come_from_arrays_films_and_images_and_a_sound_has_none(tmp_path):
    assert (shown_pictures(Clip('a', image=FRAMES[0]), 2.0) == FRAMES[:1]).all()
    assert shown_pictures(Clip('a', video=FRAMES), 2.0) is FRAMES
    assert shown_pictures(Clip('a', audio='a.wav'), 2.0).shape[0] == 0
    stage.write(tmp_path / 'films', clips=1, seed=5, split='test', sheet=False)
    film = next((tmp_path / 'films').rglob('*.mp4'))
    frames = shown_pictures(Clip('a', video=str(film)), 2.0)
    assert frames.dtype == np.uint8 and 1 <= len(frames) <= 6


def test_the_title_names_the_method_and_the_data(setting):
    assert title_of(setting) == 'MER-R1 on the embedded stage'
    setting.config.data.manifest = '/home/somebody/clips.jsonl'
    assert title_of(setting) == 'MER-R1 on clips.jsonl'


def test_a_checkout_has_the_commit_of_its_head(tmp_path, monkeypatch):
    git = ['git', '-C', tmp_path, '-c', 'user.name=a', '-c', 'user.email=a@b.c']
    subprocess.run(['git', 'init', '-q', tmp_path], check=True)
    subprocess.run([*git, 'commit', '-q', '--allow-empty', '-m', 'one'], check=True)
    monkeypatch.setattr(report_content, 'ROOT', pathlib.Path(tmp_path))
    assert len(commit()) >= 7 and set(commit()) <= set('0123456789abcdef')


def test_an_installed_package_has_no_commit_even_inside_a_repository(tmp_path, monkeypatch):
    subprocess.run(['git', 'init', '-q', tmp_path], check=True)
    monkeypatch.setattr(report_content, 'ROOT', pathlib.Path(tmp_path) / 'site-packages')
    assert commit() is None
