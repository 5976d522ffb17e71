"""A film that the tests of media share."""

import media_files
import pytest


@pytest.fixture(scope='session')
def film(tmp_path_factory):
    """A film of 5 s with sound, which tests leave as it is."""
    return media_files.write_film(tmp_path_factory.mktemp('film') / 'a.mp4', sound=True)
