"""The embedded stage: its clips, their annotations, their files and the tokenizer."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mer_jax.data.clips import read_manifest
from mer_jax.data.media.sound import read_audio
from mer_jax.data.media.video import read_video
from mer_jax.data.stage import stage
from mer_jax.data.stage.face import frames
from mer_jax.data.stage.generator import SPLITS, generator
from mer_jax.data.stage.scene import CONTRADICTION, annotate, draw_scene
from mer_jax.data.stage.tokenizer import SPECIAL, VOCABULARY
from mer_jax.data.stage.voice import recording
from mer_jax.data.stage.words import (
    FAMILIES,
    KIN,
    MANNER,
    MODALITIES,
    PHRASES,
    PLAIN_PHRASES,
    QUESTION,
    SLOTS,
    VALENCE,
    Feeling,
)

FAMILY_OF = {word: family for family, words in FAMILIES.items() for word in words}


def scenes(count, split='train'):
    """Scenes and their clips, without pictures and sound."""
    for index in range(count):
        rng = generator(5, split, index)
        scene = draw_scene(rng)
        yield scene, annotate(rng, scene, str(index))


def unmasked(shown):
    """The modality whose valence contradicts that of both others, by the shown emotions alone."""
    signs = {each: {VALENCE[f.family] for f in shown[each]} - {0} for each in MODALITIES}
    for each in MODALITIES:
        one, other = (signs[name] for name in MODALITIES if name != each)
        if len(signs[each]) == len(one) == 1 and one == other and signs[each] != one:
            return each
    return None


def test_a_clip_has_the_shapes_that_the_towers_expect():
    clip = stage.draw(0, 'train', 0)
    assert clip.video.shape == (4, 56, 56, 3) and clip.video.dtype == np.uint8
    assert clip.audio.shape == (32_000,) and clip.audio.dtype == np.float32
    assert clip.fps == 2.0 and clip.id == 'train-0-000000' and len(clip.cues) == 3
    assert np.abs(clip.audio).max() <= 1 and clip.audio.std() > 0.005


def test_a_clip_depends_on_seed_split_and_index_alone():
    first = stage.draw(3, 'train', 7)
    stage.draw(0, 'test', 0)
    again = stage.draw(3, 'train', 7)
    np.testing.assert_array_equal(first.video, again.video)
    np.testing.assert_array_equal(first.audio, again.audio)
    assert (first.subtitle, first.reasoning) == (again.subtitle, again.reasoning)
    for other in ((4, 'train', 7), (3, 'validation', 7), (3, 'train', 8)):
        assert (stage.draw(*other).video != first.video).mean() > 0.5


@pytest.mark.parametrize(
    ('triple', 'subtitle', 'words', 'reasoning'),
    [
        (
            (3, 'train', 13),
            'the meeting is in room two.',
            ('happy', 'surprised'),
            'face wide then beaming: amazed, happy. voice leaping: amazed. words plain.',
        ),
        (
            (4, 'test', 9),
            'our teacher will call again.',
            ('delighted', 'astonished'),
            'face wide: amazed. voice bright: delighted. words plain.',
        ),
        (
            (2, 'validation', 7),
            'we need paper for the cake.',
            ('loving', 'proud'),
            'face soft: loving. voice firm then gentle: confident, loving. words plain.',
        ),
    ],
)
def test_the_text_of_a_clip_is_the_same_on_every_machine(triple, subtitle, words, reasoning):
    clip = stage.draw(*triple)
    assert (clip.subtitle, clip.words, clip.reasoning) == (subtitle, words, reasoning)


def test_splits_share_no_clip():
    seen = {
        (seed, split, index): generator(seed, split, index).bytes(16)
        for seed in (0, 1, 2)
        for split in SPLITS
        for index in range(100)
    }
    assert len(set(seen.values())) == len(seen) == 900


@pytest.mark.parametrize(
    ('seed', 'split', 'index', 'said'),
    [
        (-1, 'train', 0, 'seed=-1'),
        (2**32, 'train', 0, 'seed=4294967296'),
        (0, 'train', -1, 'index=-1'),
        (0, 'dev', 0, "split='dev' must be one of train, validation, test"),
    ],
)
def test_a_clip_that_does_not_exist_is_refused(seed, split, index, said):
    with pytest.raises(ValueError, match=said):
        stage.draw(seed, split, index)


def test_there_are_one_to_four_emotions_and_on_average_about_2_2():
    counts = np.bincount([len(scene.felt) for scene, _ in scenes(3000)])
    assert counts[0] == 0 and len(counts) == 5 and counts.min(initial=99, where=counts > 0) > 60
    assert abs((counts * np.arange(5)).sum() / 3000 - 2.2) < 0.06


def test_the_emotions_of_a_clip_belong_to_different_families():
    for scene, _ in scenes(500):
        assert len({feeling.family for feeling in scene.felt}) == len(scene.felt)


def test_a_quarter_of_the_clips_contradict_themselves():
    share = np.mean([scene.liar is not None for scene, _ in scenes(3000)])
    assert abs(share - CONTRADICTION) < 0.03


def test_every_modality_lies_about_as_often():
    liars = [scene.liar for scene, _ in scenes(3000) if scene.liar]
    assert all(abs(liars.count(each) / len(liars) - 1 / 3) < 0.06 for each in MODALITIES)


def test_every_emotion_is_shown_by_an_honest_modality():
    for scene, _ in scenes(2000):
        honest = {f for each in MODALITIES if each != scene.liar for f in scene.shown[each]}
        assert honest == set(scene.felt)


def test_a_lie_is_an_emotion_of_the_other_valence_that_is_not_felt():
    for scene, _ in scenes(1000):
        if scene.liar:
            (false,) = scene.shown[scene.liar]
            signs = {VALENCE[feeling.family] for feeling in scene.felt} - {0}
            assert signs == {-VALENCE[false.family]}


def test_the_shown_emotions_alone_tell_which_modality_lies():
    for scene, _ in scenes(3000):
        assert unmasked(scene.shown) == scene.liar


def test_only_words_can_show_nothing_and_no_modality_shows_more_than_two_emotions():
    for scene, _ in scenes(1000):
        assert all(len(feelings) <= 2 for feelings in scene.shown.values())
        assert scene.shown['face'] and scene.shown['voice']


def test_the_trace_names_exactly_the_emotions_that_the_modalities_show():
    for scene, clip in scenes(1000):
        said = [word for word in re.findall(r'\w+', clip.reasoning) if word in FAMILY_OF]
        assert said == [feeling.word for each in MODALITIES for feeling in scene.shown[each]]
        assert clip.reasoning.endswith(f'{scene.liar} false.') == (scene.liar is not None)


def test_each_cue_names_the_manners_of_the_emotions_of_its_modality():
    for scene, clip in scenes(300):
        for place, (each, cue) in enumerate(zip(MODALITIES, clip.cues, strict=True)):
            manners = [MANNER[feeling.family][place] for feeling in scene.shown[each]]
            assert f'{each} {"are" if each == "words" else "is"} ' in cue
            assert re.findall(r'\w+', cue)[3:] == (' then '.join(manners) or 'plain').split()


def test_the_answer_holds_felt_emotions_and_keeps_those_that_two_cues_support():
    cautious = 0
    for scene, clip in scenes(2000):
        felt = {feeling.word for feeling in scene.felt}
        counted = clip.reasoning.split(f' {scene.liar} false.')[0]
        honest = [
            part for part in counted.split('.') if not part.strip().startswith(f'{scene.liar}')
        ]
        votes = {word: sum(word in re.findall(r'\w+', part) for part in honest) for word in felt}
        supported = {word for word in felt if votes[word] > 1}
        assert (
            clip.answer and set(clip.answer) <= felt and len(set(clip.answer)) == len(clip.answer)
        )
        if set(clip.answer) != felt:
            cautious += 1
            assert set(clip.answer) == supported or (not supported and len(clip.answer) == 1)
    assert 0.3 < cautious / 2000 < 0.7


def test_the_crowd_is_broader_than_the_answer():
    words, answers = zip(*((clip.words, clip.answer) for _, clip in scenes(2000)), strict=True)
    assert np.mean([*map(len, words)]) > 1.25 * np.mean([*map(len, answers)])
    assert all(1 <= len(each) == len(set(each)) for each in words)


def test_the_words_of_the_crowd_belong_to_felt_families_or_their_kin():
    slips = 0
    for scene, clip in scenes(2000):
        felt = {feeling.family for feeling in scene.felt}
        named = {FAMILY_OF[word] for word in clip.words}
        assert named <= felt | {KIN[family] for family in felt} and named & felt
        slips += not named <= felt
    assert 0.02 < slips / 2000 < 0.1


def test_each_family_has_four_words_of_its_own_a_valence_and_kin():
    words = [word for family in FAMILIES.values() for word in family]
    assert len(words) == len(set(words)) == 4 * len(FAMILIES) >= 24
    assert all(word.isalpha() and word.islower() for word in words)
    assert FAMILIES.keys() == VALENCE.keys() == KIN.keys() == MANNER.keys() == PHRASES.keys()
    assert all(family != kin and kin in FAMILIES for family, kin in KIN.items())


def test_no_manner_is_used_twice_and_no_subtitle_or_manner_names_an_emotion():
    manners = [manner for row in MANNER.values() for manner in row]
    phrases = [phrase for rows in PHRASES.values() for phrase in rows] + [*PLAIN_PHRASES]
    spoken = ' '.join(phrases + [slot for slots in SLOTS.values() for slot in slots])
    assert len(set(manners)) == len(manners) and len(set(phrases)) == len(phrases)
    assert not FAMILY_OF.keys() & {*manners, *re.findall(r'\w+', spoken)}


def test_a_second_feeling_follows_the_first_in_face_and_voice():
    sad, glad = Feeling('sadness', 2), Feeling('joy', 2)
    times = np.arange(4) / 2
    alone, turned = (
        frames(np.random.default_rng(1), shown, times).astype(int)
        for shown in ((sad,), (sad, glad))
    )
    np.testing.assert_array_equal(alone[:2], turned[:2])
    assert np.abs(alone[2:] - turned[2:]).mean() > 20
    low, high = recording(np.random.default_rng(1), (sad, glad)).reshape(2, 16_000).std(1)
    assert high > 2 * low


def test_the_film_holds_the_frames_of_the_clip_and_the_same_sound():
    clip, film = stage.draw(2, 'test', 3), stage.film(2, 'test', 3)
    assert film.video.shape == (16, 56, 56, 3) and film.fps == 8.0
    np.testing.assert_array_equal(film.video[::4], clip.video)
    np.testing.assert_array_equal(film.audio, clip.audio)


def test_written_clips_are_read_from_the_manifest_and_decode_to_those_drawn(tmp_path):
    stage.write(tmp_path / 'out', clips=2, seed=4, split='test', sheet=True)
    assert (tmp_path / 'out' / 'sheet.png').read_bytes().startswith(b'\x89PNG')
    clips = read_manifest(tmp_path / 'out' / 'manifest.jsonl')
    for index, clip in enumerate(clips):
        drawn = stage.draw(4, 'test', index)
        assert (clip.id, clip.subtitle, clip.words) == (drawn.id, drawn.subtitle, drawn.words)
        assert (clip.reasoning, clip.answer, clip.cues) == (
            drawn.reasoning,
            drawn.answer,
            drawn.cues,
        )
        pictures, rate = read_video(clip.video, fps=2.0, max_frames=4)
        np.testing.assert_array_equal(pictures, drawn.video)
        assert rate == 2
        np.testing.assert_allclose(read_audio(clip.video), drawn.audio, atol=2e-7)


def test_a_folder_in_use_and_zero_clips_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / 'note').touch()
    for flags, said in (
        (['--out', str(tmp_path), '--clips', '2'], 'must be a new or an empty folder'),
        (['--out', str(tmp_path / 'new'), '--clips', '0'], 'clips=0'),
        ([], 'give either --out or --write-tokenizer'),
    ):
        monkeypatch.setattr(sys, 'argv', ['stage', *flags])
        with pytest.raises(SystemExit):
            stage.main('')
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['note']


def test_the_shipped_tokenizer_is_the_one_that_is_trained():
    shipped = Path(stage.__file__).with_name(stage.TOKENIZER_FILE).read_text('utf-8')
    assert json.loads(shipped) == json.loads(stage.build_tokenizer().to_str())


def test_every_emotion_word_is_one_token_with_and_without_a_space():
    tokenizer = stage.stage_tokenizer()
    for word in FAMILY_OF:
        assert len(tokenizer.encode(word)) == len(tokenizer.encode(' ' + word)) == 1


def test_tags_are_plain_text_and_do_not_split_the_words_beside_them():
    tokenizer = stage.stage_tokenizer()
    text = '<think>face wide: sad.</think><answer>sad, proud</answer>'
    assert tokenizer.tokenize(text) == (
        '<think > face Ġwide : Ġsad .</ think >< answer > sad , Ġproud </ answer >'.split()
    )


def test_special_tokens_come_last_and_end_and_pad_are_those_of_qwen():
    tokenizer = stage.stage_tokenizer()
    assert len(tokenizer) == VOCABULARY
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    assert ids == list(range(VOCABULARY - len(SPECIAL), VOCABULARY))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ('<|im_end|>', '<|endoftext|>')
    assert set(tokenizer.all_special_tokens) == set(SPECIAL)


def test_any_text_is_decoded_as_it_was_encoded():
    tokenizer = stage.stage_tokenizer()
    for text in ('Größe, naïve 不是 🙂 <think>', *(clip.subtitle for _, clip in scenes(50))):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_chat_is_rendered_as_in_qwen_without_a_system_turn():
    content = [{'type': each} for each in ('video', 'image', 'audio')]
    messages = [{'role': 'user', 'content': [*content, {'type': 'text', 'text': QUESTION}]}]
    text = stage.stage_tokenizer().apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    assert text == (
        '<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|><|vision_bos|><|IMAGE|><|vision_eos|>'
        f'<|audio_bos|><|AUDIO|><|audio_eos|>{QUESTION}<|im_end|>\n<|im_start|>assistant\n'
    )


def test_reasoning_is_short_enough_to_be_decoded_token_by_token():
    tokenizer = stage.stage_tokenizer()
    lengths = [len(tokenizer.encode(clip.reasoning)) for _, clip in scenes(500)]
    assert 15 < np.mean(lengths) < 25 and max(lengths) <= 30
