"""Files that a download leaves in place of the real ones."""

import pathlib

import pytest

from mer_jax.storage.stand_ins import refuse_stand_in

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3982611760\n'


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        (POINTER, 'a/model.safetensors is a git-lfs pointer .*git lfs pull'),
        (b'<!DOCTYPE html><html>', 'a/model.safetensors is a web page, .*/resolve/'),
        (b'\n  <html lang="en">', 'is a web page'),
    ],
)
def test_a_pointer_and_a_web_page_are_named(data, told):
    with pytest.raises(ValueError, match=told):
        refuse_stand_in(pathlib.Path('a/model.safetensors'), data)


@pytest.mark.parametrize('data', [b'', b'{"a": "<html"}', b'\x10\0\0\0\0\0\0\0{}', b'version 2'])
def test_other_files_are_left_alone(data):
    refuse_stand_in(pathlib.Path('a'), data)
