"""Shared by the tests of runs: the setting of the default config."""

import pytest

from mer_jax.run.defaults import mer_r1


@pytest.fixture(scope='session')
def setting(tmp_path_factory):
    """The setting of the default config, which tests leave as it is."""
    from mer_jax.data.loader import Damages  # after JAX is set up
    from mer_jax.run.chosen_clips import choose_clips
    from mer_jax.run.setting import Setting

    c = mer_r1()
    damages = Damages(tmp_path_factory.mktemp('damages') / 'bad_clips.jsonl', 0)
    return Setting(c, *choose_clips(c), damages)
