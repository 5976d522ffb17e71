"""Emotion images by a small EMO-R3 run: figures, files, resumption, vocabularies, domains."""

import json
import re

import pytest
import small
from benchmark_folders import put

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.stage.gallery import write_emoset, write_pictures
from mer_jax.evaluation import benchmark
from mer_jax.evaluation.asking import asked_config, setting_of, settings_of
from mer_jax.evaluation.defaults import emotion_images
from mer_jax.evaluation.tables import as_text
from mer_jax.run.emo_r3_defaults import EMOSET, emo_r3

SCORED = ('accuracy_exact', 'accuracy', 'macro_f1', 'uar', 'form', 'coherence', 'consistency')


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    """The workdir of a run with a random policy, trained on EmoSet as its config says."""
    folder = tmp_path_factory.mktemp('runs') / 'emo'
    c = small.shrink(emo_r3())
    c.data.question = 'Which of {labels}?'
    small.write_run(c, folder)
    kept = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(kept | {'data.manifest': 'emoset:/data'}))
    return folder


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A folder with EmoSet as the stage draws it, and a manifest of pictures of the domain away."""
    folder = tmp_path_factory.mktemp('data') / 'root'
    write_pictures(folder, 3, seed=5, split='test', domain='away')
    write_emoset(folder / 'home', 3, seed=5)
    (folder / 'home' / 'EmoSet-118K').rename(folder / 'EmoSet-118K')
    return folder


def evaluation_of(run_folder, root):
    c = emotion_images()
    c.model.checkpoint, c.data.root = str(run_folder), str(root)
    c.evaluate.batch = 2
    c.mesh.data, c.mesh.tensor = 1, -1
    return c


@pytest.fixture
def asked(run_folder, root):
    return evaluation_of(run_folder, root)


@pytest.fixture(scope='module')
def whole(run_folder, root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('evaluations') / 'whole'
    return workdir, benchmark.run(evaluation_of(run_folder, root), workdir)


@pytest.mark.slow
def test_every_figure_of_a_set_has_an_interval(whole):
    workdir, results = whole
    assert json.loads((workdir / 'results.json').read_text()) == json.loads(json.dumps(results))
    assert list(results['sets']) == ['manifest', 'emoset']
    for scored in results['sets'].values():
        for name in SCORED:
            low, high = scored['slow']['ci'][name]
            assert low <= scored['slow'][name] <= high
        assert scored['slow']['kept'] == 3
        assert 'form' in scored['fast'] and 'coherence' not in scored['fast']
        assert 'form' in scored['difference'] and 'coherence' not in scored['difference']
        assert scored['difference']['ci'].keys() <= scored['slow']['ci'].keys()


def test_sets_are_marked_as_in_and_out_of_domain(whole):
    workdir, results = whole
    said = (workdir / 'results.md').read_text()
    assert results['trained_on'] == 'emoset'
    assert '| emoset (in) | accuracy_exact | 3 |' in said
    assert '| manifest (out) | coherence | 3 | - |' in said
    assert results['out_of_domain']['sets'] == ['manifest']
    out, scored = results['out_of_domain'], results['sets']['manifest']
    assert out['fast']['uar'] == scored['fast']['uar']
    assert 'Means over the sets out of domain (manifest)' in said
    assert re.search(r'^emoset \(in\) +accuracy_exact +3 ', as_text(results), re.MULTILINE)


def test_published_rows_come_with_their_cautions(whole):
    said = (whole[0] / 'results.md').read_text()
    assert '| emoset | EMO-R3, 8 branches | I | accuracy | 76.4 |' in said
    assert '| overall, as printed | EMO-R3, 4 branches | I | overall | 60.5 |' in said
    for part in (
        'second-hand',
        'two trainings',
        'very likely includes a cold start',
        '58.45 ± 0.22',
    ):
        assert part in said


def test_a_picture_of_confusion_is_written_for_each_set_and_mode(whole):
    workdir, results = whole
    said = (workdir / 'results.md').read_text()
    for key in ('manifest', 'emoset'):
        for mode in ('fast', 'slow'):
            name = f'confusion_{key}_{mode}.png'
            assert (workdir / name).read_bytes().startswith(b'\x89PNG')
            assert f'![{key}, {mode}]({name})' in said
        found = results['sets'][key]['confusion']
        assert found['words'] == list(EMOSET)
        assert sum(map(sum, found['slow'])) == 3


def test_an_evaluation_that_was_killed_ends_with_the_same_files(whole, asked, tmp_path):
    workdir, results = whole
    again = tmp_path / 'again'
    (again / 'predictions').mkdir(parents=True)
    for name in ('protocol.json', 'predictions/manifest.jsonl', 'predictions/emoset.jsonl'):
        said = (workdir / name).read_bytes()
        torn = said[: 3 * len(said) // 4] if 'emoset' in name else said
        (again / name).write_bytes(torn)
    assert benchmark.run(asked, again) == results
    for path in workdir.rglob('*.*'):
        assert path.read_bytes() == (again / path.relative_to(workdir)).read_bytes()


def test_each_set_is_asked_for_its_own_words(asked, tmp_path):
    setting, _ = setting_of(asked, asked_config(asked), tmp_path)
    found = settings_of(setting, ['manifest', 'emoset', 'emotion6', 'webemo', 'ov_merd'])
    # EmoSet's words are those of the checkpoint, so they keep the order that it was trained with.
    assert found['manifest'] is found['emoset'] is found['ov_merd'] is setting
    assert sorted(BENCHMARKS['emoset'].labels) == sorted(EMOSET)
    for key in ('emotion6', 'webemo'):
        of_set, labels = found[key], BENCHMARKS[key].labels
        assert of_set.method.labels == labels
        assert of_set.writer.question == f'Which of {", ".join(labels)}?'
    assert setting.config.data.labels == EMOSET


def test_the_protocol_names_labels_and_question_of_each_set(whole):
    protocol = whole[1]['protocol']
    assert protocol['method'] == 'emo_r3'
    assert protocol['asked'].keys() == {'manifest', 'emoset'}
    assert protocol['asked']['emoset']['labels'] == list(EMOSET)
    assert protocol['asked']['emoset']['question'] == f'Which of {", ".join(EMOSET)}?'


def test_a_run_of_another_method_than_asked_is_refused(asked, omni_folder, tmp_path):
    asked.model.checkpoint = str(omni_folder)
    with pytest.raises(ValueError, match="method='emo_r3': .* is of a run of method 'mer_r1'"):
        benchmark.run(asked, tmp_path / 'out')
    asked.method = 'emo'
    with pytest.raises(ValueError, match="method='emo': must be one of mer_r1, emo_r3"):
        benchmark.run(asked, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_plain_folder_is_asked_by_the_method_of_the_config(asked, tmp_path):
    folder = tmp_path / 'plain'
    small.write_export(small.shrink(emo_r3()), folder)
    (folder / 'mer_jax.json').unlink()
    asked.model.checkpoint = str(folder)
    found = asked_config(asked)
    assert (found.method, found.model.family) == ('emo_r3', 'vl')
    assert tuple(found.data.labels) == EMOSET


@pytest.mark.slow
def test_emotion6_is_asked_and_counted_by_its_own_words(asked, root, tmp_path):
    picture = next((root / 'clips').glob('*.png')).read_bytes()
    put(tmp_path / 'six', 'Emotion6/images/joy/1.png', data=picture)
    put(tmp_path / 'six', 'Emotion6/images/fear/2.png', data=picture)
    asked.data.root = str(tmp_path / 'six')
    results = benchmark.run(asked, tmp_path / 'out')
    assert list(results['sets']) == ['emotion6']
    assert results['sets']['emotion6']['confusion']['words'] == list(BENCHMARKS['emotion6'].labels)
    assert '| emotion6 (out) | accuracy_exact | 2 |' in (tmp_path / 'out/results.md').read_text()
