"""A run continued on another mesh: the same clips, answers and records."""

import shutil

import jax
import pytest
from small import changed, shrink

from mer_jax.data.loader import Damages
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.defaults import mer_r1
from mer_jax.run.origin import first_policy
from mer_jax.run.records import read_records
from mer_jax.run.setting import Setting
from mer_jax.run.stage_loop import run_stage
from mer_jax.run.train import train


def early(texts, clips):
    """A reward that differs between the branches of a policy that knows no words."""
    return {'early': [[sum(letter < 'm' for letter in text) for text in row] for row in texts]}


def train_on(axes, workdir):
    """Two updates of reinforcement learning, or those that the workdir lacks; their records."""
    c = changed(
        shrink(mer_r1()),
        **dict(zip(('mesh__data', 'mesh__fsdp', 'mesh__tensor'), axes, strict=True)),
        steps=2,
        cold_start__steps=0,
        data__clips=32,
        rollout__group=2,
        rollout__slow_tokens=12,
        learn__minibatches=2,
        learn__rewards=(early,),
        learn__weights__early=1.0,
        optim__warmup=0,
        every__save=1,
    )
    damages = Damages(workdir / 'bad_clips.jsonl', 0)
    setting = Setting(c, *choose_clips(c), damages)
    with jax.set_mesh(setting.mesh):
        train(setting, first_policy(setting.origin, c, setting.mesh), workdir)
    return read_records(workdir)


def guarded(*arguments, **named):
    """The loop of updates, in which JAX refuses a transfer that is not asked for."""
    with jax.transfer_guard('disallow'):
        return run_stage(*arguments, **named)


@pytest.mark.slow
def test_a_run_that_ends_on_another_mesh_has_the_same_records(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:  # and no array comes to the devices unasked
        patch.setattr('mer_jax.run.train.run_stage', guarded)
        whole = train_on((8, 1, 1), tmp_path / 'whole')
    assert [record['step'] for record in whole] == [1, 2] and whole[1]['ratio_spread'] > 1e-3
    shutil.rmtree(tmp_path / 'whole' / 'train' / '2')
    # Of all three kinds of axes; test_mesh_layouts.py has updates on the other meshes.
    first, last = train_on((2, 2, 2), tmp_path / 'whole')
    assert first == whole[0] and last.keys() == whole[1].keys()
    for name in last.keys() - {'stage'}:
        assert last[name] == pytest.approx(whole[1][name], rel=1e-5, abs=1e-5), name
