"""Examples to arrays: few shapes, gold branches with their masks."""

import dataclasses

import numpy as np

from mer_jax.data.collate import size_class
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.setting import Setting


def gold_branches(setting, *clips):
    return setting.batcher.gold_branches([setting.writer.gold_example(clip) for clip in clips])


def test_gold_branches_learn_what_follows_the_opening_up_to_the_end_token(setting):
    clips = [setting.train_clips[i] for i in range(3)]
    examples = [setting.writer.gold_example(clip) for clip in clips]
    openings = [setting.encode(text) for text in setting.method.openings.values()]
    token_bgs, mask_bgs = setting.batcher.gold_branches(examples)
    assert token_bgs.shape[:2] == (3, 2) and token_bgs.shape == mask_bgs.shape
    for clip, example, token_gs, mask_gs in zip(clips, examples, token_bgs, mask_bgs, strict=True):
        for token, mask, opening in zip(token_gs, mask_gs, openings, strict=True):
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
    token, mask = gold_branches(setting, clip)
    assert not mask[0, 0].any() and mask[0, 1].any()
    assert (token[0, 0, 1:] == setting.end).all()


def test_gold_branches_of_other_clips_change_no_branch_but_its_padding(setting):
    one, other = setting.train_clips[0], setting.train_clips[1]
    (alone, mask), (both, masks) = gold_branches(setting, one), gold_branches(setting, one, other)
    shortest = min(alone.shape[-1], both.shape[-1])
    np.testing.assert_array_equal(alone[0, :, :shortest], both[0, :, :shortest])
    assert mask.sum() == masks[0].sum()


def test_shapes_come_in_few_sizes_and_the_smallest_that_fits_is_taken(setting, monkeypatch):
    assert [size_class(n) for n in (0, 1, 2, 3, 4, 5, 7, 9, 13, 24, 25)] == [
        0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32
    ]  # fmt: skip
    example = setting.writer.example(setting.train_clips[0])
    length = len(example.prompt.token)
    for tokens, smallest in (((256, 128), 128), ((256, length), length)):
        monkeypatch.setitem(setting.config.data, 'prompt_tokens', tokens)
        assert setting.batcher.collate([example]).token.shape == (1, smallest)


def test_clips_without_film_or_sound_have_the_shapes_of_the_least_sizes(setting, monkeypatch):
    clip = setting.train_clips[0]
    parts = [dataclasses.replace(clip, **{name: None}) for name in ('audio', 'video')]
    whole, *others = [[setting.writer.bare_example(one)] for one in (clip, *parts)]
    shapes = {setting.batcher.collate(one).media.patch.shape for one in (whole, *others)}
    assert len(shapes) > 1
    prompt = whole[0].prompt
    least = *prompt.patch_mask.shape[:2], len(prompt.sound)
    monkeypatch.setattr(setting.batcher, 'least', least)
    for example in others:
        expected, found = (setting.batcher.collate(one) for one in (whole, example))
        assert found.media.patch.shape == expected.media.patch.shape
        assert found.media.sound.shape == expected.media.sound.shape
        assert found.media.patch_mask.sum() == example[0].prompt.patch_mask.sum()


def test_a_shorter_sound_in_as_many_chunks_has_the_same_shapes(setting):
    clip = setting.train_clips[0]
    short = dataclasses.replace(clip, audio=clip.audio[:19_200])  # 120 of the chunk's 200 frames
    media = setting.batcher.collate([setting.writer.example(short)]).media
    assert media.sound.shape[:3] == (1, 1, 200) and media.sound_pair.shape == (1, 50, 2)


def test_frames_are_padded_to_whole_attention_windows(config):
    config.model.vision.window_size = 84  # 3 x 3 cells
    setting = Setting(config, *choose_clips(config))
    frames = setting.batcher.collate([setting.writer.example(setting.train_clips[0])])
    assert frames.media.patch_mask.shape == (1, 2, 36)


def test_padding_to_a_size_leaves_the_features_of_a_prompt_where_they_are(setting):
    example = setting.writer.example(setting.train_clips[0])
    prompts = setting.batcher.collate([example])
    z, p = prompts.media.patch_mask.shape[1:]
    frame, cell = np.divmod(example.prompt.place, example.prompt.patch_mask.shape[1] // 4)
    shown = (example.prompt.place >= 0) & (frame < len(example.prompt.patch))
    length = len(example.prompt.token)
    np.testing.assert_array_equal(
        prompts.media.place[0, -length:][shown], frame[shown] * (p // 4) + cell[shown]
    )
    heard = (example.prompt.place >= 0) & ~shown
    assert (prompts.media.place[0, -length:][heard] >= z * p // 4).all()


def test_a_filler_fits_into_a_batch_of_clips(setting):
    examples = [setting.writer.example(setting.train_clips[0]), setting.writer.filler()]
    prompts = setting.batcher.collate(examples)
    assert prompts.token.shape[0] == 2 and (prompts.media.place[1] == -1).all()
    assert (prompts.media.place[0] >= 0).any()
