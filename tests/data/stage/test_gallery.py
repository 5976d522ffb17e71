"""Pictures of the stage as files: the folders are read back as the same pictures."""

import sys

import numpy as np
import pytest

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.clips import read_manifest
from mer_jax.data.media.pictures import read_image
from mer_jax.data.stage import stage
from mer_jax.data.stage.gallery import EMOSET, LISTS, write_emoset, write_pictures
from mer_jax.data.stage.generator import SPLITS
from mer_jax.data.stage.picture import picture


@pytest.mark.parametrize('domain', ['home', 'away'])
def test_written_pictures_are_read_from_the_manifest_as_they_were_drawn(tmp_path, domain):
    write_pictures(tmp_path / 'out', 3, 4, 'test', domain, sheet=True)
    assert (tmp_path / 'out' / 'sheet.png').read_bytes().startswith(b'\x89PNG')
    clips = read_manifest(tmp_path / 'out' / 'manifest.jsonl')
    assert len(clips) == 3
    for index, clip in enumerate(clips):
        drawn = picture(4, 'test', index, domain)
        assert (clip.id, clip.words, clip.answer) == (drawn.id, drawn.words, drawn.answer)
        assert clip.reasoning == drawn.reasoning
        np.testing.assert_array_equal(read_image(clip.image), drawn.image)


def test_a_folder_of_emoset_is_read_as_the_benchmark(tmp_path):
    write_emoset(tmp_path / 'out', 6, 4, 'away')
    found = BENCHMARKS['emoset'].read(tmp_path / 'out')
    assert len(found.clips) == 6 and not found.absent
    for index, clip in enumerate(found.clips):
        drawn = picture(4, 'test', index, 'away')
        assert (clip.id, clip.words) == (drawn.id, drawn.words)
        np.testing.assert_array_equal(read_image(clip.image), drawn.image)
    root = tmp_path / 'out' / EMOSET
    assert LISTS.keys() == set(SPLITS)
    assert {path.name for path in root.glob('*.json')} == set(LISTS.values())
    assert len(list(root.glob('image/*/*.png'))) == len(list(root.glob('annotation/*/*'))) == 18


def test_the_command_writes_pictures_and_folders_of_emoset(tmp_path, monkeypatch):
    for name, flags, file in (
        ('a', [], 'clips/home-test-2-000000.png'),
        ('b', ['--domain', 'away', '--split', 'train'], 'clips/away-train-2-000000.png'),
        ('c', ['--emoset'], f'{EMOSET}/train.json'),
    ):
        given = ['--pictures', '--out', str(tmp_path / name), '--clips', '1', '--seed', '2', *flags]
        monkeypatch.setattr(sys, 'argv', ['stage', *given])
        stage.main('')
        assert (tmp_path / name / file).is_file()


def test_flags_of_pictures_zero_pictures_and_bad_seeds_are_refused(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / 'new')
    for flags, said in (
        (['--domain', 'away'], '--domain and --emoset are for pictures'),
        (['--emoset'], '--domain and --emoset are for pictures'),
        (['--pictures', '--clips', '0'], 'clips=0'),
        (['--pictures', '--emoset', '--clips', '0'], 'clips=0'),
        (['--pictures', '--seed', '-1'], 'seed=-1'),
    ):
        monkeypatch.setattr(sys, 'argv', ['stage', '--out', out, *flags])
        with pytest.raises(SystemExit):
            stage.main('')
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
