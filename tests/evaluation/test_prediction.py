"""Prediction from a run and from its export: answers, confidences, and files that are no clips."""

import json
import os
import shutil
import sys

import jax
import numpy as np
import pytest
import small

from mer_jax.data.stage import stage
from mer_jax.evaluation.prediction import (
    Answer,
    clip_of_file,
    disagreement,
    make_answer,
    predict,
)
from mer_jax.methods.mer_r1 import OPENINGS
from mer_jax.predict import as_text, main, read_flags
from mer_jax.run.export import export_policy
from mer_jax.run.setting import open_checkpoint


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=1, seed=5, split='train', sheet=False)
    return next(folder.rglob('*.mp4'))


@pytest.fixture(scope='module')
def places(module_config, tmp_path_factory):
    """The workdir of a run and what it exports."""
    folder = tmp_path_factory.mktemp('places')
    small.write_run(small.shrink(module_config), folder / 'run')
    export_policy(*open_checkpoint(str(folder / 'run')), folder / 'export')
    return folder / 'run', folder / 'export'


def say(monkeypatch, capsys, *arguments):
    """(exit status, standard output, standard error) of the command line."""
    monkeypatch.setattr(sys, 'argv', ['predict', *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return left.value.code, out, err


@pytest.mark.slow
def test_a_run_and_its_export_give_the_same_answers(places, film):
    clip = clip_of_file(str(film), 'I am fine.')
    run, export = (predict(*open_checkpoint(str(place)), clip, samples=3) for place in places)
    assert run == export
    assert set(run) == {'fast', 'slow'} and len(run['slow'].samples) == 3
    said = *run['fast'].samples, *run['slow'].samples
    assert [text.startswith(OPENINGS['fast']) for text in said] == [True] * 3 + [False] * 3
    assert len(set(run['slow'].samples)) > 1


@pytest.mark.slow
def test_an_answer_depends_on_clip_and_seed_and_not_on_the_other_mode(places, film):
    setting, policy = open_checkpoint(str(places[1]))
    clip = clip_of_file(str(film))
    first = predict(setting, policy, clip, ('slow',), seed=1)
    assert predict(setting, policy, clip, ('slow',), seed=1) == first
    assert predict(setting, policy, clip, ('slow',), seed=2) != first


@pytest.mark.slow
def test_json_holds_a_line_for_each_clip(places, film, monkeypatch, capsys):
    arguments = ('--checkpoint', places[1], film, film, '--json', '--samples', 2)
    status, out, _ = say(monkeypatch, capsys, *arguments)
    first, second = map(json.loads, out.splitlines())
    assert status == 0 and first == second
    assert set(first) == {'clip', 'fast', 'slow', 'only'}
    keys = {'emotions', 'reasoning', 'formed', 'samples', 'confidence', 'reflection'}
    assert set(first['fast']) == keys and first['fast']['reflection'] == {}


@pytest.mark.slow
def test_files_that_are_no_clips_are_named_and_the_others_answered(
    places, film, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.mp4').write_text('no film')
    bad = [tmp_path / name for name in ('empty.mp4', 'text.mp4', 'absent.wav')] + [tmp_path]
    status, out, err = say(monkeypatch, capsys, '--checkpoint', places[1], *bad, film)
    assert status == 1
    assert out.splitlines()[0] == str(film)
    lines = [line for line in err.splitlines() if line.startswith('mer_jax: ')]
    assert [str(path) in line for path, line in zip(bad, lines, strict=True)] == [True] * 4


@pytest.mark.slow
def test_names_and_words_that_are_no_text_take_one_line_each(
    places, film, tmp_path, monkeypatch, capsys
):
    names = [os.fsdecode(b'a\xff.mp4'), 'new\nline.mp4', os.fsdecode(b'bad\xff\n.mp4')]
    good, empty = [tmp_path / name for name in names[:2]], tmp_path / names[2]
    for path in good:
        shutil.copyfile(film, path)
    empty.touch()
    asked = '--checkpoint', places[1], '--mode', 'fast', '--subtitle', '\udcff', *good, empty
    status, out, err = say(monkeypatch, capsys, *asked)
    shown = [line for line in out.encode().decode().splitlines() if line.startswith(str(tmp_path))]
    assert shown == [f'{tmp_path}/a\\udcff.mp4', f'{tmp_path}/new\\nline.mp4']
    lines = [line for line in err.encode().decode().splitlines() if line.startswith('mer_jax: ')]
    assert status == 1 and lines == [f'mer_jax: {tmp_path}/bad\\udcff\\n.mp4: is empty, 0 bytes']
    status, out, _ = say(monkeypatch, capsys, *asked, '--json')
    assert [json.loads(line)['clip'] for line in out.encode().splitlines()] == [*map(str, good)]


@pytest.mark.parametrize('checkpoint', ['absent', 'empty', 'damaged'])
def test_a_folder_without_a_checkpoint_is_named(checkpoint, film, tmp_path, monkeypatch, capsys):
    folder = tmp_path / checkpoint
    if checkpoint != 'absent':
        folder.mkdir()
    if checkpoint == 'damaged':
        (folder / 'config.json').write_text('{"model_type": ')
    status, out, _ = say(monkeypatch, capsys, '--checkpoint', folder, film)
    assert str(folder) in status and 'config' in status and not out


@pytest.mark.parametrize(
    ('flag', 'value'),
    [('--samples', 0), ('--seed', -1), ('--prompt-tokens', 0), ('--prompt-tokens', -10)],
)
def test_a_flag_that_cannot_be_met_is_named(flag, value, film, monkeypatch, capsys):
    status, _, err = say(monkeypatch, capsys, '--checkpoint', 'x', film, flag, value)
    assert status == 2 and f'{flag}={value}' in err


def said(text, think, words, formed, confidence, **scores):
    found = {'text': text, 'think': think, 'words': words, 'formed': formed}
    return found | {'confidence': confidence} | scores


def test_a_clip_whose_name_begins_with_a_dash_is_a_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / '-3g5y.mp4').write_bytes(b'x')
    for arguments in (
        ['-3g5y.mp4', '--json'],
        ['a.mp4', '-3g5y.mp4'],
        ['--json', '--', '-3g5y.mp4'],
    ):
        assert '-3g5y.mp4' in read_flags(['--checkpoint', 'run', *arguments]).clips
    with pytest.raises(SystemExit):
        read_flags(['--checkpoint', 'run', '-none.mp4'])
    assert 'comes last, after --' in capsys.readouterr().err


def test_samples_are_counted_and_confidence_is_the_mean_of_those_that_have_one():
    samples = [
        said('a', 'eyes down', ['sad', 'sad', 'lonely'], True, {'ekman': {'joy': 0.2, 'sad': 0.9}}),
        said('b', '', ['sad'], False, {'ekman': {'joy': 0.4, 'sad': 0.7}}),
        said('c', '', [], False, {}),
    ]
    answer = make_answer(samples)
    assert answer.emotions == {'sad': 2, 'lonely': 1} and answer.formed == 1
    assert answer.reasoning == 'eyes down' and answer.samples == ('a', 'b', 'c')
    assert list(answer.confidence['ekman']) == ['sad', 'joy'] and answer.reflection == {}
    np.testing.assert_allclose(answer.confidence['ekman']['sad'], 0.8)
    np.testing.assert_allclose(answer.confidence['ekman']['joy'], 0.3)


def test_the_rewards_of_a_reflection_are_means_over_samples():
    samples = [
        said('a', 'x', ['joy'], True, {}, coherence=1.0, consistency=0.5),
        said('b', 'y', ['joy'], True, {}, coherence=0.5, consistency=0.5),
    ]
    answer = make_answer(samples)
    assert answer.reflection == {'coherence': 0.75, 'consistency': 0.5}
    assert 'reflection: coherence 0.75, consistency 0.50' in as_text('a.png', {'slow': answer}, 2)


def test_disagreement_is_what_only_one_of_them_names():
    fast = Answer({'sad': 1, 'angry': 1}, '', 1, ('',), {}, {})
    slow = Answer({'sad': 1, 'lonely': 1}, 'eyes down', 1, ('',), {'ekman': {'sad': 0.5}}, {})
    answers = {'fast': fast, 'slow': slow}
    assert disagreement(answers) == {'fast': ['angry'], 'slow': ['lonely']}
    text = as_text('a.mp4', answers, 1)
    for part in ('sad, angry', 'because: eyes down', 'ekman: sad 0.50', 'only fast: angry'):
        assert part in text
    assert 'slow and fast agree' in as_text('a.mp4', {'fast': fast, 'slow': fast}, 1)


def test_all_devices_together_answer_as_the_config_says(places):
    setting, policy = open_checkpoint(str(places[0]))
    assert dict(setting.mesh.shape) == {'data': 1, 'fsdp': 1, 'tensor': jax.device_count()}
    assert policy.decoder.lm_head.weight[...].dtype == setting.spec.dtype
