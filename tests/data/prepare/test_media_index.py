"""Media files found by what cells of tables call them."""

import pytest
from benchmark_folders import put

from mer_jax.data.prepare.media_index import MediaIndex


@pytest.fixture
def index(tmp_path):
    put(tmp_path, 'train/a.mp4', 'test/a.mp4', 'sound/b.wav', 'b.mp4', '.hidden/c.mp4', data=b'x')
    return MediaIndex(tmp_path)


@pytest.mark.parametrize(
    ('value', 'kind', 'path'),
    [
        ('b.mp4', 'video', 'b.mp4'),
        ('b', 'audio', 'sound/b.wav'),
        ('/home/others/test/a.mp4', 'video', 'test/a.mp4'),
        (r'test\a.mp4', 'video', 'test/a.mp4'),
        ('b.wav', 'video', None),
        ('c.mp4', 'video', None),
        ('../b.mp4', 'video', 'b.mp4'),
        ('', 'video', None),
    ],
)
def test_a_cell_names_a_path_a_name_or_a_stem(index, tmp_path, value, kind, path):
    assert index.find(value, (kind,)) == (path and str(tmp_path / path))


def test_a_name_of_two_files_is_refused_with_both(index):
    with pytest.raises(ValueError, match='may be .*a.mp4 or .*a.mp4: name the path'):
        index.find('a.mp4', ('video',))


def test_an_address_is_refused(index):
    with pytest.raises(ValueError, match='is an address: download'):
        index.find('https://x.org/a.mp4', ('video',))
