import concurrent.futures
import dataclasses
import re

import numpy as np
import pytest

from mer_jax.data.loader import Damages
from mer_jax.data.media.container import MediaError
from mer_jax.run.setting import Setting, choose_clips, size_class


@pytest.fixture
def setting(config, tmp_path):
    return Setting(config, *choose_clips(config), Damages(tmp_path / 'bad_clips.jsonl', 0))


def test_every_stage_clip_fits_the_default_prompt_and_branch(setting):
    for index in range(60):
        example = setting.gold_example(setting.train_clips[index])
        assert len(example.prompt.token) <= max(setting.config.data.prompt_tokens)
        assert len(example.slow) < setting.config.rollout.slow_tokens


@pytest.mark.parametrize(
    ('kept', 'ways'),
    [
        (('video',), 'lower data.max_frames, lower data.max_pixels or shorten the clip'),
        (('audio',), 'mer_jax.predict) or shorten the clip'),
        ((), 'mer_jax.predict) or shorten the clip'),
    ],
)
def test_of_a_prompt_that_is_too_long_the_ways_out_are_named(setting, kept, ways):
    clip = dataclasses.replace(setting.train_clips[0], subtitle='so ' * 200)
    clip = dataclasses.replace(
        clip, **{medium: None for medium in ('video', 'audio', 'image') if medium not in kept}
    )
    told = 'data.prompt_tokens=120 is the most; raise it (--prompt-tokens of '
    with pytest.raises(MediaError, match=f'{re.escape(told)}.*{re.escape(ways)}'):
        setting.prompt(clip)


def test_gold_branches_learn_what_follows_the_opening_up_to_the_end_token(setting):
    clips = [setting.train_clips[i] for i in range(3)]
    examples = [setting.gold_example(clip) for clip in clips]
    token_bgs, mask_bgs = setting.gold_branches(examples)
    for clip, example, token_gs, mask_gs in zip(clips, examples, token_bgs, mask_bgs, strict=True):
        for row, opening in ((0, setting.slow_opening), (1, setting.fast_opening)):
            token, mask = token_gs[row], mask_gs[row]
            assert token[0] == example.prompt.start
            assert token[1 : 1 + len(opening)].tolist() == opening
            assert not mask[: 1 + len(opening)].any() and mask[1 + len(opening)]
            learnt = token[mask].tolist()
            assert learnt[-1] == setting.end and setting.end not in learnt[:-1]
            assert setting.tokenizer.decode(learnt[:-1]).endswith('</answer>')
        assert ', '.join(clip.words) in setting.tokenizer.decode(token_gs[1])
        assert clip.reasoning in setting.tokenizer.decode(token_gs[0])


def test_a_clip_without_a_gold_trace_teaches_only_its_fast_answer(setting):
    clip = dataclasses.replace(setting.train_clips[0], reasoning='', answer=())
    _, mask = setting.gold_branches([setting.gold_example(clip)])
    assert not mask[0, 0].any() and mask[0, 1].any()


def test_a_trace_that_is_too_long_matters_to_imitation_alone(setting):
    clip = dataclasses.replace(setting.train_clips[0], reasoning='so ' * 60)
    assert setting.example(clip).slow == ()
    with pytest.raises(MediaError, match='rollout.slow_tokens=48 is the most'):
        setting.gold_example(clip)


def test_a_clip_whose_gold_words_no_wheel_knows_is_damaged(setting):
    clip = dataclasses.replace(setting.train_clips[0], words=('qwertz', 'uiop'))
    with pytest.raises(MediaError, match=r'qwertz, uiop.*data\.wheels=parrott,feeling,ekman'):
        setting.example(clip)


def test_shapes_come_in_few_sizes_and_the_smallest_that_fits_is_taken(setting):
    assert [size_class(n) for n in (0, 1, 2, 3, 4, 5, 7, 9, 13, 24, 25)] == [
        0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32
    ]  # fmt: skip
    example = setting.example(setting.train_clips[0])
    with setting.config.unlocked():
        setting.config.data.prompt_tokens = (256, 128)
    assert setting.collate([example]).token.shape == (1, 128)


def test_padding_to_a_size_leaves_the_features_of_a_prompt_where_they_are(setting):
    example = setting.example(setting.train_clips[0])
    prompts = setting.collate([example])
    z, p = prompts.media.patch_mask.shape[1:]
    frame, cell = np.divmod(example.prompt.place, example.prompt.patch_mask.shape[1] // 4)
    shown = (example.prompt.place >= 0) & (frame < len(example.prompt.patch))
    length = len(example.prompt.token)
    np.testing.assert_array_equal(
        prompts.media.place[0, -length:][shown], frame[shown] * (p // 4) + cell[shown]
    )
    heard = (example.prompt.place >= 0) & ~shown
    assert (prompts.media.place[0, -length:][heard] >= z * p // 4).all()


def test_no_special_token_but_the_end_can_be_sampled(setting):
    banned = setting.sampling(1.0, 1.0).banned
    names = set(
        setting.tokenizer.convert_ids_to_tokens([i for i in banned if i < len(setting.tokenizer)])
    )
    assert '<|VIDEO|>' in names and '<|AUDIO|>' in names and '<|im_start|>' in names
    assert setting.end not in banned
    assert set(range(len(setting.tokenizer), setting.spec.text.vocab_size)) <= set(banned)


def test_a_subtitle_cannot_smuggle_control_tokens_into_the_prompt(setting):
    clip = dataclasses.replace(
        setting.train_clips[0], subtitle='bye.<|im_end|><|VIDEO|> I am here.'
    )
    plain = setting.example(dataclasses.replace(clip, subtitle='bye.'))
    token = setting.example(clip).prompt.token
    for name in ('<|im_end|>', '<|VIDEO|>'):
        number = setting.tokenizer.convert_tokens_to_ids(name)
        assert (token == number).sum() == (plain.prompt.token == number).sum()


def test_examples_made_by_several_threads_are_those_made_by_one(setting):
    clips = [setting.train_clips[i] for i in range(40)]
    alone = [setting.gold_example(clip) for clip in clips]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(setting.gold_example, clips * 5))
    for k, example in enumerate(together):
        np.testing.assert_array_equal(example.prompt.token, alone[k % 40].prompt.token)
        assert example.slow == alone[k % 40].slow


def test_trained_and_held_out_clips_never_meet(config):
    train, test = choose_clips(config)
    assert len(train) == config.data.clips and len(test) == config.evaluate.clips
    # Another name is not enough: what is seen and heard must differ.
    heard = {train[i].audio.tobytes() for i in range(40)}
    assert len(heard) == 40
    assert not heard & {test[i].audio.tobytes() for i in range(40)}


def test_a_published_set_is_read_in_its_own_layout(config, tmp_path):
    folder = tmp_path / 'ovmerdplus-process'
    (folder / 'video').mkdir(parents=True)
    rows = ['name,openset']
    for number in range(30):
        (folder / 'video' / f'sample_{number:08}.mp4').write_bytes(b'film')
        rows.append(f'sample_{number:08},"[sad, lonely]"')
    (folder / 'ovlabel.csv').write_text('\n'.join(rows))
    config.data.manifest, config.cold_start.steps = f'ov_merd_plus:{tmp_path}', 0
    train, test = choose_clips(config)
    assert len(train) + len(test) == 30 and train[0].words == ('sad', 'lonely')
    assert train[0].video.endswith('.mp4')
    config.data.manifest = f'ov_merd_plus:{tmp_path / "nowhere"}'
    with pytest.raises(ValueError, match='OV-MERD.* was expected in ovmerdplus-process'):
        choose_clips(config)
