"""Batches of clips: order, shares of processes, resuming, and damage."""

import itertools
import json
import threading

import jax.numpy as jnp
import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.loader import (
    Damaged,
    Damages,
    Example,
    prepare_or_name,
    training_batches,
)
from mer_jax.data.media.container import MediaError
from mer_jax.run.checkpoints import Checkpoints


def clips_of(count, bad=()):
    """Clips c0, c1, … of which those in `bad` cannot be read."""
    return [Clip(f'c{i}', video='bad' if i in bad else 'good') for i in range(count)]


def prepare(clip):
    if clip.video == 'bad':
        raise MediaError(f'{clip.id}.mp4: is cut off')
    return Example(clip, None)


def batches(clips, damages, size=3, process=0, processes=1, **options):
    """The batches of a process that takes equal, consecutive shares."""
    share = size // processes
    numbers = range(process * share, (process + 1) * share)
    options = {'seed': 7} | options
    return training_batches(clips, prepare, damages, size=size, numbers=numbers, **options)


def take(stream, count):
    return [example.clip.id for batch in itertools.islice(stream, count) for example in batch]


@pytest.fixture
def damages(tmp_path):
    return Damages(tmp_path / 'bad_clips.jsonl', 2)


def test_every_epoch_is_a_new_permutation_of_all_clips(damages):
    clips = clips_of(12)
    drawn = take(batches(clips, damages), 12)
    epochs = [tuple(drawn[i : i + 12]) for i in range(0, 36, 12)]
    assert len(set(epochs)) == 3
    assert all(sorted(epoch) == sorted(clip.id for clip in clips) for epoch in epochs)


def test_the_order_follows_from_the_seed_alone(damages):
    first, again, other = (take(batches(clips_of(9), damages, seed=s), 6) for s in (1, 1, 2))
    assert first == again == take(batches(clips_of(9), damages, seed=1, threads=7), 6)
    assert first != other


@pytest.mark.parametrize('bad', [(), (2, 5)])
def test_a_batch_has_the_same_clips_at_any_number_of_processes(tmp_path, bad):
    alone, *shares = (
        batches(clips_of(12, bad), Damages(tmp_path / f'{i}.jsonl', 2), 4, p, count)
        for i, (p, count) in enumerate([(0, 1), (0, 2), (1, 2)])
    )
    for _ in range(7):  # across epochs
        assert take(alone, 1) == [name for share in shares for name in take(share, 1)]


def test_a_batch_that_was_begun_is_read_before_it_is_taken_and_is_the_same(damages):
    begun = threading.Event()

    def note(clip):
        begun.set()
        return prepare(clip)

    clips = clips_of(9)
    stream = training_batches(clips, note, damages, seed=7, size=3, numbers=range(3))
    stream.begin()
    assert begun.wait(60) and stream.read == 0
    assert take(stream, 6) == take(batches(clips, damages), 6)


def test_a_process_reads_the_numbers_of_a_batch_that_it_asks_for(damages):
    clips = clips_of(12)
    whole = take(batches(clips, damages, 4), 3)
    some = training_batches(clips, prepare, damages, seed=7, size=4, numbers=[1, 3])
    assert take(some, 3) == [whole[i] for i in (1, 3, 5, 7, 9, 11)]


def test_batches_of_another_size_begin_behind_the_clips_that_were_read(damages):
    clips = clips_of(12)
    order, stream, other = (
        take(batches(clips, damages, 1), 12),
        *(batches(clips, damages, n) for n in (3, 2)),
    )
    take(stream, 2)
    other.read = stream.read
    assert take(other, 3) == order[6:]


def test_a_saved_iterator_continues_with_the_next_batch(tmp_path, damages):
    clips = clips_of(10, bad=(2, 5))  # batches end inside epochs, and damage shifts them
    stream = batches(clips, damages)
    take(stream, 4)
    with Checkpoints(tmp_path / 'train', keep=1) as checkpoints:
        checkpoints.save(4, {'x': jnp.arange(3)}, stream)
        checkpoints.manager.wait_until_finished()
        expected = take(stream, 6)
        fresh = batches(clips, damages)
        take(fresh, 1)
        checkpoints.restore(4, {'x': jnp.zeros(3, int)}, fresh)
    assert take(fresh, 6) == expected


def test_a_damaged_clip_is_left_out_and_named_once(damages):
    drawn = take(batches(clips_of(7, bad=(1, 4)), damages), 10)
    assert set(drawn) == {'c0', 'c2', 'c3', 'c5', 'c6'}
    lines = damages.path.read_text().splitlines()
    named = sorted((json.loads(line) for line in lines), key=lambda record: record['id'])
    assert named == [{'id': f'c{i}', 'reason': f'c{i}.mp4: is cut off'} for i in (1, 4)]


def test_more_damage_than_the_budget_ends_the_run_with_the_key_and_the_value(damages):
    with pytest.raises(MediaError) as raised:
        take(batches(clips_of(9, bad=(1, 4, 8)), damages), 9)
    message = str(raised.value)
    assert message.startswith('3 damaged clips')
    for part in ('data.max_bad_clips=2', str(damages.path), 'is cut off'):
        assert part in message


def test_a_budget_of_zero_allows_no_damage(tmp_path):
    with pytest.raises(MediaError, match='data.max_bad_clips=0'):
        take(batches(clips_of(4, bad=(2,)), Damages(tmp_path / 'bad.jsonl', 0)), 4)


@pytest.mark.parametrize('processes', [1, 2])
def test_without_a_good_clip_the_run_ends_at_any_budget(tmp_path, processes):
    damages = Damages(tmp_path / 'bad.jsonl', 1000)
    stream = batches(clips_of(4, bad=range(4)), damages, size=4, processes=processes)
    with pytest.raises(MediaError, match='none of the 4 clips') as raised:
        next(stream)
    assert str(damages.path) in str(raised.value)


def test_one_good_clip_is_enough(tmp_path):
    damages = Damages(tmp_path / 'bad.jsonl', 1000)
    assert take(batches(clips_of(4, bad=(0, 1, 2)), damages), 3) == ['c3'] * 9


def test_a_new_start_counts_the_clips_still_damaged_and_names_each_once(damages):
    for name in ('a', 'b'):
        assert not damages.accept(Damaged(name, 'why'))
    again = Damages(damages.path, 2)  # b was repaired since
    assert not again.accept(Damaged('a', 'why')) and not again.accept(Damaged('c', 'why'))
    assert [json.loads(line)['id'] for line in damages.path.read_text().splitlines()] == [*'abc']
    with pytest.raises(MediaError, match='3 damaged clips, the last one d'):
        again.accept(Damaged('d', 'why'))


@pytest.mark.parametrize('torn', ['{"id": "b", "rea', '{"id": "b", "reason": "{0}', '[1]', ''])
def test_a_line_cut_short_by_a_kill_is_skipped(damages, torn):
    damages.accept(Damaged('a', 'why'))
    with damages.path.open('a') as file:
        file.write(torn)
    again = Damages(damages.path, 9)
    assert again.noted == {'a'}
    again.accept(Damaged('b', 'why'))
    again.accept(Damaged('c', 'why'))
    assert Damages(damages.path, 9).noted == {'a', 'b', 'c'}


def test_a_file_that_cannot_be_opened_is_damage_and_a_programming_error_is_not():
    def missing(clip):
        raise FileNotFoundError(f'no {clip.id}')

    def mistaken(clip):
        raise TypeError('not a clip')

    assert prepare_or_name(missing, Clip('c')) == Damaged('c', 'no c')
    with pytest.raises(TypeError):
        prepare_or_name(mistaken, Clip('c'))
