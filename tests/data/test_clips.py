"""Manifests: clips come back as they were written, and a bad line is refused by its place."""

import json
import re

import numpy as np
import pytest

from mer_jax.data.clips import Clip, read_manifest, write_manifest

GOOD = {'id': 'a', 'video': 'films/a.mp4', 'words': ['sad', 'lonely']}


def manifest(folder, *records):
    """The path of a manifest of these records, or of lines that are no records."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path = folder / 'manifest.jsonl'
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return path


def test_a_manifest_gives_back_the_clips_that_were_written(tmp_path):
    clips = [
        Clip(id='a', video=str(tmp_path / 'films' / 'a.mp4'), words=('sad',), answer=('sad',)),
        Clip(id='b', audio=str(tmp_path / 'b.wav'), image=str(tmp_path / 'b.png'), words=('fond',)),
        Clip(id='d', image=(str(tmp_path / 'b.png'), str(tmp_path / 'c.png')), words=('fond',)),
        Clip(
            id='c',
            subtitle='“so” — \u2028 不',
            words=('happy', 'proud'),
            cues=('The face is wide.',),
            question='What do they feel?',
            reasoning='face wide: happy.',
            source='film 7',
        ),
    ]
    write_manifest(tmp_path / 'manifest.jsonl', clips)
    assert read_manifest(tmp_path / 'manifest.jsonl') == clips


def test_paths_are_written_relative_to_the_folder_of_the_manifest(tmp_path):
    clip = Clip(id='a', video=str(tmp_path / 'films' / 'a.mp4'), words=('sad',))
    write_manifest(tmp_path / 'manifest.jsonl', [clip])
    record = json.loads((tmp_path / 'manifest.jsonl').read_text('utf-8'))
    assert record == {'id': 'a', 'video': 'films/a.mp4', 'words': ['sad']}


def test_several_images_are_written_as_a_list(tmp_path):
    images = (str(tmp_path / 'b.png'), str(tmp_path / 'films' / 'a.png'))
    clip = Clip(id='a', image=images, words=('sad',))
    write_manifest(tmp_path / 'manifest.jsonl', [clip])
    record = json.loads((tmp_path / 'manifest.jsonl').read_text('utf-8'))
    assert record == {'id': 'a', 'image': ['b.png', 'films/a.png'], 'words': ['sad']}


def test_the_images_of_a_clip_are_a_tuple_of_none_one_or_several():
    assert Clip('a').images == ()
    assert Clip('a', image='b.png').images == ('b.png',)
    assert Clip('a', image=('b.png', 'c.png')).images == ('b.png', 'c.png')


def test_blank_lines_and_null_media_are_skipped(tmp_path):
    path = manifest(tmp_path, GOOD | {'audio': None}, '', '   ')
    assert read_manifest(path) == [
        Clip(id='a', video=str(tmp_path / 'films/a.mp4'), words=('sad', 'lonely'))
    ]


@pytest.mark.parametrize(
    ('record', 'said'),
    [
        ('{"id": "b",', 'one JSON object'),
        ('["b"]', "one JSON object, not ['b']"),
        ({'video': 'b.mp4', 'words': ['sad']}, 'id=None'),
        (GOOD | {'id': ' '}, "id=' '"),
        (GOOD | {'id': 7}, 'id=7'),
        (GOOD, "id='a' must be unique; line 1"),
        ({'id': 'b', 'video': 'b.mp4'}, 'words=None must hold at least one gold word'),
        (GOOD | {'id': 'b', 'words': []}, 'words=[]'),
        (GOOD | {'id': 'b', 'words': 'sad'}, "words='sad' must be a list"),
        (GOOD | {'id': 'b', 'words': ['sad', '']}, 'none empty'),
        (GOOD | {'id': 'b', 'cues': [1]}, 'cues=[1]'),
        (GOOD | {'id': 'b', 'subtitle': 3}, 'subtitle=3 must be a string'),
        (GOOD | {'id': 'b', 'question': ['Why?']}, "question=['Why?'] must be a string"),
        (GOOD | {'id': 'b', 'source': 7}, 'source=7 must be a string'),
        (GOOD | {'id': 'b', 'subtitle': '\ud800'}, 'surrogates not allowed'),
        (GOOD | {'id': '\udcff'}, 'surrogates not allowed'),
        (GOOD | {'id': 'b', 'vidoe': 'b.mp4'}, "vidoe='b.mp4' is not a key"),
        (GOOD | {'id': 'b', 'fps': 2}, 'fps=2 is not a key'),
        ({'id': 'b', 'words': ['sad']}, 'needs one of video, audio, image, subtitle'),
        (GOOD | {'id': 'b', 'video': '../b.mp4'}, "video='../b.mp4' must stay below"),
        (GOOD | {'id': 'b', 'audio': 'x/../../b.wav'}, "audio='x/../../b.wav' must stay below"),
        (GOOD | {'id': 'b', 'image': '/b.png'}, "image='/b.png' must stay below"),
        (GOOD | {'id': 'b', 'video': 5}, 'video=5 must be a path'),
        (GOOD | {'id': 'b', 'video': ['b.mp4']}, "video=['b.mp4'] must be a path"),
        (GOOD | {'id': 'b', 'image': []}, 'image=[] must be a path, a list of paths'),
        (GOOD | {'id': 'b', 'image': ['b.png', None]}, "image=['b.png', None] must be a path"),
        (GOOD | {'id': 'b', 'image': ['b.png', 5]}, 'image=5 must be a path'),
        (GOOD | {'id': 'b', 'image': ['b.png', '../c.png']}, "image='../c.png' must stay below"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_key_and_value(tmp_path, record, said):
    path = manifest(tmp_path, GOOD, record)
    with pytest.raises(ValueError, match=re.escape(f'{path}:2: ') + '.*' + re.escape(said)):
        read_manifest(path)


@pytest.mark.parametrize(
    ('written', 'words'),
    [
        (['sad.', 'angry'], ('sad', 'angry')),
        (['ｓａｄ', 'angry'], ('sad', 'angry')),
        (['sad, lonely'], ('sad', 'lonely')),
        (['SAD', 'sad'], ('sad',)),
        (["['sad' 'lonely']"], ('sad', 'lonely')),
        (['self‑conscious', ' at  ease '], ('self-conscious', 'at ease')),
        (['sad', 'nan'], ('sad',)),
        (['sad</answer>', r'\boxed{\text{lonely}}'], ('sad', 'lonely')),
    ],
)
def test_gold_words_are_read_as_the_score_reads_them(tmp_path, written, words):
    (clip,) = read_manifest(manifest(tmp_path, GOOD | {'words': written, 'answer': written}))
    assert clip.words == clip.answer == words


@pytest.mark.parametrize('words', [['nan'], ['None', '-'], ['12']])
def test_a_clip_without_a_gold_word_is_refused(tmp_path, words):
    with pytest.raises(ValueError, match=re.escape(f':1: words={words!r} must hold at least one')):
        read_manifest(manifest(tmp_path, GOOD | {'words': words}))


def test_bytes_that_are_not_utf_8_are_refused_with_file_and_line(tmp_path):
    path = tmp_path / 'manifest.jsonl'
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(ValueError, match=re.escape(f'{path}:2: ')):
        read_manifest(path)


def test_an_empty_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match='needs at least one clip'):
        read_manifest(manifest(tmp_path, ''))


@pytest.mark.parametrize(
    ('clips', 'said'),
    [
        ([Clip(id='a', video=np.zeros((2, 28, 28, 3), np.uint8), words=('sad',))], 'save it first'),
        ([Clip(id='a', image=('a.png', np.zeros((28, 28, 3), np.uint8)))], 'save it first'),
        ([Clip(id='a', subtitle='oh', words=('sad',))] * 2, 'must be unique'),
        ([Clip(id='a', subtitle='oh')], 'at least one gold word'),
        ([Clip(id='a', video='/elsewhere/a.mp4', words=('sad',))], 'must stay below'),
    ],
)
def test_clips_that_could_not_be_read_back_are_not_written(tmp_path, clips, said):
    with pytest.raises(ValueError, match=said):
        write_manifest(tmp_path / 'manifest.jsonl', clips)
    assert not (tmp_path / 'manifest.jsonl').exists()
