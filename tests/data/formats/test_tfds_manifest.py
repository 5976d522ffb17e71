"""Manifests as TFDS data sets: clips come back with the bytes of their media."""

import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from mer_jax.data.clips import TEXTS, Clip, read_manifest, write_manifest
from mer_jax.data.formats import tfds_manifest
from mer_jax.data.formats.tfds_manifest import Manifest, main, prepare, read_clips

BYTES = {'a.mp4': b'\0film\xff', 'a.wav': b'sound', 'x.png': b'first', 'y.png': b'second', 'z': b''}


@pytest.fixture
def clips(tmp_path):
    """Clips of every kind, their media and their manifest in tmp_path / 'clips'."""
    folder = tmp_path / 'clips'
    folder.mkdir()
    for name, data in BYTES.items():
        (folder / name).write_bytes(data)
    images = (str(folder / 'x.png'), str(folder / 'y.png'))
    found = [
        Clip(id='é', video=str(folder / 'a.mp4'), audio=str(folder / 'a.wav'), words=('sad',)),
        Clip(id='b', image=images, words=('glad', 'proud'), cues=('A smile.',), answer=('glad',)),
        Clip(id='c', subtitle='不 “so”', question='Why?', words=('fond',), reasoning='Soft words.'),
        Clip(id='d', image=str(folder / 'z'), words=('calm',)),
    ]
    write_manifest(folder / 'manifest.jsonl', found)
    return found


def with_bytes(clip):
    """A clip with the bytes of its files in place of their paths."""

    def content(path):
        return None if path is None else open(path, 'rb').read()

    images = [content(path) for path in clip.images]
    rest = (clip.subtitle, clip.question, clip.words, clip.cues, clip.reasoning, clip.answer)
    return clip.id, content(clip.video), content(clip.audio), images, rest


def test_clips_come_back_from_a_prepared_data_set_with_the_bytes_of_their_media(tmp_path, clips):
    prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    found = read_clips(prepared, 'train', tmp_path / 'media')
    assert [with_bytes(clip) for clip in found] == [with_bytes(clip) for clip in clips]
    assert found[0].video.endswith('.mp4') and found[0].audio.endswith('.wav')
    assert isinstance(found[3].image, str)


def test_read_clips_can_be_written_as_a_manifest_again(tmp_path, clips):
    prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    found = read_clips(prepared, 'train', tmp_path / 'media')
    write_manifest(tmp_path / 'again.jsonl', found)
    assert read_manifest(tmp_path / 'again.jsonl') == found


def test_a_data_set_has_splits_slices_of_splits_and_a_version(tmp_path, clips):
    write_manifest(tmp_path / 'test.jsonl', clips[2:])
    manifests = {'train': tmp_path / 'clips' / 'manifest.jsonl', 'test': tmp_path / 'test.jsonl'}
    prepared = prepare(manifests, tmp_path / 'tfds', version='1.2.0')
    assert prepared == tmp_path / 'tfds' / 'manifest' / '1.2.0'
    builder = tfds.builder_from_directory(str(prepared))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        'train': 4,
        'test': 2,
    }
    half = read_clips(prepared, 'train[50%:]', tmp_path / 'media')
    assert [clip.id for clip in half] == ['c', 'd']


def test_the_builder_gives_random_access_without_this_module(tmp_path, clips):
    prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    source = tfds.builder_from_directory(str(prepared)).as_data_source('train')
    assert len(source) == 4
    assert source[1]['image'] == {'name': [b'x.png', b'y.png'], 'bytes': [b'first', b'second']}
    assert source[1]['words'] == [b'glad', b'proud']


def test_a_second_preparation_leaves_the_files_alone_and_other_manifests_need_another_version(
    tmp_path, clips
):
    manifest = tmp_path / 'clips' / 'manifest.jsonl'
    prepared = prepare({'train': manifest}, tmp_path / 'tfds')
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    assert prepare({'train': manifest}, tmp_path / 'tfds') == prepared
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before
    write_manifest(manifest, clips[:2])
    with pytest.raises(ValueError, match='1.0.0: was made of other manifests'):
        prepare({'train': manifest}, tmp_path / 'tfds')
    assert prepare({'train': manifest}, tmp_path / 'tfds', '1.1.0').name == '1.1.0'


def test_a_second_reading_writes_no_media(tmp_path, clips):
    prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    read_clips(prepared, 'train', tmp_path / 'media')
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'media').iterdir()}
    assert len(before) == len(BYTES)
    read_clips(prepared, 'train', tmp_path / 'media')
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'media').iterdir()}
    assert after == before


def test_a_name_inside_a_data_set_cannot_leave_the_media_folder(tmp_path, monkeypatch, clips):
    hostile = [
        {'name': '../../out.a/b', 'bytes': b'x'},
        {'name': 'y.../../evil.sh;', 'bytes': b'y'},
    ]

    def examples(self, path):
        texts = {'id': 'a'} | {key: '' for key in TEXTS}
        texts |= {'words': ['sad'], 'cues': []}
        yield 0, texts | {'answer': [], 'video': hostile, 'audio': [], 'image': []}

    monkeypatch.setattr(Manifest, '_generate_examples', examples)
    prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    (clip,) = read_clips(prepared, 'train', tmp_path / 'media')
    inside = [str(path) for path in (tmp_path / 'media').iterdir()]
    assert sorted(clip.video) == sorted(inside)
    assert all('.' not in path.rpartition('/')[2] for path in inside)


def test_a_data_set_made_before_clips_had_questions_is_read(tmp_path, monkeypatch, clips):
    with monkeypatch.context() as earlier:
        earlier.setattr(tfds_manifest, 'TEXTS', ('subtitle', 'reasoning'))
        prepared = prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    found = read_clips(prepared, 'train', tmp_path / 'media')
    assert [clip.reasoning for clip in found] == [clip.reasoning for clip in clips]
    assert {clip.question for clip in found} == {''}


def test_a_missing_media_file_is_named_and_no_data_set_is_left(tmp_path, clips):
    (tmp_path / 'clips' / 'a.wav').unlink()
    with pytest.raises(ValueError, match=r"clip 'é': audio=.*a\.wav: No such file"):
        prepare({'train': tmp_path / 'clips' / 'manifest.jsonl'}, tmp_path / 'tfds')
    assert not (tmp_path / 'tfds' / 'manifest' / '1.0.0').exists()


def test_the_command_line_prints_the_folder_and_refuses_a_split_without_a_file(
    tmp_path, clips, capsys
):
    out, manifest = str(tmp_path / 'tfds'), tmp_path / 'clips' / 'manifest.jsonl'
    main(['--out', out, f'train={manifest}'])
    assert capsys.readouterr().out.splitlines()[-1] == f'{out}/manifest/1.0.0'
    with pytest.raises(SystemExit):
        main(['--out', out, 'train'])
    assert "'train' must be SPLIT=MANIFEST" in capsys.readouterr().err


def test_no_tensorflow_is_imported(tmp_path, clips):
    manifest = tmp_path / 'clips' / 'manifest.jsonl'
    program = (
        'import sys; from mer_jax.data.formats.tfds_manifest import prepare, read_clips\n'
        f'prepared = prepare({{"train": {str(manifest)!r}}}, {str(tmp_path / "tfds")!r})\n'
        f'assert len(read_clips(prepared, "train", {str(tmp_path / "media")!r})) == 4\n'
        'assert not {"tensorflow", "torch"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', program], check=True, capture_output=True)
