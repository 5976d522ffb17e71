"""Evaluation on held-out clips: blocks of answers, damaged clips, means with standard errors."""

import contextlib
import threading
import types

import pytest
from small import changed

from mer_jax.data.clips import Clip
from mer_jax.data.loader import Damages, Example
from mer_jax.data.media.container import MediaError
from mer_jax.evaluation.answers import MODES
from mer_jax.methods.mer_r1_answers import SCORES
from mer_jax.run import held_out
from mer_jax.run.held_out import answer_blocks, evaluate, prepared_ahead, summary
from mer_jax.sharding import make_mesh

CLIPS = [Clip(f'c{i}', words=('sad',)) for i in range(7)]


@pytest.fixture
def setting(config, tmp_path, monkeypatch):
    """A setting of batches of three clips, whose answers all score their number of examples."""
    changed(config, evaluate__batch=3)

    def answerer(setting, policy, cache):
        def answer_clips(examples, size):
            assert len(examples) <= size == 3
            scores = dict.fromkeys(SCORES, float(len(examples)))
            return [{'id': e.clip.id} | dict.fromkeys(MODES, scores) for e in examples]

        return answer_clips

    monkeypatch.setattr(held_out, 'answerer', answerer)
    return types.SimpleNamespace(
        config=config,
        mesh=make_mesh(1, 1, -1),
        damages=Damages(tmp_path / 'bad_clips.jsonl', 9),
        test_clips=CLIPS,
        writer=types.SimpleNamespace(example=preparing()),
        method=types.SimpleNamespace(scored=SCORES, labels=()),
    )


def preparing(*bad):
    """A function that prepares clips, of which those named are damaged."""

    def prepare(clip, cache=None):
        if clip.id in bad:
            raise MediaError(f'clip {clip.id}: is cut off')
        return Example(clip, None)

    return prepare


def blocks(setting, prepare, start=0):
    """(ids answered, ids that cannot be used) of each block."""
    found = answer_blocks(setting, None, CLIPS, 'a test', prepare, start)
    return [tuple([row['id'] for row in rows] for rows in block) for block in found]


def test_every_clip_is_answered_once_in_blocks_of_a_batch(setting):
    assert blocks(setting, preparing()) == [
        (['c0', 'c1', 'c2'], []),
        (['c3', 'c4', 'c5'], []),
        (['c6'], []),
    ]


def test_an_evaluation_goes_on_from_any_block(setting):
    assert blocks(setting, preparing(), start=2) == [(['c6'], [])]
    assert blocks(setting, preparing(), start=3) == []


def test_the_next_block_is_prepared_while_one_is_used_and_no_later_one():
    begun, waits = [], [threading.Event() for _ in range(3)]

    def prepare(item):
        begun.append(item)
        waits[item // 2].set()
        return -item

    with contextlib.closing(prepared_ahead(prepare, [(0, 1), (2, 3), (4, 5)])) as blocks:
        assert next(blocks) == [0, -1]
        assert waits[1].wait(60)  # nobody has asked for the second block yet
        assert not waits[2].is_set() and 4 not in begun
        assert list(blocks) == [[-2, -3], [-4, -5]]
    assert sorted(begun) == [0, 1, 2, 3, 4, 5]
    assert list(prepared_ahead(prepare, [])) == [] and list(prepared_ahead(prepare, [[]])) == [[]]


def test_an_error_of_preparing_is_raised_in_the_place_of_its_block():
    def prepare(item):
        if item == 3:
            raise ZeroDivisionError(item)
        return item

    blocks = prepared_ahead(prepare, [(0, 1), (2, 3), (4, 5)])
    assert next(blocks) == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(blocks)


def test_once_the_caller_stops_no_further_clip_is_prepared():
    begun, go_on = [], threading.Event()

    def prepare(item):
        begun.append(item)
        assert item == 0 or go_on.wait(60)
        return item

    blocks = prepared_ahead(prepare, [(0,), range(1, 50)])
    assert next(blocks) == [0]
    threading.Timer(0.2, go_on.set).start()
    blocks.close()
    assert len(begun) < 10  # those that had begun are finished


def test_clips_that_cannot_be_used_are_named_with_their_block(setting):
    assert blocks(setting, preparing('c1', 'c6')) == [
        (['c0', 'c2'], ['c1']),
        (['c3', 'c4', 'c5'], []),
        ([], ['c6']),
    ]
    assert setting.damages.noted == {'c1', 'c6'}


def test_scores_are_of_the_clips_that_can_be_used(setting):
    setting.writer.example = preparing('c1')
    scores, rows = evaluate(setting, None, 'end')
    assert [row['id'] for row in rows] == ['c0', 'c2', 'c3', 'c4', 'c5', 'c6']
    assert scores['clips'] == 6
    assert scores['slow']['f'] == pytest.approx((2 + 2 + 3 + 3 + 3 + 1) / 6)


def test_fewer_than_two_usable_clips_have_no_standard_error(setting):
    setting.writer.example = preparing('c0', 'c1', 'c2', 'c3', 'c4', 'c5')
    with pytest.raises(MediaError) as raised:
        evaluate(setting, None, 'end')
    for part in ('1 of the 7 held-out clips', str(setting.damages.path), 'data.held_out'):
        assert part in str(raised.value)


def test_scores_are_means_over_clips_with_their_standard_errors():
    # clips x (fast, slow) x (recall, precision, f, form, tokens)
    fast = [[1, 0.5, 0.6, 1, 5], [0, 0, 0, 1, 7], [0.5, 1, 0.6, 0, 9]]
    slow = [[1, 1, 1, 1, 20], [1, 1, 1, 1, 20], [1, 1, 1, 1, 20]]
    rows = [
        {mode: dict(zip(SCORES, one, strict=True)) for mode, one in zip(MODES, both, strict=True)}
        for both in zip(fast, slow, strict=True)
    ]
    figures = summary(rows, SCORES)
    assert figures['clips'] == 3
    assert figures['fast']['recall'] == pytest.approx(0.5)
    # sample standard deviation 0.5, over sqrt(3)
    assert figures['fast']['recall_se'] == pytest.approx(0.5 / 3**0.5)
    assert figures['fast']['f'] == pytest.approx(0.4)
    assert figures['fast']['form'] == pytest.approx(2 / 3)
    assert figures['fast']['tokens'] == pytest.approx(7)
    assert figures['slow']['f'] == 1 and figures['slow']['f_se'] == 0
    assert set(figures['slow']) == {
        'recall', 'recall_se', 'precision', 'precision_se', 'f', 'f_se', 'form', 'tokens'
    }  # fmt: skip
