"""Limits of clips: told with the flag, checked before anything is decoded."""

import media_files
import numpy as np
import pytest
from PIL import Image

from mer_jax.data.media.container import MediaError
from mer_jax.demo.limits import Limits, check_size

WIDE = Limits(64, 60)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    return media_files.write_film(tmp_path_factory.mktemp('limits') / 'a.mp4', frames=16)


def refused(limits, path):
    with pytest.raises(MediaError) as caught:
        limits.check_file(path)
    assert str(caught.value).count(str(path)) == 1
    return str(caught.value)


def test_clips_within_the_limits_are_told_by_kind(film, tmp_path):
    sound = media_files.write_wave(tmp_path / 'a.wav', media_files.noise(), 16_000)
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')
    kinds = [WIDE.check_file(path) for path in (film, sound, tmp_path / 'a.png')]
    assert kinds == ['video', 'audio', 'image']
    assert Limits(64, 2.0).check_file(film) == 'video'


def test_the_flag_of_a_limit_is_named_with_both_values(film):
    assert 'lasts 2.0 s, --max-seconds=1.5 is the most' in refused(Limits(64, 1.5), film)
    assert '--max-mb=0.001 is the most' in refused(Limits(0.001, 60), film)


def test_huge_frames_are_refused_by_their_header(tmp_path):
    Image.fromarray(np.zeros((3000, 4000), np.uint8)).save(tmp_path / 'huge.png')
    assert '4000 x 3000 pixels' in refused(WIDE, tmp_path / 'huge.png')
    with pytest.raises(MediaError):
        check_size(10_000, 10_000)


def test_files_that_are_no_clips_are_refused(tmp_path, film):
    (tmp_path / 'empty.mp4').touch()
    assert 'is empty' in refused(WIDE, tmp_path / 'empty.mp4')
    cut = media_files.write_bytes(
        tmp_path / 'cut.mp4', film.read_bytes()[: film.stat().st_size // 2]
    )
    assert refused(WIDE, cut)
    assert 'there is no such file' in refused(WIDE, tmp_path / 'absent.mp4')
