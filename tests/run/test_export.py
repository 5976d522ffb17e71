"""Export: a policy of the stage becomes a Hugging Face folder with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny

from mer_jax.data.stage.stage import draw
from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.omni import perceive
from mer_jax.models.spec import read_spec, read_token_ids


@pytest.mark.slow
@pytest.mark.parametrize('family', ['omni', 'vl'])
def test_an_exported_policy_of_the_stage_is_read_back(config, tmp_path, family):
    c = small.changed(small.shrink(config), model__family=family)
    setting, policy = small.write_export(c, tmp_path / 'out')
    spec = read_spec(tmp_path / 'out', c.model.dtype, c.model.remat)
    assert spec.vision.fused_qkv == (family == 'vl')
    assert read_token_ids(tmp_path / 'out').items() <= setting.origin.ids.items()
    like = tiny.shapes(spec)
    read = load_omni(tmp_path / 'out', like)
    jax.tree.map(np.testing.assert_array_equal, read.decoder, policy.decoder)
    media = setting.batcher.collate([setting.writer.bare_example(draw(0, 'train', 0))]).media
    seen = [jax.jit(perceive)(omni, media) for omni in (read, policy)]
    np.testing.assert_allclose(*seen, rtol=1e-5, atol=1e-5)
    assert jnp.abs(seen[0]).max() > 0.1
