"""Benchmarks by a checkpoint: the figures of a run again, the same files after a kill."""

import json
import shutil

import forks
import jax
import pytest
from programs import environment

from mer_jax.data.clips import read_manifest
from mer_jax.data.loader import Damages
from mer_jax.data.stage import stage
from mer_jax.evaluation import benchmark
from mer_jax.evaluation.asking import asked_config, setting_of
from mer_jax.evaluation.defaults import mer_unibench
from mer_jax.run.held_out import evaluate
from mer_jax.run.origin import config_of
from mer_jax.run.setting import answering
from mer_jax.run.trained_on import FILE, lines_of


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films') / 'clips'
    stage.write(folder, clips=7, seed=5, split='test', sheet=False)
    return folder


def evaluation_of(folder, films):
    """An evaluation of a checkpoint on films, on all devices together."""
    c = mer_unibench()
    c.model.checkpoint, c.data.root = str(folder), str(films)
    c.evaluate.batch = 2
    c.mesh.data, c.mesh.tensor = 1, -1
    return c


@pytest.fixture
def asked(films, omni_folder):
    return evaluation_of(omni_folder, films)


@pytest.fixture(scope='module')
def whole(films, omni_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('evaluations') / 'whole'
    benchmark.run(evaluation_of(omni_folder, films), workdir)
    return workdir


def files(workdir):
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in workdir.rglob('*')
        if path.is_file()
    }


def test_a_line_a_mode_of_each_clip_holds_what_was_said(whole, films):
    lines = [json.loads(line) for line in (whole / 'predictions' / 'manifest.jsonl').open()]
    assert len(lines) == 14
    assert [line['id'] for line in lines[::2]] == [
        clip.id for clip in read_manifest(films / 'manifest.jsonl')
    ]
    assert {line['mode'] for line in lines} == {'fast', 'slow'}
    assert set(lines[0]) == {
        'id', 'mode', 'raw', 'think', 'answer', 'words', 'confidences', 'scores'
    }  # fmt: skip


@pytest.mark.slow
def test_the_figures_of_a_run_on_the_same_clips_come_out_again(whole, films, asked, tmp_path):
    c = config_of(asked.model.checkpoint)
    c.mesh, c.evaluate = asked.mesh, asked.evaluate
    setting, policy = answering(c, Damages(tmp_path / 'bad.jsonl', 0))
    setting.test_clips = read_manifest(films / 'manifest.jsonl')
    with jax.set_mesh(setting.mesh):
        scores, _ = evaluate(setting, policy, 'test')
    results = json.loads((whole / 'results.json').read_text())
    means = results['sets']['manifest']['mean_over_clips']
    assert means.pop('wheels') == ['parrott', 'feeling', 'ekman'] and means == scores
    assert scores['clips'] == 7


@pytest.mark.slow
@pytest.mark.parametrize('cut', [0, 3, 0.5, 0.9])
def test_an_evaluation_that_was_killed_ends_with_the_same_files(whole, asked, tmp_path, cut):
    again = tmp_path / 'again'
    (again / 'predictions').mkdir(parents=True)
    (again / 'protocol.json').write_bytes((whole / 'protocol.json').read_bytes())
    said = (whole / 'predictions' / 'manifest.jsonl').read_bytes()
    torn = said[: int(cut * len(said))] if cut < 1 else b''.join(said.splitlines(True)[:cut])
    (again / 'predictions' / 'manifest.jsonl').write_bytes(torn)
    benchmark.run(asked, again)
    assert files(again) == files(whole)


def test_the_protocol_is_part_of_the_result_and_another_one_is_refused(whole, asked):
    results = json.loads((whole / 'results.json').read_text())
    protocol = results['protocol']
    assert protocol['choice'] == 'one named checkpoint; nothing was chosen on test data'
    assert protocol['judge'] == 'none' and len(protocol['wheels_digest']) == 16
    assert len(protocol['weights']) == 8
    assert results['shared_with_training'] == 'unknown'
    assert protocol['wheels_digest'] in (whole / 'results.md').read_text()
    asked.evaluate.temperature = 0.5
    with pytest.raises(ValueError, match='temperature=0.5, but .* holds an evaluation with 0.9'):
        benchmark.run(asked, whole)


def test_positions_after_videos_are_those_of_the_run_unless_the_evaluation_names_others(
    asked, omni_folder, tmp_path
):
    folder = shutil.copytree(omni_folder, tmp_path / 'folder')
    kept = json.loads((folder / 'mer_jax.json').read_text())
    kept['model.video_positions'] = 'transformers_5_3'
    (folder / 'mer_jax.json').write_text(json.dumps(kept))
    assert asked_config(asked).model.video_positions == 'paper'
    asked.model.checkpoint = str(folder)
    assert asked_config(asked).model.video_positions == 'transformers_5_3'
    asked.model.video_positions = 'paper'
    assert asked_config(asked).model.video_positions == 'paper'
    asked.model.video_positions = 'newest'
    with pytest.raises(ValueError, match="model.video_positions='newest'.*transformers_5_3"):
        asked_config(asked)


def test_a_folder_older_than_the_key_video_positions_has_those_of_the_paper(tmp_path):
    (tmp_path / 'protocol.json').write_text('{"seed": 0}')
    benchmark.claim(tmp_path, {'seed': 0, 'video_positions': 'paper'})
    with pytest.raises(ValueError, match="video_positions='transformers_5_3', but .* 'paper'"):
        benchmark.claim(tmp_path, {'seed': 0, 'video_positions': 'transformers_5_3'})


@pytest.mark.parametrize('text', ['{', 'null', '[1]', '"text"'])
def test_a_damaged_protocol_is_named_and_left_as_it_is(tmp_path, text):
    path = tmp_path / 'protocol.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'^{path}: must hold the conditions .* another --workdir'):
        benchmark.claim(tmp_path, {'seed': 0, 'method': 'mer_r1'})
    assert path.read_text() == text


def test_a_folder_older_than_the_key_method_belongs_to_mer_r1(tmp_path):
    (tmp_path / 'protocol.json').write_text('{"seed": 0}')
    benchmark.claim(tmp_path, {'seed': 0, 'method': 'mer_r1'})
    with pytest.raises(ValueError, match="method='emo_r3', but .* holds .* with 'mer_r1'"):
        benchmark.claim(tmp_path, {'seed': 0, 'method': 'emo_r3'})


@pytest.mark.slow
def test_clips_that_the_checkpoint_was_trained_on_are_reported(asked, films, omni_folder, tmp_path):
    folder, workdir = tmp_path / 'trained', tmp_path / 'out'
    shutil.copytree(omni_folder, folder)
    clips = read_manifest(films / 'manifest.jsonl')
    lines = [json.dumps(line) for line in lines_of(clips[:1], 'train')]
    (folder / FILE).write_text('\n'.join(lines))
    asked.model.checkpoint, asked.clips = str(folder), 2
    shared = benchmark.run(asked, workdir)['shared_with_training']
    assert shared == {'manifest': {'clips': 2, 'ids': 1, 'media': 1, 'examples': [clips[0].id]}}
    assert json.loads((workdir / 'results.json').read_text())['shared_with_training'] == shared
    assert (
        '* Warning: manifest: of 2 clips, 1 share a media' in (workdir / 'results.md').read_text()
    )


@pytest.mark.slow
def test_a_damaged_clip_is_counted_and_left_out(asked, films, tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    lines = (films / 'manifest.jsonl').read_text().splitlines()[:4]
    for line in lines:
        name = json.loads(line)['video']
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((films / name).read_bytes())
    (root / json.loads(lines[1])['video']).write_text('no film')
    (root / 'manifest.jsonl').write_text('\n'.join(lines))
    asked.data.root = str(root)
    scored = benchmark.run(asked, tmp_path / 'out')['sets']['manifest']
    assert (scored['left_out'], scored['slow']['n'], scored['slow']['missing']) == (1, 4, 1)


def test_a_checkpoint_of_any_minibatches_is_evaluated_in_batches_of_its_own(
    asked, omni_folder, tmp_path
):
    folder = tmp_path / 'trained'
    shutil.copytree(omni_folder, folder)
    kept = json.loads((folder / 'mer_jax.json').read_text())
    kept |= {'learn.minibatches': 4, 'learn.microbatch': 2, 'prompts_per_step': 64}
    (folder / 'mer_jax.json').write_text(json.dumps(kept))
    asked.model.checkpoint = str(folder)
    setting, _ = setting_of(asked, asked_config(asked), tmp_path / 'out')
    assert setting.config.evaluate.batch == 2


@pytest.mark.parametrize(
    ('key', 'value', 'part'),
    [
        ('benchmarks', ('mer1999',), "benchmarks='mer1999': is not known"),
        ('root', '/nowhere', "data.root='/nowhere': must be a folder"),
        ('empty', None, 'holds neither manifest.jsonl nor any of mer2023'),
    ],
)
def test_a_root_without_sets_says_what_was_expected(asked, tmp_path, key, value, part):
    if key == 'benchmarks':
        asked.benchmarks = value
    else:
        asked.data.root = value or str(tmp_path)
    with pytest.raises(ValueError) as raised:
        benchmark.run(asked, tmp_path / 'out')
    assert part in str(raised.value)
    assert not (tmp_path / 'out').exists()


def test_flags_that_are_missing_are_named(tmp_path):
    given = [f'--workdir={tmp_path}']
    said = forks.run('mer_jax.evaluate', *given, variables=environment())
    assert said.returncode == 1 and 'Traceback' not in said.stderr
    assert '--config.model.checkpoint is missing' in said.stderr
