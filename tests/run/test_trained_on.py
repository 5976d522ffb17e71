"""The clips that a checkpoint was trained on, and warnings about an evaluation on them."""

import json
import types

import pytest
import small

from mer_jax.data.clips import Clip
from mer_jax.evaluation.tables import as_markdown, warnings_of
from mer_jax.run.export import export_policy
from mer_jax.run.trained_on import (
    FILE,
    keep_trained_on,
    known,
    shared_with_training,
    warning_of,
)


def clip_of(folder, name, content=None, **more):
    """A clip of words, and of a film if its content is given."""
    if content is None:
        return Clip(name, subtitle='Fine.', words=('sad',), **more)
    folder.mkdir(exist_ok=True)
    (folder / f'{name}.mp4').write_text(content)
    return Clip(name, video=str(folder / f'{name}.mp4'), words=('sad',), **more)


def setting_of(config, train, validation=(), **values):
    """As much of a setting as the file of a run needs."""
    small.changed(config, data__manifest='clips.jsonl', **values)
    return types.SimpleNamespace(config=config, train_clips=train, validation_clips=validation)


@pytest.fixture
def run(config, tmp_path):
    """A workdir of a run that was trained on two films and validated on a third clip."""
    workdir = tmp_path / 'run'
    workdir.mkdir()
    films = tmp_path / 'films'
    train = [clip_of(films, 'a', 'one', source='film 7'), clip_of(films, 'b', 'two')]
    keep_trained_on(setting_of(config, train, [clip_of(films, 'c')]), workdir)
    return workdir


def test_a_line_a_clip_tells_its_id_its_source_its_use_and_its_media(run):
    lines = [json.loads(line) for line in (run / FILE).open()]
    assert lines == known(str(run))
    assert [(line['id'], line['source'], line['use']) for line in lines] == [
        ('a', 'film 7', 'train'),
        ('b', '', 'train'),
        ('c', '', 'validation'),
    ]
    assert [len(line['media']) for line in lines] == [1, 1, 0]
    assert str(run.parent) not in (run / FILE).read_text()  # an export tells no paths


def test_the_file_is_written_once(run, config):
    before = (run / FILE).read_bytes()
    lines = keep_trained_on(setting_of(config, [Clip('z')]), run)
    assert (run / FILE).read_bytes() == before and len(lines) == 3


def test_a_run_that_begins_with_another_was_trained_on_its_clips_too(run, config, tmp_path):
    later = tmp_path / 'later'
    later.mkdir()
    setting = setting_of(config, [Clip('d')], model__checkpoint=str(run))
    assert [line['id'] for line in keep_trained_on(setting, later)] == ['a', 'b', 'c', 'd']
    on_stage = tmp_path / 'on_stage'
    on_stage.mkdir()
    small.changed(config, data__manifest='')
    assert [line['id'] for line in keep_trained_on(setting, on_stage)] == ['a', 'b', 'c']


def test_a_run_on_the_stage_has_no_file(config, tmp_path):
    setting = setting_of(config, [Clip('a')])
    small.changed(config, data__manifest='')
    assert keep_trained_on(setting, tmp_path) is None and not (tmp_path / FILE).exists()


def test_clips_are_shared_by_their_id_or_by_the_content_of_their_files(run, tmp_path):
    other = tmp_path / 'elsewhere'
    clips = [
        clip_of(other, 'a'),  # the id
        clip_of(other, 'x', 'two'),  # a copy of a film
        clip_of(other, 'y', 'new'),
        clip_of(other, 'b', 'two'),  # both
    ]
    shared = shared_with_training(known(str(run)), clips)
    assert shared == {'clips': 4, 'ids': 2, 'media': 2, 'examples': ['x', 'b', 'a']}
    told = warning_of(shared, 'mer2023')
    assert told.startswith('mer2023: of 4 clips, 2 share a media file and 2 an id with clips')
    assert 'e.g. x, b, a' in told
    none = shared_with_training(known(str(run)), clips[2:3])
    assert none == {'clips': 1, 'ids': 0, 'media': 0, 'examples': []}
    assert warning_of(none, 'mer2023') is None


@pytest.mark.parametrize('text', [None, '{"id": "a"}\n', '{"id"', '[]\n'])
def test_of_a_checkpoint_without_a_readable_file_nothing_is_known(tmp_path, text):
    if text is not None:
        (tmp_path / FILE).write_text(text)
    trained = known(str(tmp_path))
    assert trained is None and shared_with_training(trained, [Clip('a')]) == 'unknown'
    assert warning_of('unknown', 'mer2023') is None and known('') is None


def test_results_of_an_evaluation_warn_of_the_sets_that_share_clips():
    results = {'protocol': {}, 'absent': [], 'sets': {}, 'trained_on': 'unknown'}
    shared = {'clips': 4, 'ids': 1, 'media': 0, 'examples': ['a']}
    none = {'clips': 2, 'ids': 0, 'media': 0, 'examples': []}
    results['shared_with_training'] = {'manifest': shared, 'mer2023': none}
    assert [told.partition(':')[0] for told in warnings_of(results)] == ['manifest']
    assert '* Warning: manifest: of 4 clips, 0 share a media file' in as_markdown(results)
    results['shared_with_training'] = 'unknown'
    assert warnings_of(results) == [] and 'Warning' not in as_markdown(results)


def test_an_export_carries_the_file_along(run, config, tmp_path):
    setting, policy = small.write_run(small.shrink(config), tmp_path / 'small')
    export_policy(setting, policy, tmp_path / 'export', run)
    assert (tmp_path / 'export' / FILE).read_bytes() == (run / FILE).read_bytes()
    assert known(str(tmp_path / 'export')) == known(str(run))
