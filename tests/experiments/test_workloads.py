"""Sizes of the workloads that are timed, and their copies."""

import dataclasses

import jax
import numpy as np
import tiny
from tiny_workload import work_of

from experiments import workloads


def test_a_copied_workload_has_each_prompt_and_clip_g_times():
    shared = work_of()
    copied = shared.copied()
    assert copied.g == 1
    assert (copied.prompts.token == shared.prompts.token[[0, 0, 0, 1, 1, 1]]).all()
    assert [clip.id for clip in copied.clips] == ['0', '0', '0', '1', '1', '1']


def test_the_end_is_never_sampled():
    assert work_of().sampling.banned == (0,)
    kept = dataclasses.replace(work_of(), banned=(7, 8))
    assert kept.sampling.banned == (7, 8, 0)


def test_a_random_reading_has_the_sizes_of_the_workload_and_points_into_its_branches():
    work = work_of()
    reading = workloads.random_reading(work, 0)
    assert reading.gold.shape == (2, 1, 1) and reading.gold.all()
    assert reading.named.shape == (2, 3, 1, 1) and reading.formed.shape == (2, 3)
    assert reading.anchor.shape == reading.echo_anchor.shape == reading.right.shape == (2, 3, 2)
    assert reading.echo.shape == (2, 3, 3)
    assert 1 <= reading.anchor.min() and reading.anchor.max() < work.s
    assert 1 <= reading.echo_anchor.min() and reading.echo_anchor.max() < work.echo


def test_a_copied_reading_has_each_branch_as_a_group_of_its_own():
    reading = workloads.random_reading(work_of(), 0)
    reading = reading.replace(gold=np.array([[[True]], [[False]]]))
    copied = workloads.copied_reading(reading)
    assert copied.gold[:, 0, 0].tolist() == [True] * 3 + [False] * 3
    for name in ('named', 'formed', 'anchor', 'echo'):
        whole, alone = (np.asarray(vars(one)[name]) for one in (reading, copied))
        assert alone.shape[:2] == (6, 1)
        np.testing.assert_array_equal(alone[4, 0], whole[1, 1])


def test_the_text_preset_has_twelve_million_weights_and_prompts_of_512_tokens():
    work = workloads.text_workload(0, None, None, None)
    assert work.prompts.token.shape == (4, 512) and (work.g, work.s) == (8, 65)
    assert sum(leaf.size for leaf in jax.tree.leaves(tiny.shapes(work.spec))) == 12_067_072
    assert (work.prompts.next_position == 512).all()


def test_the_stage_preset_has_the_sizes_of_its_config(config):
    work = workloads.stage_workload(0, 2, None, 7)
    assert work.prompts.token.shape == (2, max(config.data.prompt_tokens))
    assert (work.g, work.s) == (config.rollout.group, 8)
    assert (work.echo, work.anchors) == (config.rollout.echo_tokens, config.rollout.anchors)
    assert work.prompts.media.patch.shape[1] and work.prompts.media.sound.shape[1]
    assert len(work.clips) == 2
