"""Clips to train on and clips held out, and sources that cannot give both."""

import json
import re

import pytest
from benchmark_folders import put
from small import changed

from mer_jax.run.chosen_clips import choose_clips, read_named
from mer_jax.run.emo_r3_defaults import emo_r3


def manifest_of(path, count, **more):
    """A manifest of clips that are words alone."""
    lines = [
        json.dumps({'id': f'c{i}', 'subtitle': 'Fine.', 'words': ['sad']} | more)
        for i in range(count)
    ]
    path.write_text('\n'.join(lines))
    return str(path)


def test_trained_and_held_out_clips_never_meet(config):
    train, test, _ = choose_clips(config)
    assert len(train) == config.data.clips and len(test) == config.evaluate.clips
    # Another name is not enough: what is seen and heard must differ.
    heard = {train[i].audio.tobytes() for i in range(40)}
    assert len(heard) == 40
    assert not heard & {test[i].audio.tobytes() for i in range(40)}


def test_a_manifest_is_split_and_at_most_evaluate_clips_are_evaluated(config, tmp_path):
    path = manifest_of(tmp_path / 'clips.jsonl', 60, reasoning='eyes down')
    changed(config, data__manifest=path, evaluate__clips=4)
    train, test, _ = choose_clips(config)
    assert len(test) == 4 and 40 <= len(train) <= 56
    assert not {clip.id for clip in train} & {clip.id for clip in test}


def test_a_published_set_is_read_in_its_own_layout(config, tmp_path):
    folder = tmp_path / 'ovmerdplus-process'
    (folder / 'video').mkdir(parents=True)
    rows = ['name,openset']
    for number in range(30):
        (folder / 'video' / f'sample_{number:08}.mp4').write_bytes(b'film')
        rows.append(f'sample_{number:08},"[sad, lonely]"')
    (folder / 'ovlabel.csv').write_text('\n'.join(rows))
    config.data.manifest, config.cold_start.steps = f'ov_merd_plus:{tmp_path}', 0
    train, test, _ = choose_clips(config)
    assert len(train) + len(test) == 30 and train[0].words == ('sad', 'lonely')
    assert train[0].video.endswith('.mp4')
    config.data.manifest = f'ov_merd_plus:{tmp_path / "nowhere"}'
    with pytest.raises(ValueError, match='OV-MERD.* was expected in ovmerdplus-process'):
        choose_clips(config)


def test_clips_without_gold_words_are_left_out_and_counted(tmp_path, caplog):
    folder = tmp_path / 'ovmerdplus-process'
    (folder / 'video').mkdir(parents=True)
    (folder / 'ovlabel.csv').write_text('name\nsample_1\nsample_2\nsample_3')  # labels are hidden
    for number in (1, 2):
        (folder / 'video' / f'sample_{number}.mp4').write_bytes(b'film')
    assert read_named(f'ov_merd_plus:{tmp_path}').clips == []
    told = '0 clips with gold words; left out: 2 without, 1 labels without a media file, 0 repeated'
    assert told in caplog.text


def test_a_manifest_that_is_absent_is_named_with_what_was_expected(config, tmp_path):
    path = str(tmp_path / 'absent.jsonl')
    with pytest.raises(ValueError, match=re.escape(f"data.manifest='{path}': cannot be read")):
        choose_clips(changed(config, data__manifest=path))


def test_a_share_that_leaves_no_clip_on_a_side_is_refused(config, tmp_path):
    path = manifest_of(tmp_path / 'clips.jsonl', 1, reasoning='eyes down')
    with pytest.raises(ValueError) as raised:
        choose_clips(changed(config, data__manifest=path))
    message = str(raised.value)
    for part in ('data.held_out=0.2 splits the 1 clips', path, 'both need at least one'):
        assert part in message


def test_imitation_without_gold_traces_is_refused_and_without_imitation_they_are_not_needed(
    config, tmp_path
):
    path = manifest_of(tmp_path / 'clips.jsonl', 40)
    changed(config, data__manifest=path)
    with pytest.raises(ValueError, match=r"cold_start\.steps=170: .* has 'reasoning'.*steps=0"):
        choose_clips(config)
    train, test, _ = choose_clips(changed(config, cold_start__steps=0))
    assert len(train) + len(test) == 40


def test_without_validations_no_clip_is_left_aside_for_them(config, tmp_path):
    assert len(choose_clips(config).validation) == 0
    path = manifest_of(tmp_path / 'clips.jsonl', 60, reasoning='eyes down')
    chosen = choose_clips(changed(config, data__manifest=path))
    assert chosen.validation == [] and len(chosen.train) + len(chosen.test) == 60


def test_validation_clips_of_the_stage_are_drawn_apart(config):
    changed(config, every__validate=10, validation__clips=5)
    train, test, validation = choose_clips(config)
    assert len(validation) == 5 and validation[0].id.startswith('validation-0-')
    heard = validation[0].audio.tobytes()
    assert heard not in (train[0].audio.tobytes(), test[0].audio.tobytes())


def test_validation_clips_of_a_manifest_come_from_its_training_clips(config, tmp_path):
    path = manifest_of(tmp_path / 'clips.jsonl', 100, reasoning='eyes down')
    before = choose_clips(changed(config, data__manifest=path))
    chosen = choose_clips(changed(config, every__validate=10, data__validation=0.2))
    assert chosen.test == before.test
    ids = [{clip.id for clip in side} for side in (chosen.train, chosen.validation, before.train)]
    assert ids[0] | ids[1] == ids[2] and not ids[0] & ids[1] and len(ids[1]) > 5
    few = choose_clips(changed(config, validation__clips=3))
    assert few.validation == chosen.validation[:3] and few.train == chosen.train


def test_a_share_that_leaves_too_few_clips_to_validate_on_is_refused(config, tmp_path):
    path = manifest_of(tmp_path / 'clips.jsonl', 6, reasoning='eyes down')
    changed(config, data__manifest=path, every__validate=10, data__validation=0.001)
    with pytest.raises(ValueError) as raised:
        choose_clips(config)
    for part in ('data.validation=0.001 leaves 0 of the 6', path, 'needs two', 'every.validate=0'):
        assert part in str(raised.value)


def put_emoset(root, train=30, val=3, test=4, problem=''):
    """A folder of EmoSet whose splits have so many images, sorted by label."""
    for split, count in (('train', train), ('val', val), ('test', test)):
        words = sorted(('awe', 'fear')[n % 2] for n in range(count))
        rows = [
            {'id': f'{split}_{n}', 'image': f'{split}_{n}.jpg', 'emotion': word, 'problem': problem}
            for n, word in enumerate(words)
        ]
        if count:
            put(root / 'EmoSet-118K', f'{split}.json', data=json.dumps(rows))
            put(root / 'EmoSet-118K', *(row['image'] for row in rows))
    return f'emoset:{root}'


def test_published_splits_are_kept(config, tmp_path):
    manifest = put_emoset(tmp_path)
    changed(config, data__manifest=manifest, cold_start__steps=0, every__validate=1)
    chosen = choose_clips(config)
    sides = chosen.train, chosen.validation, chosen.test
    assert [len(side) for side in sides] == [30, 3, 4]
    assert [{clip.id.split('_')[0] for clip in side} for side in sides] == [
        {'train'}, {'val'}, {'test'},
    ]  # fmt: skip
    # Without validations its clips are not trained on either.
    assert choose_clips(changed(config, every__validate=0)).train == chosen.train


def test_without_a_validation_split_a_share_of_the_training_split_is_validated_on(config, tmp_path):
    manifest = put_emoset(tmp_path, val=0)
    changed(config, data__manifest=manifest, cold_start__steps=0, data__validation=0.3)
    chosen = choose_clips(changed(config, every__validate=1))
    assert len(chosen.validation) > 2 and len(chosen.validation) + len(chosen.train) == 30
    assert len(chosen.test) == 4


def test_a_list_without_a_test_split_is_split_by_a_hash(config, tmp_path):
    put_emoset(tmp_path, test=0)
    changed(config, data__manifest=f'emoset:{tmp_path}/EmoSet-118K/train.json')
    chosen = choose_clips(changed(config, cold_start__steps=0))
    assert chosen.test and len(chosen.train) + len(chosen.test) == 30


def test_few_clips_of_a_sorted_list_have_several_labels(config, tmp_path):
    changed(config, data__manifest=put_emoset(tmp_path, test=60), cold_start__steps=0)
    changed(config, evaluate__clips=10)
    few = choose_clips(config).test
    assert len(few) == 10 and len({clip.words for clip in few}) == 2
    assert few == [
        clip for clip in choose_clips(changed(config, evaluate__clips=60)).test if clip in few
    ]


def test_the_question_of_a_clip_is_asked_or_that_of_the_config(config, tmp_path):
    manifest = put_emoset(tmp_path, problem='Which of awe and fear?')
    changed(config, data__manifest=manifest, cold_start__steps=0)
    assert choose_clips(config).train[0].question == 'Which of awe and fear?'
    # The problems of a list name neither steps nor box.
    assert emo_r3('qwen2_5_vl_3b').data.own_questions is False
    chosen = choose_clips(changed(config, data__own_questions=False))
    assert not any(clip.question for clip in (*chosen.train, *chosen.test))


def test_published_splits_that_leave_a_side_empty_are_refused(config, tmp_path):
    manifest = put_emoset(tmp_path, test=1)
    (tmp_path / 'EmoSet-118K' / 'test_0.jpg').unlink()
    changed(config, data__manifest=manifest, cold_start__steps=0)
    with pytest.raises(ValueError, match='splits give 30 clips to train on and 0 to evaluate'):
        choose_clips(config)
    put_emoset(tmp_path, val=1)
    with pytest.raises(ValueError, match='leaves 1 clips of the validation split of emoset'):
        choose_clips(changed(config, every__validate=1))
