"""The compiled programs of a run are kept in its workdir, unless another place is set."""

import jax
import pytest

from mer_jax.run.compiled import keep_compiled, processor


@pytest.fixture
def cache():
    """Lets a test choose where JAX keeps what it compiles."""
    before = jax.config.jax_compilation_cache_dir
    yield lambda folder: jax.config.update('jax_compilation_cache_dir', folder)
    jax.config.update('jax_compilation_cache_dir', before)


def test_a_run_keeps_them_in_its_workdir_by_kind_of_processor(cache, tmp_path):
    cache(None)
    folder = keep_compiled(tmp_path)
    assert folder == tmp_path / 'compiled' / processor()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert processor().startswith('cpu_') and not folder.exists()


def test_a_place_that_is_set_stays(cache, tmp_path):
    cache('elsewhere')
    assert keep_compiled(tmp_path) is None
    assert jax.config.jax_compilation_cache_dir == 'elsewhere'


def test_a_bucket_holds_none(cache):
    cache(None)
    assert keep_compiled('gs://bucket/run') is None


@pytest.mark.parametrize(
    ('folder', 'before', 'after'), [(None, 1.0, 0.1), (None, 7.0, 7.0), ('gs://bucket/a', 1.0, 1.0)]
)
def test_short_compilations_are_kept_too_unless_the_user_has_chosen(
    cache, tmp_path, folder, before, after
):
    key = 'jax_persistent_cache_min_compile_time_secs'
    chosen = jax.config.values[key]
    try:
        jax.config.update(key, before)
        cache(folder)
        keep_compiled(tmp_path)
        assert jax.config.values[key] == after
    finally:
        jax.config.update(key, chosen)
