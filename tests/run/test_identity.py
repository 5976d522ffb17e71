"""The identity of a run: each part that counts is told apart, and nothing else is."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest

from mer_jax.data.clips import Clip
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.run.checkpoint_files import files_of_checkpoint
from mer_jax.run.identity import (
    LONGEST,
    brief,
    digest_of_use,
    facts_of,
    identity_of,
    read_identity,
    write_identity,
)
from mer_jax.run.identity_check import SHOWN, check_identity


@pytest.fixture
def setting(config, tmp_path):
    """A setting of a clip to train on, one to validate on and two held out."""
    config.data.manifest = 'clips.jsonl'
    (tmp_path / 'films').mkdir()
    clips = [clip_of(tmp_path / 'films', name) for name in 'abcd']
    return SimpleNamespace(
        config=config,
        train_clips=clips[:1],
        validation_clips=clips[1:2],
        test_clips=clips[2:],
        wheels=None,
        origin=SimpleNamespace(root=None),
    )


def clip_of(folder, name, **changes):
    """A clip of a film and two images."""
    files = [folder / f'{name}{ending}' for ending in ('.mp4', '1.png', '2.png')]
    for file in files:
        file.write_text(file.name)
    video, *image = map(str, files)
    texts = {'subtitle': 'Oh.', 'reasoning': 'He sobs.', 'answer': ('sad',), 'source': 'film'}
    return Clip(name, video=video, image=tuple(image), words=('sad',), **texts | changes)


def compare(setting, before, tmp_path, changed=()):
    """The differences that a start names between its data and those of an earlier one."""
    return check_identity(tmp_path, before, identity_of(setting), changed)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'subtitle': 'Ah.'}, "clip a: subtitle='Ah.' (was 'Oh.')"),
        ({'question': 'Why?'}, "clip a: question='Why?' (was '')"),
        ({'reasoning': ''}, "clip a: reasoning='' (was 'He sobs.')"),
        ({'answer': ('happy',)}, "clip a: answer=['happy'] (was ['sad'])"),
        ({'cues': ('A tear.',)}, "clip a: cues=['A tear.'] (was '')"),
        ({'source': 'other'}, "clip a: source='other' (was 'film')"),
    ],
)
def test_a_text_of_a_training_clip_that_changed_is_refused(setting, tmp_path, change, said):
    before = identity_of(setting)
    setting.train_clips = [clip_of(tmp_path / 'films', 'a', **change)]
    with pytest.raises(ValueError) as raised:
        compare(setting, before, tmp_path)
    assert said in str(raised.value)
    assert f'--workdir={tmp_path}: holds a run that has read other data' in str(raised.value)
    assert 'Undo the change, or choose another --workdir' in str(raised.value)


@pytest.mark.parametrize('name', ['a.mp4', 'a2.png', 'b1.png'])
def test_a_media_file_of_other_content_is_refused(setting, tmp_path, name):
    before = identity_of(setting)
    (tmp_path / 'films' / name).write_text('other')
    with pytest.raises(ValueError) as raised:
        compare(setting, before, tmp_path)
    kind = 'video' if name == 'a.mp4' else 'image'
    told = f'clip {name[0]}: {kind} {tmp_path}/films/{name} is 5 bytes, sha256:'
    assert told in str(raised.value) and f'(was {len(name)} bytes' in str(raised.value)
    (tmp_path / 'films' / name).unlink()
    with pytest.raises(ValueError, match=f'{name} is missing .was {len(name)} bytes'):
        compare(setting, before, tmp_path)


def test_files_that_were_touched_or_moved_are_the_same(setting, tmp_path):
    before = identity_of(setting)
    os.utime(tmp_path / 'films' / 'a.mp4', (1, 1))
    assert compare(setting, before, tmp_path) == []
    shutil.move(tmp_path / 'films', tmp_path / 'moved')
    setting.train_clips = [clip_of(tmp_path / 'moved', 'a')]
    setting.validation_clips = [clip_of(tmp_path / 'moved', 'b')]
    setting.test_clips = [clip_of(tmp_path / 'moved', name) for name in 'cd']
    assert compare(setting, before, tmp_path) == []


def test_clips_that_came_or_went_or_changed_places_are_refused(setting, tmp_path):
    before = identity_of(setting)
    a, e = setting.train_clips[0], clip_of(tmp_path / 'films', 'e')
    for clips, said in (([e], r'clip a \(train\) is missing; clip e \(train\) is new'), ([], 'a')):
        setting.train_clips = clips
        with pytest.raises(ValueError, match=said):
            compare(setting, before, tmp_path)
    setting.train_clips = [a, e]
    before = identity_of(setting)
    setting.train_clips = [e, a]
    with pytest.raises(ValueError, match='the order of the train clips'):
        compare(setting, before, tmp_path)


def test_many_differences_are_counted(setting, tmp_path):
    setting.train_clips = [clip_of(tmp_path / 'films', f'e{n}') for n in range(SHOWN + 3)]
    before = identity_of(setting)
    setting.train_clips = [
        clip_of(tmp_path / 'films', f'e{n}', source='x') for n in range(SHOWN + 3)
    ]
    with pytest.raises(ValueError, match='; and 3 more differences. Undo'):
        compare(setting, before, tmp_path)


def test_other_held_out_clips_are_said_and_make_evaluations_again(setting, tmp_path):
    before = identity_of(setting)
    write_identity(tmp_path, before)
    digest = digest_of_use(tmp_path, 'test')
    (tmp_path / 'films' / 'c.mp4').write_text('other')
    (said,) = compare(setting, before, tmp_path)
    assert said.startswith('other held-out clips, so it evaluates again: clip c: video')
    write_identity(tmp_path, identity_of(setting))
    assert digest_of_use(tmp_path, 'test') != digest
    # Fewer clips by the config are no difference, and make evaluations again too.
    setting.test_clips = setting.test_clips[:1]
    now = identity_of(setting)
    setting.test_clips = setting.test_clips * 0
    assert compare(setting, now, tmp_path, ['evaluate.clips']) == []


def test_the_digest_of_held_out_clips_leaves_out_where_files_are(setting, tmp_path):
    write_identity(tmp_path, identity_of(setting))
    digest = digest_of_use(tmp_path, 'test')
    assert digest not in [digest_of_use(tmp_path, use) for use in ('train', 'validation')]
    os.utime(tmp_path / 'films' / 'c.mp4', (1, 1))
    setting.test_clips = [clip_of(tmp_path, name) for name in 'cd']
    lines = identity_of(setting)
    lines[-1]['media'][0][1]['version'] = 'of another disk'
    write_identity(tmp_path, lines)
    assert digest_of_use(tmp_path, 'test') == digest


def test_more_clips_to_validate_on_by_the_config_are_no_difference(setting, tmp_path):
    before = identity_of(setting)
    setting.validation_clips = [*setting.validation_clips, clip_of(tmp_path / 'films', 'e')]
    assert compare(setting, before, tmp_path, ['validation.clips']) == []
    with pytest.raises(ValueError, match=r'clip e \(validation\) is new'):
        compare(setting, before, tmp_path)


def test_clips_that_could_not_be_used_may_be_mended(setting, tmp_path):
    (tmp_path / 'films' / 'a.mp4').unlink()
    before = identity_of(setting)
    (tmp_path / 'films' / 'a.mp4').write_text('found')
    (said,) = compare(setting, before, tmp_path)
    assert said.startswith('mended clips: clip a: video') and 'was missing' in said
    before = identity_of(setting)
    (tmp_path / 'films' / 'a.mp4').write_text('whole')
    with pytest.raises(ValueError, match='clip a'):
        compare(setting, before, tmp_path)
    (tmp_path / 'bad_clips_1.jsonl').write_text(json.dumps({'id': 'a', 'reason': 'x'}) + '\n{"i')
    assert 'mended clips' in compare(setting, before, tmp_path)[0]


def test_a_wheel_counts_by_its_categories(setting, tmp_path):
    def wheels(text):
        (tmp_path / 'w.csv').write_text(f'level1,level2,level3\n{text}')
        setting.config.data.wheels = (str(tmp_path / 'w.csv'),)
        setting.wheels = load_wheels(setting.config.data.wheels)
        return identity_of(setting)

    before = wheels('joy,,happy\nsorrow,,sad\n')
    wheels('# A remark.\njoy,,happy\nsorrow,,sad\n')
    assert compare(setting, before, tmp_path) == []
    wheels('joy,,sad\nsorrow,,happy\n')
    with pytest.raises(ValueError, match=r'content of data.wheels: .*w.csv \(was sha256 .*, is '):
        compare(setting, before, tmp_path)


def test_the_first_checkpoint_counts_by_its_files(setting, omni_folder, tmp_path):
    folder = shutil.copytree(omni_folder, tmp_path / 'omni')
    setting.config.model.checkpoint, setting.origin.root = str(folder), folder
    before = identity_of(setting)
    moved = shutil.copytree(folder, tmp_path / 'moved')
    setting.config.model.checkpoint, setting.origin.root = str(moved), moved
    assert compare(setting, before, tmp_path) == []
    with (moved / 'model.safetensors').open('r+b') as file:
        file.seek(-1, os.SEEK_END)
        file.write(b'x')
    (moved / 'new.json').write_text('{}')
    with pytest.raises(ValueError) as raised:
        compare(setting, before, tmp_path)
    assert 'model.checkpoint: new.json is new; model.checkpoint: model.safe' in str(raised.value)


def test_of_a_run_the_checkpoint_that_its_policy_comes_from_counts(tmp_path):
    for step in ('2', '10', 'damaged_12'):
        (tmp_path / 'train' / step / 'state').mkdir(parents=True)
        (tmp_path / 'train' / step / 'state' / 'array').touch()
    assert [*files_of_checkpoint(str(tmp_path), None)] == ['train/10/state/array']
    evaluated = {'evaluated': {'policy': 'best', 'update': 2}}
    (tmp_path / 'results.json').write_text(json.dumps(evaluated))
    assert [*files_of_checkpoint(str(tmp_path), None)] == ['train/2/state/array']
    shutil.rmtree(tmp_path / 'train')
    assert files_of_checkpoint(str(tmp_path), None) == files_of_checkpoint('', None) == {}


def test_an_identity_is_written_and_read_back(setting, tmp_path):
    assert read_identity(tmp_path) == []
    lines = identity_of(setting)
    write_identity(tmp_path, lines)
    assert read_identity(tmp_path) == lines == identity_of(setting, lines)


@pytest.mark.parametrize('text', ['[]', '{', '5', '{"a": 1}', '{"reads": "clip", "media": 5}'])
def test_a_damaged_identity_is_named(tmp_path, text):
    (tmp_path / 'identity.jsonl').write_text(text)
    with pytest.raises(ValueError, match=f'{tmp_path}/identity.jsonl: must hold'):
        read_identity(tmp_path)


def test_an_identity_with_another_byte_is_damaged_and_not_another_run(setting, tmp_path):
    write_identity(tmp_path, identity_of(setting))
    path = tmp_path / 'identity.jsonl'
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"train"', b'"test"', 1))
    with pytest.raises(ValueError, match='does not agree with its checksum.*remove it if nothing'):
        read_identity(tmp_path)
    path.write_bytes(b''.join(whole.splitlines(keepends=True)[:-1]))  # of an earlier version
    assert read_identity(tmp_path) == identity_of(setting)


def test_a_long_text_is_told_apart_by_its_end(setting):
    long = 'a' * LONGEST
    assert brief(long) == long
    texts = {brief(f'{long}{end}') for end in ('b', 'c', 'bc')}
    assert len(texts) == 3 and all(len(text) < LONGEST + 20 for text in texts)


def test_processes_of_a_run_compare_texts_and_wheels(setting, tmp_path):
    before = facts_of(setting)
    assert before.keys() == {'content of data.manifest'} and facts_of(setting) == before
    setting.train_clips = [clip_of(tmp_path / 'films', 'a', reasoning='She laughs.')]
    assert facts_of(setting) != before
