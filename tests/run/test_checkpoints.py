"""Checkpoints are restored bit by bit, on any mesh; unfinished and damaged ones are not."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_state import filled_state

from mer_jax.run.checkpoints import (
    Checkpoints,
    DamagedCheckpoints,
    by_path,
    evaluated_best,
    load_policy,
)
from mer_jax.sharding import make_mesh, state_shardings


@pytest.fixture(scope='module')
def state():
    return filled_state()


@pytest.fixture(scope='module')
def blank(state):
    return jax.tree.map(jnp.zeros_like, state)


def towerless(state):
    """The state with fewer arrays but all kinds of them."""
    return state.replace(policy=state.policy.replace(visual=None, audio_tower=None))


def same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for path, leaf in by_path(expected).items():
        other = by_path(found)[path]
        assert (other.shape, other.dtype) == (leaf.shape, leaf.dtype), path
        assert np.asarray(other).tobytes() == np.asarray(leaf).tobytes(), path


def test_a_state_comes_back_bit_by_bit(tmp_path, state, blank):
    with Checkpoints(tmp_path / 'train', keep=2) as checkpoints:
        assert checkpoints.restore_last(blank) == (0, blank)
        checkpoints.save(5, state)
    with Checkpoints(tmp_path / 'train', keep=2) as checkpoints:
        step, found = checkpoints.restore_last(blank)
    assert step == 5
    same_bits(found, state)


class Reader:
    """Batches of three clips that say how many clips they have read."""

    size = 3

    def __init__(self, read=0):
        self.read = read


def test_batches_continue_behind_the_clips_that_were_read(tmp_path):
    state = {'x': jnp.zeros(2)}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(2, state, Reader(7))
    batches = Reader()
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.restore_last(state, batches)[0] == 2
    assert batches.read == 7


def test_odd_values_and_types_come_back_bit_by_bit(tmp_path):
    odd = {
        'bf16': jnp.array([1.0, -0.0, 3e38, jnp.nan, -jnp.inf], jnp.bfloat16),
        'f32': jnp.array([1e-45, -0.0, jnp.nan, jnp.inf]),
        'count': jnp.uint32(2**32 - 1),
        'flag': jnp.array([True, False]),
    }
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, odd)
        checkpoints.manager.wait_until_finished()
        same_bits(checkpoints.restore(1, jax.tree.map(jnp.zeros_like, odd)), odd)


def test_a_state_comes_back_onto_another_mesh(tmp_path, state, blank):
    state, blank = towerless(state), towerless(blank)
    before, after = make_mesh(2, 2, 2), make_mesh(1, 4, 2)
    placed = jax.device_put(state, state_shardings(before, state))
    shardings = state_shardings(after, blank)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(5, placed)
        checkpoints.manager.wait_until_finished()
        found = checkpoints.restore(5, jax.device_put(blank, shardings))
    same_bits(found, state)
    placed_now = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, found, shardings)
    assert all(jax.tree.leaves(placed_now))
    weight = found.policy.decoder.model.layers.mlp.up_proj.weight[...]
    assert weight.sharding.shard_shape(weight.shape) == (3, 32 // 4, 48 // 2)


def test_a_checkpoint_that_a_kill_cut_off_is_not_seen(tmp_path):
    one, other = {'x': jnp.arange(3)}, {'x': jnp.arange(3) * 7}
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(5, one)
    torn = tmp_path / '7.orbax-checkpoint-tmp'
    shutil.copytree(tmp_path / '5', torn)
    shutil.rmtree(torn / 'state')
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        step, found = checkpoints.restore_last(one)
        assert step == 5
        same_bits(found, one)
        checkpoints.save(7, other)
    assert not torn.exists()
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        step, found = checkpoints.restore_last(one)
        assert step == 7
        same_bits(found, other)


def cut(folder):
    """Cuts the largest file of a checkpoint."""
    largest = max(
        (path for path in folder.rglob('*') if path.is_file()), key=lambda p: p.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[:50])


# The storage library leaves futures behind whose errors nobody fetches.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, caplog):
    one, other = {'x': jnp.arange(3000.0)}, {'x': jnp.arange(3000.0) * 7}
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(5, one)
        checkpoints.save(7, other)
    cut(tmp_path / '7' / 'state')
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        step, found = checkpoints.restore_last(one)
        assert step == 5 and 'checkpoint 7 cannot be read' in caplog.text
        assert f'{tmp_path / "damaged_7"}: the damaged checkpoint 7 is kept there' in caplog.text
        same_bits(found, one)
        checkpoints.save(7, other)  # made again
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        assert checkpoints.restore_last(one)[0] == 7
    cut(tmp_path / '7' / 'state')
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        assert checkpoints.restore_last(one)[0] == 5
        checkpoints.save(7, other)
    kept = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert kept == ['5', '7', 'damaged_7', 'damaged_7_2']
    cut(tmp_path / '7' / 'state')
    cut(tmp_path / '5' / 'state')
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        with pytest.raises(DamagedCheckpoints, match=r'none of the checkpoints \[7, 5\]'):
            checkpoints.restore_last(one)
    assert (tmp_path / '5').exists() and (tmp_path / '7').exists()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_damaged_policy_is_named(tmp_path, state, blank):
    with Checkpoints(tmp_path / 'train', keep=1) as checkpoints:
        checkpoints.save(4, state)
    cut(tmp_path / 'train' / '4' / 'state')
    with pytest.raises(DamagedCheckpoints, match='cannot be read'):
        load_policy(tmp_path, blank.policy)


def test_only_the_last_checkpoints_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, {'x': jnp.full(2, step)})
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ['2', '3']


def test_a_step_that_is_there_is_not_saved_again(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, {'x': jnp.zeros(2)})
        checkpoints.save(1, {'x': jnp.ones(2)})
        checkpoints.manager.wait_until_finished()
        same_bits(checkpoints.restore(1, {'x': jnp.ones(2)}), {'x': jnp.zeros(2)})


def test_a_state_of_another_shape_is_refused(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, {'x': jnp.zeros((2, 3))})
        checkpoints.manager.wait_until_finished()
        with pytest.raises(ValueError, match='shape'):
            checkpoints.restore(1, {'x': jnp.zeros((4, 3))})


def test_leaves_that_the_state_no_longer_has_are_passed_over(tmp_path, state, blank):
    state, blank = towerless(state), towerless(blank)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(5, {'dropped': jnp.int32(5), 'kept': state})
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        step, found = checkpoints.restore_last({'kept': blank})
    assert step == 5
    same_bits(found, {'kept': state})


def test_a_leaf_that_a_checkpoint_lacks_is_named(tmp_path, caplog):
    wanted = {'x': jnp.ones(3), 'y': {'z': jnp.ones(2)}}
    with Checkpoints(tmp_path / 'train', keep=1) as checkpoints:
        checkpoints.save(5, {'x': jnp.zeros(3), 'policy': {'x': jnp.zeros(3)}})
    with Checkpoints(tmp_path / 'train', keep=1) as checkpoints:
        with pytest.raises(DamagedCheckpoints, match=r'1 of 2 leaves are missing .* y\.z'):
            checkpoints.restore_last(wanted)
    assert (tmp_path / 'train' / '5').exists()
    with pytest.raises(DamagedCheckpoints, match=r'missing .* policy\.y\.z'):
        load_policy(tmp_path, wanted)


def test_a_run_of_an_earlier_version_is_continued(tmp_path):
    """Up to commit 082317c, runs stored their states with StandardSave; later ones as now.

    Neither says how much was read: a batch an update.
    """
    manager = ocp.CheckpointManager(tmp_path)
    old = {'step': jnp.int32(3), 'policy.x': jnp.arange(4.0)}
    manager.save(3, args=ocp.args.Composite(state=ocp.args.StandardSave(old)))
    manager.close()
    like, batches = {'policy': {'x': jnp.zeros(4)}}, Reader()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        step, found = checkpoints.restore_last(like, batches)
        assert batches.read == 3 * batches.size
        checkpoints.save(4, found)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert (step, checkpoints.restore_last(like)[0]) == (3, 4)
    same_bits(found, {'policy': {'x': old['policy.x']}})


def test_leaves_are_stored_under_their_dotted_paths(state):
    paths = by_path(state)
    assert len(paths) == len(jax.tree.leaves(state))
    for path in ('policy.decoder.model.norm.weight', 'policy.visual.blocks.attn.q.weight'):
        assert path in '\n'.join(paths)


def test_the_policy_alone_is_loaded_from_a_run_the_trained_one_first(tmp_path, state, blank):
    for stage, saved in (('cold_start', state), ('train', jax.tree.map(lambda x: x + 1, state))):
        with Checkpoints(tmp_path / stage, keep=1) as checkpoints:
            checkpoints.save(4, saved)
        same_bits(load_policy(tmp_path, blank.policy), saved.policy)


@pytest.mark.parametrize('text', ['{', '[]', '{"evaluated": 3}'])
def test_damaged_results_are_said_where_they_name_the_policy(tmp_path, caplog, text):
    assert evaluated_best(tmp_path) is None and not caplog.records
    (tmp_path / 'results.json').write_text(text)
    assert evaluated_best(tmp_path) is None
    assert f'{tmp_path / "results.json"}: cannot be read' in caplog.text


def test_a_folder_without_a_checkpoint_is_named(tmp_path, blank):
    with pytest.raises(ValueError, match='holds no checkpoint of a run'):
        load_policy(tmp_path, blank.policy)
