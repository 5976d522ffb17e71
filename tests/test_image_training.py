"""EMO-R3 on a VL checkpoint and a folder of EmoSet: train, be killed, resume, export."""

import json
import signal
import time

import forks
import jax
import numpy as np
import pytest
from metrics_page import unknown_names
from programs import environment, flags

torch = pytest.importorskip('torch')

import parity  # noqa: E402, after torch is known to be there
import phrases  # noqa: E402
import tiny  # noqa: E402
import transformers  # noqa: E402

from mer_jax.data.clips import Clip  # noqa: E402
from mer_jax.data.prompts import write_prompt  # noqa: E402
from mer_jax.data.stage.gallery import EMOSET, write_emoset  # noqa: E402
from mer_jax.data.tokenizer import read_tokenizer  # noqa: E402
from mer_jax.models.checkpoint.load import load_omni  # noqa: E402
from mer_jax.models.checkpoint.safetensors import scan, view  # noqa: E402
from mer_jax.models.spec import read_spec, read_token_ids  # noqa: E402
from mer_jax.run.origin import make_layout  # noqa: E402

pytestmark = pytest.mark.slow  # each test starts programs
STEPS = 6
CHANGES = (
    f'steps={STEPS}',
    'prompts_per_step=4',
    'rollout.group=4',
    'rollout.slow_tokens=16',
    'rollout.reflection_tokens=256',
    'rollout.reply_tokens=16',
    'evaluate.clips=4',
    'evaluate.batch=4',
    'evaluate.policy=best',
    'every.save=1',
    'every.validate=1',
    'validation.clips=8',
    'validation.score=coherence',
    'data.prompt_tokens=192,512',
    'data.min_pixels=3136',
    'data.max_pixels=6272',
    'model.dtype=float32',
    'optim.learning_rate=1e-3',
)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoint') / 'vl'
    phrases.write_checkpoint(folder)
    return folder


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures') / 'sets'
    write_emoset(folder, clips=12, seed=5)
    return folder


def given(checkpoint, pictures, workdir, *changes):
    """The flags of a small run of the published settings."""
    changes = (f'model.checkpoint={checkpoint}', *CHANGES, *changes)
    if not any(change.startswith('data.manifest') for change in changes):
        changes += (f'data.manifest=emoset:{pictures}',)
    return flags(workdir, *changes, config='configs/emo_r3.py:qwen2_5_vl_3b')


def run(*arguments):
    said = forks.run('mer_jax.main', *arguments, variables=environment())
    assert said.returncode == 0, said.stderr


def records(workdir):
    path = workdir / 'records.jsonl'
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope='module')
def whole(checkpoint, pictures, tmp_path_factory):
    """The workdir of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp('runs') / 'whole'
    run(*given(checkpoint, pictures, workdir))
    return workdir


def test_a_run_on_emoset_learns_from_all_rewards_and_keeps_to_the_published_splits(whole):
    figures = [json.loads(line) for line in records(whole)]
    assert len(figures) == STEPS and {one['stage'] for one in figures} == {'train'}
    for name in ('accuracy_std', 'reflection_std', 'format_std', 'gradient_norm', 'ratio_spread'):
        assert max(one[name] for one in figures) > 1e-3, name
    trained = [json.loads(line) for line in open(whole / 'export' / 'trained_on.jsonl')]
    uses = [(line['use'], line['id'].split('-')[1]) for line in trained]
    assert sorted(set(uses)) == [('train', 'train'), ('validation', 'validation')]
    assert uses.count(('train', 'train')) == 12 and len(uses) == 12 + 8
    assert unknown_names(whole) == []
    results = json.loads((whole / 'results.json').read_text())
    assert results['clips'] == 4 and results['shared_with_training']['ids'] == 0
    lines = [json.loads(line) for line in open(whole / 'validation.jsonl')]
    scores = [line['slow']['coherence'] for line in lines]
    assert len(scores) == STEPS and len(set(scores)) > 1
    best = 1 + scores.index(max(scores))
    assert results['evaluated'] == {'policy': 'best', 'update': best}


def test_a_killed_run_samples_the_same_reflections_and_resumes_to_the_bits_of_a_whole_one(
    checkpoint, pictures, tmp_path
):
    once, killed = tmp_path / 'once', tmp_path / 'killed'
    changes = 'learn.reflection.by=sample', 'steps=4'
    run(*given(checkpoint, pictures, once, *changes))
    again = given(checkpoint, pictures, killed, *changes)
    process = forks.Fork('mer_jax.main', *again, variables=environment())
    while process.poll() is None and len(records(killed)) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert 2 <= len(records(killed)) < 4
    run(*again)
    for file in ('records.jsonl', 'validation.jsonl', 'export/model.safetensors'):
        assert (killed / file).read_bytes() == (once / file).read_bytes(), file
    results = [json.loads((workdir / 'results.json').read_text()) for workdir in (once, killed)]
    assert results[0]['end'] == results[1]['end']
    figures = [json.loads(line) for line in records(once)]
    assert max(one['reflection_std'] for one in figures) > 1e-3


def test_transformers_reads_the_export_with_its_trained_towers(checkpoint, whole, monkeypatch):
    export = whole / 'export'
    before, after = ({n: view(x) for n, x in scan(f).items()} for f in (checkpoint, export))
    assert before.keys() == after.keys()
    learnt = [name for name in after if np.abs(after[name] - before[name]).max() > 1e-5]
    assert any('visual.blocks.0.' in name for name in learnt)
    assert any('layers.0.' in name for name in learnt)

    spec, ids = read_spec(export), read_token_ids(export)
    layout, tokenizer = make_layout(spec, ids), read_tokenizer(export, ids)
    policy = load_omni(export, tiny.shapes(spec))
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(export).eval()
    monkeypatch.setattr(parity, 'TOKENS', phrases.media_ids(tokenizer))
    clips = [Clip('one', image=parity.picture(4, 3)), Clip('other', image=parity.picture(2, 5))]
    prompts = [write_prompt(clip, tokenizer, layout, 'What?') for clip in clips]
    both = zip(clips, prompts, strict=True)
    shown = [parity.Shown(clip, False, prompt) for clip, prompt in both]
    pair = parity.Pair(model, spec, layout, policy, shown)
    token_bgs = parity.given_branches(pair)
    _, _, logits, _ = jax.device_get(parity.read(policy, parity.as_batch(pair), token_bgs))
    for one, branch_gs, found in zip(shown, token_bgs, logits, strict=True):
        wanted = parity.trace(pair, one, branch_gs).logits_gsv
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ('labels', 'left_out', 'rule'),
    [
        ("('joy','surprise')", '', 'data.labels=joy,surprise: none of the 12 clips to train on'),
        ("('awe','fear')", 'train.json', 'EmoSet-118K: holds the test split'),
        ("('awe','fear')", 'all', 'EmoSet-118K: expected train.json in it'),
    ],
)
def test_a_set_that_cannot_be_trained_on_ends_a_run_before_it_starts(
    checkpoint, tmp_path, labels, left_out, rule
):
    folder = tmp_path / 'sets' / EMOSET
    write_emoset(tmp_path / 'sets', clips=12, seed=5)
    lists = sorted(folder.glob('*.json'))
    for path in lists if left_out == 'all' else [folder / left_out] * bool(left_out):
        path.unlink()
    workdir = tmp_path / 'run'
    arguments = given(checkpoint, tmp_path / 'sets', workdir, f'data.labels={labels}')
    said = forks.run('mer_jax.main', *arguments, variables=environment())
    assert said.returncode and rule in said.stderr and 'Traceback' not in said.stderr
    assert not workdir.exists()
