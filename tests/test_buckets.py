"""Manifest, media, cache, checkpoints and whole runs in a bucket, by an emulator of Google's."""

import json
import signal
import time

import bucket_server as faults
import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from media_files import noise, write_film, write_wave
from PIL import Image
from programs import BRIEF, SMALL, environment, flags, with_fused_loops
from tiny_folder import SPEC, TOKENS, load
from tiny_prompts import prompt_of

from mer_jax.data.cache import FeatureCache
from mer_jax.data.clips import Clip, read_manifest
from mer_jax.data.fingerprint import file_content
from mer_jax.data.loader import Damaged, Damages, prepare_or_name
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.pictures import read_image
from mer_jax.data.media.sound import read_audio
from mer_jax.data.media.video import read_video
from mer_jax.data.stage import stage
from mer_jax.data.tokenizer import read_tokenizer
from mer_jax.models.checkpoint.save import export, hf_config, save_omni
from mer_jax.models.spec import read_token_ids
from mer_jax.run.checkpoints import Checkpoints, DamagedCheckpoints
from mer_jax.storage.objects import upload_folder, upload_lines, write_whole
from mer_jax.storage.paths import StorageError, file_system

pytestmark = pytest.mark.slow  # quick tests of storage/ use a bucket as well
BRIEFLY = ('steps=2', 'cold_start.steps=1', *BRIEF)


@pytest.fixture
def media(tmp_path, bucket):
    """The local paths of a film, a sound and a picture, and their paths in the bucket."""
    local = [
        write_film(tmp_path / 'a.mp4', sound=True),
        write_wave(tmp_path / 'b.wav', noise(), 16_000),
        tmp_path / 'c.png',
    ]
    Image.new('RGB', (30, 20), 'teal').save(local[2])
    upload_folder(tmp_path, bucket)
    return local, [str(bucket / path.name) for path in local]


def test_media_of_a_bucket_are_read_as_local_ones(media):
    local, remote = media
    for mine, theirs in zip(local, remote, strict=True):
        assert kind_of_file(mine) == kind_of_file(theirs)
        assert file_content(str(mine)) == file_content(theirs)
    np.testing.assert_array_equal(read_image(remote[2]), read_image(local[2]))
    np.testing.assert_array_equal(read_audio(remote[1]), read_audio(local[1]))
    found, expected = (read_video(paths[0], fps=2, max_frames=8) for paths in (remote, local))
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_a_manifest_of_a_bucket_names_media_beside_it(bucket):
    line = {'id': 'a', 'words': ['happy'], 'video': 'films/a.mp4'}
    write_whole(bucket / 'manifest.jsonl', json.dumps(line) + '\n')
    (clip,) = read_manifest(f'{bucket}/manifest.jsonl')
    assert clip.video == f'{bucket}/films/a.mp4'
    with pytest.raises(FileNotFoundError, match=f'^{bucket}/none.jsonl: there is no such object'):
        read_manifest(f'{bucket}/none.jsonl')


def test_a_missing_clip_is_damaged_and_a_missing_right_ends_the_run(bucket_server, media, bucket):
    def prepare(clip):
        return read_audio(clip.audio)

    lost = prepare_or_name(prepare, Clip('lost', audio=f'{bucket}/lost.wav'))
    assert lost == Damaged('lost', f'{bucket}/lost.wav: there is no such file')
    with bucket_server.failing('b.wav', faults.forbidden):
        with pytest.raises(StorageError, match=f'^{bucket}/b.wav: this account has no right'):
            prepare_or_name(prepare, Clip('closed', audio=media[1][1]))


def test_damaged_clips_are_listed_in_a_bucket(bucket):
    damages = Damages(bucket / 'bad_clips.jsonl', budget=1)
    assert not damages.accept(Damaged('a', 'cut off'))
    with pytest.raises(MediaError, match=f'all are named in {bucket}/bad_clips.jsonl'):
        damages.accept(Damaged('b', 'cut off'))
    upload_lines()
    assert (bucket / 'bad_clips.jsonl').read_bytes().count(b'\n') == 2


def test_features_are_kept_in_a_bucket_until_the_media_change(bucket, tmp_path):
    write_wave(tmp_path / 'a.wav', noise(), 16_000)
    write_whole(bucket / 'a.wav', (tmp_path / 'a.wav').read_bytes())
    clip = Clip('a', audio=f'{bucket}/a.wav')
    prompt = prompt_of(audio=clip.audio)
    feature = np.arange(8.0 * (prompt.place >= 0).sum(), dtype=np.float32).reshape(-1, 8)
    cache = FeatureCache(f'{bucket}/cache', 'towers')
    assert cache.load(clip) is None
    cache.save(clip, prompt, feature)
    np.testing.assert_array_equal(cache.load(clip).feature, feature)
    write_whole(bucket / 'a.wav', (tmp_path / 'a.wav').read_bytes())
    assert cache.load(clip) is None


def test_a_checkpoint_folder_is_written_to_a_bucket_and_read_from_it(bucket):
    made = tiny.policy(1, SPEC)
    save_omni(bucket / 'a', made, hf_config(SPEC, TOKENS), shard_bytes=20_000)
    written = file_system(bucket).find(str(bucket / 'a'), detail=True).values()
    assert max(written, key=lambda one: int(one['generation']))['name'].endswith('/config.json')
    loaded, spec = load(bucket / 'a')
    assert spec == SPEC and len(list((bucket / 'a').glob('*.safetensors'))) > 2
    jax.tree.map(np.testing.assert_array_equal, loaded, made)
    with pytest.raises(ValueError, match=f'^{bucket}/a: .* exists already'):
        save_omni(bucket / 'a', made, hf_config(SPEC, TOKENS))


def test_an_export_of_a_bucket_has_its_tokenizer(bucket, omni_folder):
    upload_folder(omni_folder, bucket / 'omni')
    ids = read_token_ids(bucket / 'omni')
    ours, theirs = read_tokenizer(bucket / 'omni', ids), read_tokenizer(omni_folder, ids)
    assert ours('I am fine.') == theirs('I am fine.')
    assert ours.chat_template == theirs.chat_template
    omni, _ = load(bucket / 'omni')
    export(bucket / 'other', omni, bucket / 'omni')
    names = {path.name for path in (bucket / 'other').iterdir()}
    assert names == {p.name for p in omni_folder.iterdir()} - {'mer_jax.json'}


def test_a_damaged_checkpoint_of_a_bucket_is_set_aside(bucket):
    like = {'x': jnp.zeros(3)}
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        assert checkpoints.restore_last(like) == (0, like)
        for step in (1, 2):
            checkpoints.save(step, {'x': jnp.full(3, step)})
    file_system(bucket).rm(str(bucket / 'train' / '2' / 'state' / 'manifest.ocdbt'))
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        step, found = checkpoints.restore_last(like)
        assert step == 1 and found['x'].tolist() == [1, 1, 1]
        assert (bucket / 'train' / 'damaged_2').is_dir()
        checkpoints.save(2, {'x': jnp.full(3, 2.0)})
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        assert checkpoints.restore_last(like)[0] == 2


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(bucket_server, bucket):
    like = {'x': jnp.zeros(3)}
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        checkpoints.save(1, like)
        checkpoints.save(2, like)
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        with bucket_server.failing('GET .*(/o/|media).*2(/|%2F)state', faults.forbidden):
            with pytest.raises(
                StorageError, match=f'^{bucket}/train/2/state/.*: this account has no'
            ):
                checkpoints.restore_last(like)
    assert not (bucket / 'train' / 'damaged_2').exists()


def test_checkpoints_that_all_are_damaged_stay(bucket):
    like = {'x': jnp.zeros(3)}
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        checkpoints.save(1, like)
    file_system(bucket).rm(str(bucket / 'train' / '1' / 'state' / 'manifest.ocdbt'))
    with Checkpoints(bucket / 'train', keep=2) as checkpoints:
        with pytest.raises(DamagedCheckpoints, match=f'^{bucket}/train: none of the checkpoints'):
            checkpoints.restore_last(like)
    assert (bucket / 'train' / '1').is_dir()


def test_a_save_that_is_refused_names_the_checkpoints(bucket_server, bucket):
    with pytest.raises(StorageError, match=f'^{bucket}/train: this account has no right'):
        with bucket_server.failing('POST|PUT', faults.forbidden):
            with Checkpoints(bucket / 'train', keep=2) as checkpoints:
                checkpoints.save(1, {'x': jnp.zeros(3)})


def command(module, *arguments):
    """The outcome of a command that takes the emulator for Google's."""
    return forks.run(module, *arguments, variables=with_fused_loops(environment()))


def refused(module, *arguments):
    """The one line that a command prints that is refused."""
    outcome = command(module, *arguments)
    assert outcome.returncode == 1, outcome.stderr
    assert 'Traceback' not in outcome.stderr, outcome.stderr
    said = [line for line in outcome.stderr.splitlines() if line.startswith('mer_jax: ')]
    assert len(said) == 1, outcome.stderr
    return said[0].removeprefix('mer_jax: ')


def test_commands_name_a_bucket_that_does_not_exist(bucket_server, tmp_path):
    said = refused('mer_jax.main', *flags('gs://none/run', *SMALL))
    assert said.startswith("gs://none/run: there is no bucket 'none'; create it")
    said = refused('mer_jax.predict', '--checkpoint=gs://none/run', 'a.mp4')
    assert said.startswith('gs://none/run: there is no such object or bucket')
    said = refused('mer_jax.export', '--run', tmp_path, '--out=gs://none/out')
    assert said.startswith("gs://none/out: there is no bucket 'none'")


def test_a_run_in_a_bucket_that_it_may_not_write_to_is_refused(bucket_server, bucket):
    with bucket_server.failing('POST', faults.forbidden):
        said = refused('mer_jax.main', *flags(bucket, *SMALL))
    assert said.startswith(f'{bucket}/lock.json: this account has no right')


def test_a_run_in_a_bucket_is_killed_resumed_exported_asked_and_evaluated(
    bucket, omni_folder, tmp_path
):
    stage.write(tmp_path / 'films', clips=16, seed=5, split='train', sheet=False)
    upload_folder(tmp_path / 'films', bucket / 'films')
    upload_folder(omni_folder, bucket / 'omni')

    def given(workdir, checkpoint, films, *changes):
        keys = (f'model.checkpoint={checkpoint}', f'data.manifest={films}/manifest.jsonl')
        config = 'configs/mer_r1.py:qwen2_5_omni_7b'
        return flags(workdir, *BRIEFLY, *keys, *changes, config=config)

    # A run that stays local, and one in the bucket that is killed as soon as it has saved.
    local = tmp_path / 'run'
    said = command('mer_jax.main', *given(local, omni_folder, tmp_path / 'films'))
    assert said.returncode == 0, said.stderr
    run = bucket / 'run'
    again = given(run, bucket / 'omni', bucket / 'films', f'data.cache={bucket}/cache')
    process = forks.Fork('mer_jax.main', *again, variables=with_fused_loops(environment()))
    while process.poll() is None and not (run / 'train' / '1' / 'commit_success.txt').exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert not (run / 'results.json').exists()
    said = command('mer_jax.main', *again)
    assert said.returncode == 0, said.stderr
    for name in ('records.jsonl', 'validation.jsonl'):
        assert (run / name).read_bytes() == (local / name).read_bytes(), name
    assert len((run / 'records.jsonl').read_text().splitlines()) == 3
    results = [json.loads((place / 'results.json').read_text()) for place in (run, local)]
    assert results[0]['end'] == results[1]['end']
    assert f'{run}/report.html shows the run' in said.stdout
    assert len(list((bucket / 'cache').iterdir())) >= 4
    assert len(list((run / 'tensorboard' / 'train').iterdir())) == 2
    names = {path.name for path in (local / 'export').iterdir()}
    assert {path.name for path in (run / 'export').iterdir()} == names
    weights = [(place / 'export' / 'model.safetensors').read_bytes() for place in (run, local)]
    assert weights[0] == weights[1]

    said = command('mer_jax.export', '--run', run, '--out', bucket / 'exported')
    assert f'{bucket}/exported holds the best policy of {run}' in said.stdout, said.stderr
    film = next((tmp_path / 'films').rglob('*.mp4'))
    clip = str(bucket / 'films' / film.relative_to(tmp_path / 'films'))
    answers = []
    for checkpoint, path in ((bucket / 'exported', clip), (local, film)):
        said = command('mer_jax.predict', '--json', '--checkpoint', checkpoint, path)
        assert said.returncode == 0, said.stderr
        answers.append(json.loads(said.stdout) | {'clip': ''})
    assert answers[0] == answers[1]

    keys = (f'model.checkpoint={run}', f'data.root={bucket}/films', 'evaluate.batch=2', 'clips=4')
    asked = [f'--config.{key}' for key in keys]
    said = command('mer_jax.evaluate', '--workdir', bucket / 'evaluation', *asked)
    assert said.returncode == 0 and 'manifest  F' in said.stdout, said.stderr
    predictions = bucket / 'evaluation' / 'predictions' / 'manifest.jsonl'
    assert predictions.read_bytes().count(b'\n') == 8
    assert command('mer_jax.evaluate', '--workdir', bucket / 'evaluation', *asked).stdout == (
        said.stdout
    )
