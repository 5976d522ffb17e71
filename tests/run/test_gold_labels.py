"""Gold words outside data.labels: counted, named, and left out before training starts."""

import json

import pytest
from benchmark_folders import put
from small import changed

from mer_jax.data.clips import Clip
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.defaults import get_config
from mer_jax.run.emo_r3_defaults import EMOTION6, emo_r3
from mer_jax.run.gold_labels import tell_unknown

LABELS = ('awe', 'fear')


@pytest.fixture
def config():
    return changed(emo_r3(), cold_start__steps=0, data__labels=LABELS)


def put_images(root, **counts):
    """A folder of Emotion6 with so many images a word."""
    put(root / 'Emotion6', *(f'{word}/{n}.jpg' for word in counts for n in range(counts[word])))
    return f'emotion6:{root}'


def put_emoset(root, **splits):
    """A folder of EmoSet; a split is a list of words, one an image."""
    for split, words in splits.items():
        rows = [
            [word, f'{split}_{n}', f'image/{split}_{n}.jpg', ''] for n, word in enumerate(words)
        ]
        put(root / 'EmoSet-118K', f'{split}.json', data=json.dumps(rows))
        put(root / 'EmoSet-118K', *(row[2] for row in rows))
    return f'emoset:{root}'


def test_words_outside_the_labels_are_counted_and_their_clips_left_out(config, tmp_path, caplog):
    changed(config, data__manifest=put_images(tmp_path, fear=30, joy=20, Love=5))
    chosen = choose_clips(config)
    assert len(chosen.train) + len(chosen.test) == 30
    assert {clip.words for clip in (*chosen.train, *chosen.test)} == {('fear',)}
    told = (
        f'data.manifest=emotion6:{tmp_path}: 25 of 55 clips have a gold word outside data.labels: '
        'joy 20, love 5; add the words to it, or these clips are left out'
    )
    assert told in caplog.text
    # A folder that the set does not know is read once its name is a label.
    chosen = choose_clips(changed(config, data__labels=(*EMOTION6, ' LOVE ')))
    assert len(chosen.train) + len(chosen.test) == 55


def test_every_published_side_is_told_apart(config, tmp_path, caplog):
    manifest = put_emoset(
        tmp_path, train=['awe', 'anger', 'fear'], val=['fear'] * 3, test=['awe', 'awe', 'disgust']
    )
    changed(config, data__manifest=manifest, every__validate=1)
    chosen = choose_clips(config)
    assert [clip.id for clip in chosen.train] == ['train_0', 'train_2']
    assert [clip.id for clip in chosen.test] == ['test_0', 'test_1']
    assert [clip.id for clip in chosen.validation] == ['val_0', 'val_1', 'val_2']
    assert '1 of 3 clips to train on have a gold word outside data.labels: anger 1' in caplog.text
    assert '1 of 3 clips held out have a gold word outside data.labels: disgust 1' in caplog.text


def test_a_set_without_any_label_is_refused(config, tmp_path):
    changed(config, data__manifest=put_images(tmp_path, joy=3, anger=1))
    with pytest.raises(ValueError) as raised:
        choose_clips(config)
    for part in ('data.labels=awe,fear: none of the 4 clips', 'joy 3, anger 1', 'set data.labels'):
        assert part in str(raised.value)


def test_words_of_a_manifest_are_held_against_the_labels_too(config, tmp_path):
    lines = [{'id': str(n), 'image': 'a.png', 'words': ['joy', 'awe']} for n in range(9)]
    (tmp_path / 'clips.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match='none of the 9 clips.* they have joy 9'):
        choose_clips(changed(config, data__manifest=str(tmp_path / 'clips.jsonl')))


def test_a_method_without_labels_keeps_every_word(variant_config, tmp_path):
    c = changed(variant_config(), data__manifest=put_images(tmp_path, joy=30, love=10))
    chosen = choose_clips(changed(c, cold_start__steps=0))
    assert len(chosen.train) + len(chosen.test) == 40


def test_gold_words_that_no_wheel_knows_are_counted(caplog):
    wheels = load_wheels(('ekman', 'parrott'))
    c = changed(get_config(), data__manifest='clips.jsonl')
    clips = [Clip('a', words=('sad', 'zorp')), Clip('b', words=('zorp', 'blib', 'Happy'))]
    tell_unknown(c, wheels, clips)
    (said,) = caplog.messages
    assert said.startswith(
        'data.manifest=clips.jsonl: 3 of 5 gold words are in none of data.wheels=ekman,parrott and '
        'do not count: zorp 2, blib 1;'
    )
    caplog.clear()
    tell_unknown(c, wheels, [Clip('a', words=('sad',))])
    tell_unknown(c, None, clips)
    tell_unknown(changed(get_config(), data__manifest=''), wheels, clips)
    assert not caplog.messages
