"""Parts of the advantage and their gradients: by hand, by identities, and on a small run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from experiments import interference
from mer_jax.rl import step as rl
from mer_jax.rl.group_relative import standardise


def rows(*values):
    return jnp.array(values, jnp.float32)


RECALL, PRECISION = rows((0, 0, 1, 1), (0, 0, 0, 1)), rows((0, 0, 0.1, 0.1), (1, 1, 1, 0))


def test_parts_under_one_sum_add_up_to_its_advantage_and_the_wider_one_leads():
    found = interference.parts_of_advantage(RECALL[:1], PRECISION[:1])
    np.testing.assert_allclose(
        sum(found['summed']), standardise((RECALL + PRECISION)[:1]), rtol=1e-4
    )
    recall, precision = found['summed']
    np.testing.assert_allclose(recall, 10 * precision, rtol=1e-5)
    apart = found['separate']
    np.testing.assert_allclose(apart[0], apart[1], rtol=1e-4)


def test_a_group_whose_sum_is_the_same_teaches_nothing_under_one_sum():
    found = interference.parts_of_advantage(RECALL, PRECISION)
    np.testing.assert_array_equal(found['summed'][0][1], np.zeros(4))
    assert np.abs(found['separate'][0][1]).max() > 1


def test_figures_of_groups_by_hand():
    found = interference.group_figures(RECALL[:1], PRECISION[:1])
    assert found['recall_var'] == 0.25 and found['precision_var'] == pytest.approx(0.0025)
    assert found['correlation'] == pytest.approx(1) == found['sum_with_precision']
    found = interference.group_figures(RECALL[1:], PRECISION[1:])
    assert found['correlation'] == pytest.approx(-1) and found['sum_with_recall'] == 0


def test_cosine_norms_and_share_of_gradients_by_hand():
    one, other = {'a': rows(3, 0), 'b': rows(4)}, {'a': rows(0, 5), 'b': rows(0)}
    found = interference.gradient_figures(one, other)
    assert (found['recall_norm'], found['precision_norm'], found['cosine']) == (5, 5, 0)
    assert found['share'] == 0.5
    assert interference.gradient_figures(one, one)['cosine'] == pytest.approx(1)


@pytest.mark.slow
def test_the_gradient_is_linear_in_the_advantage_and_a_run_gives_a_line_a_policy(config, tmp_path):
    small.write_run(small.shrink(config), tmp_path / 'full')
    setting, policy = interference.open_checkpoint(str(tmp_path / 'full'))
    with setting.in_use():
        gradient, learn = interference.make_gradient(setting)
        batch, rollout, *_ = interference.roll_out(setting, policy, 4)
        kept = jnp.ones(rollout.branches.token.shape[:2], bool)
        one, other = np.random.default_rng(0).normal(size=(2, *kept.shape)).astype(np.float32)

        def of(advantage):
            held = rl.gather_experience(batch, rollout, advantage, kept, None, None, learn)
            return gradient(policy, held)

        parts = jax.tree.map(lambda a, b: a + b, of(one), of(other))
        whole = of(one + other)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(whole))
    assert largest > 0
    for got, wanted in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4 * largest)
    (line,) = interference.lines_of(tmp_path / 'full', 4)
    assert (line['arm'], line['update'], line['prompts']) == ('full', 1, 4)
    assert line['summed'].keys() == line['separate'].keys() >= {'cosine', 'share'}
