"""A workdir belongs to one run; which keys of its config may change when it is resumed."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import tiny
from small import changed

from mer_jax.data.clips import Clip
from mer_jax.run.workdir import IDENTITY, claim_workdir, read_config


def test_a_new_workdir_is_claimed_with_all_that_defines_the_run(tmp_path, config):
    workdir = tmp_path / 'runs' / 'first'
    assert claim_workdir(workdir, config, tiny.SPEC) == []
    assert [path.name for path in workdir.iterdir()] == ['config.json']
    held = json.loads((workdir / 'config.json').read_text())
    assert held['learn.kl'] == 0.04
    assert held['data.wheels'] == ['parrott', 'feeling', 'ekman']
    assert held['spec.text.vocab_size'] == 64
    assert held['spec.vision'] is None


def test_the_same_run_resumes(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    assert claim_workdir(tmp_path, config, tiny.SPEC) == []


def test_other_steps_are_allowed_and_named(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    before = config.steps
    changed(config, steps=7, learn__kl=0.5)
    lines = claim_workdir(tmp_path, config, tiny.SPEC)
    assert sorted(lines) == ['learn.kl=0.5 (was 0.04)', f'steps=7 (was {before})']
    # Later commands ask the policy as it was trained last; nothing of the first start is lost.
    assert read_config(tmp_path)['learn.kl'] == 0.5
    kept = json.loads((tmp_path / 'config_changes.jsonl').read_text())
    assert kept == {'learn.kl': [0.04, 0.5], 'steps': [before, 7]}
    assert claim_workdir(tmp_path, config, tiny.SPEC) == []


def test_the_cold_start_may_change_until_training_has_begun(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    assert claim_workdir(tmp_path, changed(config, cold_start__steps=9), tiny.SPEC)
    (tmp_path / 'train').mkdir()
    with pytest.raises(ValueError, match=r'cold_start\.steps=11, but .* holds a run with 9'):
        claim_workdir(tmp_path, changed(config, cold_start__steps=11), tiny.SPEC)


@pytest.mark.parametrize(('stage', 'key'), [('cold_start', 'cold_start.steps'), ('train', 'steps')])
def test_fewer_updates_than_are_saved_are_refused(tmp_path, config, stage, key):
    changed(config, **{key: 9})
    claim_workdir(tmp_path, config, tiny.SPEC)
    for name in ('4', '9', 'damaged_12'):
        (tmp_path / stage / name).mkdir(parents=True)
    assert claim_workdir(tmp_path, config, tiny.SPEC) == []
    with pytest.raises(ValueError, match=rf'^{key}=8, but .*{stage} holds update 9: .*at least 9'):
        claim_workdir(tmp_path, changed(config, **{key: 8}), tiny.SPEC)


@pytest.mark.parametrize('older', [False, True])  # a run of before the key was there
def test_the_trained_part_may_change_until_training_has_begun(tmp_path, config, older):
    claim_workdir(tmp_path, config, tiny.SPEC)
    if older:
        held = json.loads((tmp_path / 'config.json').read_text())
        del held['learn.train'], held['method']
        (tmp_path / 'config.json').write_text(json.dumps(held))
    changed(config, learn__train='all')
    assert claim_workdir(tmp_path, config, tiny.SPEC) == ["learn.train='all' (was 'decoder')"]
    (tmp_path / 'train').mkdir()
    assert claim_workdir(tmp_path, config, tiny.SPEC) == []
    with pytest.raises(ValueError, match=r"learn\.train='decoder', but .* a run with 'all'"):
        claim_workdir(tmp_path, changed(config, learn__train='decoder'), tiny.SPEC)


@pytest.mark.parametrize(
    ('key', 'value', 'before'),
    [
        ('seed', 1, 0),
        ('method', 'emo_r3', 'mer_r1'),
        ('data.clips', 12, 16384),
        ('data.manifest', 'mine.jsonl', ''),
        ('data.held_out', 0.5, 0.2),
        ('data.wheels', ('ekman',), ['parrott', 'feeling', 'ekman']),
    ],
)
def test_another_run_is_refused_and_nothing_is_written(tmp_path, config, key, value, before):
    claim_workdir(tmp_path, config, tiny.SPEC)
    held = (tmp_path / 'config.json').read_bytes()
    now = list(value) if isinstance(value, tuple) else value
    with pytest.raises(ValueError) as raised:
        claim_workdir(tmp_path, changed(config, **{key: value, 'steps': 3}), tiny.SPEC)
    message = str(raised.value)
    assert message.startswith(f'{key}={now!r}, but {tmp_path} holds a run with {before!r}')
    assert '--workdir' in message
    assert (tmp_path / 'config.json').read_bytes() == held
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_clips_to_validate_on_cannot_be_taken_from_a_manifest_once_the_run_has_begun(
    tmp_path, config
):
    changed(config, data__manifest='clips.jsonl')
    claim_workdir(tmp_path, config, tiny.SPEC)
    held = json.loads((tmp_path / 'config.json').read_text())
    del held['data.validation where every.validate is above 0']  # of before the key was there
    (tmp_path / 'config.json').write_text(json.dumps(held))
    assert claim_workdir(tmp_path, changed(config, data__validation=0.3), tiny.SPEC)
    changed(config, every__validate=10)
    with pytest.raises(ValueError, match=r'data\.validation where .*=0\.3, but .* run with 0\.0'):
        claim_workdir(tmp_path, config, tiny.SPEC)


def test_a_run_on_the_stage_may_validate_later(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    lines = claim_workdir(tmp_path, changed(config, every__validate=10), tiny.SPEC)
    assert lines == ['every.validate=10 (was 0)']


def test_other_sizes_of_the_model_are_refused(tmp_path, config):
    claim_workdir(tmp_path, config, tiny.SPEC)
    larger = dataclasses.replace(tiny.SPEC, text=dataclasses.replace(tiny.TEXT, vocab_size=128))
    with pytest.raises(ValueError, match='model.text.vocab_size=128, but .* holds a model with 64'):
        claim_workdir(tmp_path, config, larger)


def test_a_manifest_of_other_content_is_another_run(tmp_path, config):
    film = tmp_path / 'a.mp4'
    film.write_text('one')
    clip = Clip('a', video=str(film), words=('sad',))
    changed(config, data__manifest='clips.jsonl')
    claim_workdir(tmp_path / 'run', config, tiny.SPEC, [clip])
    assert claim_workdir(tmp_path / 'run', config, tiny.SPEC, [clip]) == []
    for other in ([clip, clip], [dataclasses.replace(clip, words=('happy',))]):
        with pytest.raises(ValueError, match='content of data.manifest='):
            claim_workdir(tmp_path / 'run', config, tiny.SPEC, other)
    film.write_text('mended')
    assert claim_workdir(tmp_path / 'run', config, tiny.SPEC, [clip]) == []


@pytest.mark.parametrize('identified', [False, True])
def test_files_may_be_named_at_a_new_place_where_their_content_is_known(
    tmp_path, config, identified
):
    changed(config, data__manifest='clips.jsonl')
    claim_workdir(tmp_path, config, tiny.SPEC)
    if identified:
        (tmp_path / IDENTITY).write_text('')
    changed(config, data__manifest='moved/clips.jsonl')
    if identified:
        (said,) = claim_workdir(tmp_path, config, tiny.SPEC)
        assert said == "data.manifest='moved/clips.jsonl' (was 'clips.jsonl')"
    else:
        with pytest.raises(ValueError, match='data.manifest='):
            claim_workdir(tmp_path, config, tiny.SPEC)


def test_looking_writes_nothing(tmp_path, config):
    assert claim_workdir(tmp_path / 'run', config, tiny.SPEC, write=False) == []
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('left', ['cold_start', 'train', 'records.jsonl'])
def test_a_run_without_its_config_is_not_taken_over(tmp_path, config, left):
    (tmp_path / left).mkdir()
    with pytest.raises(ValueError, match=f'holds {left} of a run whose config.json is missing'):
        claim_workdir(tmp_path, config, tiny.SPEC)
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_a_file_is_no_workdir(tmp_path, config):
    (tmp_path / 'file').touch()
    for workdir in (tmp_path / 'file', tmp_path / 'file' / 'runs' / 'first'):
        with pytest.raises(ValueError, match=f'{workdir}: must be a folder, and .*/file is a file'):
            claim_workdir(workdir, config, tiny.SPEC)


def test_a_folder_that_is_read_only_or_full_is_refused(tmp_path, config, monkeypatch):
    workdir = tmp_path / 'runs' / 'first'
    with monkeypatch.context() as patched:
        patched.setattr('os.access', lambda path, mode: path != tmp_path)
        with pytest.raises(ValueError, match=f'={workdir}: {tmp_path} cannot be written to'):
            claim_workdir(workdir, config, tiny.SPEC)
    with monkeypatch.context() as patched:
        patched.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=7))
        with pytest.raises(ValueError, match=f'={workdir}: the disk of {tmp_path} is full .7 byt'):
            claim_workdir(workdir, config, tiny.SPEC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('text', ['[]', '{}', '{', '5'])
def test_a_damaged_config_of_a_run_is_named(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match='must hold the config of a run') as raised:
        read_config(tmp_path)
    assert str(tmp_path / 'config.json') in str(raised.value)
