"""A run is started only if everything fits: bad input is named, and nothing is written."""

import contextlib
import json
import runpy

import jax
import pytest
import small
from programs import write_config

from mer_jax.run.setting import Setting
from mer_jax.run.stages import first_programs, start
from mer_jax.run.workdir import claim_workdir


def begun(c, workdir):
    """The setting, the policy and the changes of a run that is started and ended."""
    with contextlib.ExitStack() as held:
        return start(c, workdir, held)


def refusal(c, workdir):
    """The message with which a run is refused, which leaves no trace."""
    with pytest.raises(ValueError) as raised:
        begun(c, workdir)
    assert not workdir.exists()
    return str(raised.value)


@pytest.mark.parametrize(
    ('changes', 'parts'),
    [
        ({'method': 'foo'}, ["method='foo'", 'one of mer_r1']),
        ({'learn__train': 'foo'}, ["learn.train='foo'", 'one of decoder, all']),
        ({'learn__ratio': 'foo'}, ["learn.ratio='foo'", 'one of token, sequence']),
        ({'learn__clip': 'foo'}, ["learn.clip='foo'", 'one of ppo, cispo']),
        ({'learn__aggregate': 'foo'}, ["learn.aggregate='foo'", 'token, sequence, constant']),
        ({'learn__clip_dual': 0.5}, ['learn.clip_dual=0.5', 'above 1, e.g. 3.0, or 0']),
        ({'learn__minibatches': 0}, ['learn.minibatches=0', 'at least 1']),
        ({'learn__microbatch': -1}, ['learn.microbatch=-1', 'at least 0']),
        ({'learn__minibatches': 3}, ['learn.minibatches=3', '= 8', 'prompts_per_step=24']),
        ({'learn__microbatch': 3}, ['learn.microbatch=3', '= 2', 'one of 1, 2, or 0']),
        ({'mesh__tensor': 8}, ['mesh.tensor=8', '2 key heads', 'take 1, 2, and', 'mesh.fsdp=-1']),
    ],
    ids=str,
)
def test_a_key_that_breaks_a_rule_is_named_with_its_value_and_the_way_out(
    config, tmp_path, changes, parts
):
    message = refusal(small.changed(config, **changes), tmp_path / 'run')
    assert [part for part in parts if part not in message] == []


REWARDS = {
    'wrong shape': (
        "return {'length': [1.0 for _ in texts]}",
        ['own.py:length', "'length' has shape [1]", '[b, g] = [1, 2]', 'a number a branch'],
    ),
    'raising': (
        "return {'length': [[1 / len(text) for text in row] for row in texts]}",
        ['own.py:length: raised ZeroDivisionError', 'clip train-0-000000', 'an empty one too'],
    ),
    'NaN': (
        "return {'length': [[1.0 if text else math.nan for text in row] for row in texts]}",
        ['own.py:length', "'length' is nan", 'clip train-0-000000, branch 0', 'must be finite'],
    ),
    'words': (
        "return {'length': [['long' for _ in row] for row in texts]}",
        ['own.py:length', "'length' is not numeric", '[b, g] = [1, 2]'],
    ),
    'no dictionary': (
        'return [[1.0 for _ in row] for row in texts]',
        ['own.py:length: returned list', '{name: numbers[b, g]}'],
    ),
    'without a weight': (
        "return {name: [[1.0] * len(row) for row in texts] for name in ('length', 'long')}",
        ['learn.weights.long', 'own.py:length', 'c.learn.weights.long = 1.0'],
    ),
    'without a reward': ('return {}', ['learn.weights.length', 'return nothing', 'Remove the']),
}


@pytest.mark.parametrize('name', REWARDS)
def test_a_reward_that_cannot_be_used_is_named_with_its_function_and_the_way_out(tmp_path, name):
    body, parts = REWARDS[name]
    path = write_config(tmp_path / 'own.py', body)
    message = refusal(runpy.run_path(str(path))['get_config'](), tmp_path / 'run')
    assert [part for part in parts if part not in message] == []


@pytest.mark.slow
def test_a_run_with_own_rewards_is_claimed_by_the_names_of_its_functions(tmp_path):
    path = write_config(tmp_path / 'own.py', "return {'length': [[1.0] * len(r) for r in texts]}")
    c = small.shrink(runpy.run_path(str(path))['get_config']())
    workdir = tmp_path / 'run'
    setting, policy, changes = begun(c, workdir)
    assert changes == []
    assert {path.name for path in workdir.iterdir()} == {'config.json', 'identity.jsonl'}
    held = json.loads((workdir / 'config.json').read_text())
    assert held['learn.rewards'] == ['own.py:length'] and held['learn.weights.length'] == 0.5
    assert len(jax.tree.leaves(policy)) > 0 and len(setting.train_clips) == c.data.clips
    changes = claim_workdir(workdir, small.changed(c, learn__weights__length=1.0), setting.spec)
    assert changes == ['learn.weights.length=1.0 (was 0.5)']


def write_manifest(folder, **changes):
    """A manifest of twelve clips with sounds, one of them changed; its path."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(12):
        name = f'{number}.wav'
        (folder / name).write_text(f'sound {number}')
        clip = {'id': f'c{number}', 'audio': name, 'words': ['sad'], 'reasoning': 'He sobs.'}
        lines.append(clip | {'answer': ['sad']} | (changes if number == 5 else {}))
    (folder / 'clips.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    return folder / 'clips.jsonl'


@pytest.mark.slow
def test_a_restart_that_would_read_other_data_is_refused_and_one_elsewhere_is_not(config, tmp_path):
    c = small.changed(small.shrink(config), data__manifest=str(write_manifest(tmp_path / 'a')))
    workdir = tmp_path / 'run'
    (wheel := tmp_path / 'w.csv').write_text('level1,level2,level3\njoy,,happy\nsorrow,,sad\n')
    c.data.wheels = (str(wheel),)
    setting, _, _ = begun(c, workdir)
    assert [clip.id for clip in setting.train_clips].count('c5')
    kept = {path.name: path.read_bytes() for path in workdir.iterdir()}

    def refused():
        with pytest.raises(ValueError) as raised:
            begun(c, workdir)
        assert {path.name: path.read_bytes() for path in workdir.iterdir()} == kept
        assert 'choose another --workdir' in str(raised.value)
        return str(raised.value)

    (tmp_path / 'a' / '5.wav').write_text('silence')
    assert f'clip c5: audio {tmp_path}/a/5.wav is 7 bytes' in refused()
    write_manifest(tmp_path / 'a', reasoning='She laughs.')
    assert "clip c5: reasoning='She laughs.' (was 'He sobs.')" in refused()
    write_manifest(tmp_path / 'a')
    wheel.write_text('level1,level2,level3\njoy,,sad\nsorrow,,happy\n')
    assert f'content of data.wheels: {wheel} (was sha256' in refused()
    (moved := tmp_path / 'b').mkdir()
    (moved / 'w.csv').write_text('level1,level2,level3\njoy,,happy\nsorrow,,sad\n')
    c.data.wheels = (str(moved / 'w.csv'),)
    assert begun(c, workdir)[2] == [f"data.wheels=['{moved}/w.csv'] (was ['{wheel}'])"]
    c.data.manifest = str(write_manifest(moved))
    assert begun(c, workdir)[2] == [
        f"data.manifest='{c.data.manifest}' (was '{tmp_path}/a/clips.jsonl')"
    ]
    (workdir / 'identity.jsonl').unlink()
    (told,) = begun(c, workdir)[2]
    assert told.startswith('a new identity.jsonl: there is none')
    assert begun(c, workdir)[2] == []


def test_a_start_needs_the_programs_of_the_stage_that_it_continues(config, tmp_path):
    c = small.changed(small.shrink(config), steps=5, cold_start__steps=3)
    setting = Setting(c, devices=jax.devices()[:1])
    weights, *others = first_programs(setting, tmp_path)
    assert weights.startswith('weights 0 ') and others == ['perceive', 'imitate 3']
    (tmp_path / 'cold_start' / '3').mkdir(parents=True)
    names = ['roll_out', 'assess', 'score_reference', 'update 5']
    assert first_programs(setting, tmp_path) == [weights, *names]
    (tmp_path / 'train' / '5').mkdir(parents=True)
    assert first_programs(setting, tmp_path) == [weights]
    c.model.checkpoint = 'elsewhere'
    assert first_programs(setting, tmp_path) == []
