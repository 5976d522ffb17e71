import jax
import numpy as np
import pytest
import small

from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.omni import make_omni
from mer_jax.models.spec import read_spec, read_token_ids


@pytest.mark.parametrize('family', ['omni', 'vl'])
def test_an_exported_policy_of_the_stage_is_read_back_bit_by_bit(config, tmp_path, family):
    c = small.changed(small.shrink(config), model__family=family)
    setting, policy = small.write_export(c, tmp_path / 'out')
    spec = read_spec(tmp_path / 'out', c.model.dtype, c.model.remat)
    assert spec == setting.spec
    assert read_token_ids(tmp_path / 'out').items() <= setting.origin.ids.items()
    like = jax.eval_shape(lambda: make_omni(jax.random.key(0), spec))
    jax.tree.map(np.testing.assert_array_equal, load_omni(tmp_path / 'out', like), policy)
