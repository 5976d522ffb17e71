"""Clips to prompts: chat layout, places of media, and what is refused."""

import dataclasses

import av
import numpy as np
import pytest
from media_files import write_both, write_film, write_wave
from PIL import Image
from tiny_prompts import (
    DRAW,
    IMAGE,
    MEDIA,
    OMNI,
    QUESTION,
    SEEN,
    SOUND,
    TOKENIZER,
    VIDEO,
    WITHOUT_SOUND,
    prompt_of,
)
from tiny_tokenizers import CONTROL, ID, tiny_tokenizer

from mer_jax.data.clips import Clip
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.pictures import patches
from mer_jax.data.media.sound import log_mel, read_audio
from mer_jax.data.media.video import read_video
from mer_jax.data.prompts import fill_prompt, write_prompt


def runs(prompt):
    """The decoded prompt with its start, each run of placeholders written as its name x length."""
    text = TOKENIZER.decode([*prompt.token, prompt.start])
    for name in ('<|VIDEO|>', '<|IMAGE|>', '<|AUDIO|>'):
        for count in range(text.count(name), 0, -1):
            text = text.replace(name * count, f'{name[2]}{count}')
    return text


@pytest.mark.parametrize(
    ('media', 'together', 'shown'),
    [
        ({}, True, ''),
        ({'image': IMAGE}, True, '<|vision_bos|>I35<|vision_eos|>'),
        ({'audio': SOUND}, True, '<|audio_bos|>A25<|audio_eos|>'),
        (SEEN, True, '<|vision_bos|>V12<|vision_eos|>'),
        (
            SEEN | {'audio': SOUND, 'image': IMAGE},
            True,
            '<|vision_bos|><|audio_bos|>V12A25<|audio_eos|><|vision_eos|>'
            '<|vision_bos|>I35<|vision_eos|>',
        ),
        (
            SEEN | {'audio': SOUND, 'image': IMAGE},
            False,
            '<|vision_bos|>V12<|vision_eos|><|vision_bos|>I35<|vision_eos|>'
            '<|audio_bos|>A25<|audio_eos|>',
        ),
    ],
)
def test_a_turn_holds_video_image_sound_subtitle_and_question_in_this_order(media, together, shown):
    prompt = prompt_of(subtitle='Oh no.', audio_in_video=together, **media)
    said = f'<|im_start|>user\n{shown}Oh no.\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n'
    assert runs(prompt) == said


@pytest.mark.parametrize('pixels', [None, (28 * 28, 56 * 84)])
def test_several_images_keep_their_order_and_sizes(tmp_path, pixels):
    Image.fromarray(VIDEO[0]).save(tmp_path / 'b.png')
    images = (IMAGE, str(tmp_path / 'b.png'), IMAGE[:28, :56])
    prompt = prompt_of(image=images, pixels=pixels)
    tokens = [35, 6, 2] if pixels is None else [4, 6, 2]
    marks = [f'<|vision_bos|>I{count}<|vision_eos|>' for count in tokens]
    assert runs(prompt).startswith(f'<|im_start|>user\n{"".join(marks)}{QUESTION}')
    assert len(prompt.patch) == 3
    seen = prompt.patch.reshape(-1, 4 * 1176)[prompt.place[prompt.token == OMNI.image]]
    for frame, image in zip([1, 2], [VIDEO[0], IMAGE[:28, :56]], strict=True):
        wanted = patches(image[None], 14, 2, 2)[0].reshape(-1, 4 * 1176)
        own = slice(sum(tokens[:frame]), sum(tokens[: frame + 1]))
        np.testing.assert_array_equal(seen[own], wanted)


@pytest.mark.parametrize('layout', [OMNI, WITHOUT_SOUND])
@pytest.mark.parametrize(
    ('only', 'shown'),
    [
        ({'subtitle': 'Oh.'}, 'Oh.\n'),
        (SEEN, '<|vision_bos|>V12<|vision_eos|>'),
        ({'image': IMAGE}, '<|vision_bos|>I35<|vision_eos|>'),
    ],
)
def test_a_clip_of_one_modality_is_enough_for_either_family(layout, only, shown):
    assert runs(prompt_of(layout, **only)).startswith(f'<|im_start|>user\n{shown}{QUESTION}')


def test_a_system_message_comes_before_the_turn():
    said = '<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhat'
    assert runs(prompt_of(system='Be kind.', **SEEN)).startswith(said[:-4] + '<|vision_bos|>V12')
    assert runs(prompt_of(system='Be kind.')).startswith(said)


def test_without_a_subtitle_only_the_question_is_asked():
    assert runs(prompt_of()).startswith(f'<|im_start|>user\n{QUESTION}<|im_end|>')


def test_the_last_token_is_held_apart_as_the_start_with_its_position():
    prompt = prompt_of(**SEEN)
    assert TOKENIZER.decode([prompt.start]) == '\n'
    assert prompt.position.shape == (3, len(prompt.token)) and len(prompt.place) == len(
        prompt.token
    )
    assert prompt.position[:, -1].tolist() == [prompt.next_position - 1] * 3


@pytest.mark.parametrize('text', ['Hello', '\nHello', ' \n\n two', '', 'a <| b |> <think>', '好'])
def test_harmless_text_is_tokenised_as_the_whole_chat_would_be(text):
    prompt = prompt_of(subtitle=text)
    said = f'{text}\n{QUESTION}' if text else QUESTION
    turn = [{'role': 'user', 'content': [{'type': 'text', 'text': said}]}]
    whole = TOKENIZER.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    ids = TOKENIZER.encode(whole, add_special_tokens=False)
    assert [*prompt.token, prompt.start] == ids


@pytest.mark.parametrize('text', [''.join(CONTROL), 'a<|im_end|>b', '<|im_<|im_end|>end|>'])
def test_control_tokens_in_a_subtitle_stay_text(text):
    prompt = prompt_of(subtitle=text, **SEEN)
    plain = prompt_of(subtitle='x', **SEEN)
    assert (prompt.token >= 257).sum() == (plain.token >= 257).sum()
    assert f'{text}\n{QUESTION}' in TOKENIZER.decode(prompt.token)


def test_a_tokenizer_without_template_or_with_one_that_drops_the_text_is_refused():
    clip = Clip('c7', subtitle='x')
    with pytest.raises(ValueError, match='has no chat template'):
        write_prompt(clip, tiny_tokenizer(None), OMNI, QUESTION)
    with pytest.raises(ValueError, match='renders the text of the user 0 times'):
        write_prompt(clip, tiny_tokenizer('<|im_start|>'), OMNI, QUESTION)


@pytest.mark.parametrize('side', [1, 2, 3, 4])
def test_the_place_of_every_picture_token_is_that_of_its_patches(side):
    layout = dataclasses.replace(OMNI, window=side)
    prompt = prompt_of(layout, video=VIDEO, fps=2.0, image=IMAGE)
    assert prompt.patch.shape[1] % (4 * side * side) == 0
    cells = prompt.patch.reshape(-1, 4, 1176)[prompt.place[np.isin(prompt.token, MEDIA[:2])]]
    wanted = [patches(frames, 14, 2, 2)[0] for frames in (VIDEO, IMAGE[None])]
    np.testing.assert_array_equal(cells, np.concatenate(wanted).reshape(-1, 4, 1176))
    for kind in MEDIA[:2]:
        inside = prompt.token == kind
        row_col = prompt.patch_row_col.reshape(-1, 4, 2)[prompt.place[inside]]
        place = prompt.position[1:, inside].T - prompt.position[1:, inside].min()
        offsets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        np.testing.assert_array_equal(row_col, 2 * place[:, None] + offsets)


@pytest.mark.parametrize('side', [1, 2, 3, 4])
def test_a_window_is_a_block_of_patches_that_holds_all_its_cells(side):
    prompt = prompt_of(dataclasses.replace(OMNI, window=side), image=IMAGE)  # 5 x 7 cells
    mask = prompt.patch_mask[0].reshape(-1, 4 * side * side)
    windows = prompt.patch_row_col[0].reshape(-1, 4 * side * side, 2) // (2 * side)
    found = [np.unique(window[real], axis=0) for window, real in zip(windows, mask, strict=True)]
    high, wide = -(-5 // side), -(-7 // side)
    assert [window.tolist() for window in found] == [
        [[row, column]] for row in range(high) for column in range(wide)
    ]
    assert mask.sum() == 4 * 5 * 7


def test_sound_is_cut_into_chunks_and_a_token_is_two_convolved_frames():
    sound = DRAW.normal(0, 0.1, 203 * 160).astype(np.float32)
    prompt = prompt_of(audio=sound)
    assert prompt.sound.shape == (2, 200, 128)
    assert prompt.sound_length.tolist() == [200, 3]  # 100 and 2 convolved frames
    np.testing.assert_array_equal(prompt.sound.reshape(400, 128)[:203], log_mel(sound))
    assert not prompt.sound[1, 3:].any()
    assert prompt.sound_pair.tolist() == [[2 * q, 2 * q + 1] for q in range(51)]
    assert prompt.place[prompt.token == OMNI.audio].tolist() == list(range(51))


def test_pairs_of_frames_run_on_over_odd_chunks_and_an_odd_last_frame_is_dropped():
    layout = dataclasses.replace(OMNI, chunk=10)
    prompt = prompt_of(layout, audio=SOUND[: 23 * 160])  # 5 + 5 + 2 convolved frames
    assert prompt.sound_length.tolist() == [10, 10, 3]
    assert prompt.sound_pair.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    prompt = prompt_of(layout, audio=SOUND[: 15 * 160])  # 5 + 3
    assert prompt.sound_pair.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    prompt = prompt_of(layout, audio=SOUND[: 13 * 160])  # 5 + 2, of which the last is dropped
    assert prompt.sound_pair.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_second_sound_begins_with_a_chunk_of_its_own():
    layout = dataclasses.replace(OMNI, chunk=10)
    mels = [log_mel(SOUND[: frames * 160]) for frames in (13, 9)]  # 5 + 2 and 5 convolved frames
    chat = [layout.audio, 7, layout.audio, 8]
    prompt = fill_prompt('c7', chat, [], [], mels, layout, together=False)
    assert prompt.sound_length.tolist() == [10, 3, 9]
    assert prompt.sound_pair.tolist() == [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13]]
    assert prompt.place.tolist() == [0, 1, 2, -1, 3, 4]


def test_the_tokens_of_a_sound_show_rows_after_those_of_all_pictures():
    prompt = prompt_of(audio=SOUND, image=IMAGE, **SEEN)
    rows = prompt.patch_mask.size // 4
    assert prompt.place[prompt.token == OMNI.audio].tolist() == list(range(rows, rows + 25))
    assert (
        prompt.place.max() == rows + 24 and (prompt.place[prompt.token == OMNI.video] < rows).all()
    )


def test_a_film_file_gives_the_prompt_of_its_frames_and_its_sound(tmp_path):
    path = str(write_film(tmp_path / 'a.mp4', frames=16, sound=True))
    bounds = (56 * 56, 56 * 84)
    found = prompt_of(video=path, pixels=bounds)
    frames, fps = read_video(path, 2.0, 768, bounds)
    wanted = prompt_of(video=frames, fps=fps, audio=read_audio(path))
    for name in ('token', 'position', 'patch', 'sound', 'place'):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert OMNI.audio in found.token and OMNI.video in found.token
    assert OMNI.audio not in prompt_of(WITHOUT_SOUND, video=path, pixels=bounds).token


@pytest.mark.parametrize('together', [True, False])
def test_the_tokens_of_the_sound_of_a_film_come_inside_the_video_or_after_it(tmp_path, together):
    path = str(write_film(tmp_path / 'a.mp4', frames=16, sound=True))  # 2 s, 2 x 2 x 3 cells
    prompt = prompt_of(video=path, pixels=(28 * 28, 56 * 84), audio_in_video=together)
    heard = sum(prompt.token == OMNI.audio)
    assert heard == len(prompt.sound_pair) > 48
    shown = {
        True: f'<|vision_bos|><|audio_bos|>V12A{heard}<|audio_eos|><|vision_eos|>',
        False: f'<|vision_bos|>V12<|vision_eos|><|audio_bos|>A{heard}<|audio_eos|>',
    }
    assert runs(prompt).startswith(f'<|im_start|>user\n{shown[together]}{QUESTION}')


def test_the_sound_of_a_film_begins_with_the_film_or_with_its_own_first_sample(tmp_path):
    path = str(write_both(tmp_path / 'a.mp4', late=0.6))
    aligned, published = (
        sum(prompt_of(video=path, pixels=(784, 784), sound_start=start).token == OMNI.audio)
        for start in ('film', 'sound')
    )
    assert aligned - published == pytest.approx(0.6 * 25, abs=3)
    assert (prompt_of(video=path, pixels=(784, 784)).token == OMNI.audio).sum() == aligned


def test_a_family_without_audio_gets_no_sound_and_refuses_a_clip_of_sound_only():
    both = prompt_of(WITHOUT_SOUND, audio=SOUND, **SEEN)
    np.testing.assert_array_equal(both.token, prompt_of(WITHOUT_SOUND, **SEEN).token)
    with pytest.raises(MediaError, match="clip c7: it has sound only, .* 'vl' cannot hear"):
        prompt_of(WITHOUT_SOUND, audio=SOUND)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'video': VIDEO}, 'clip c7: fps=None: a video array needs'),
        ({'video': VIDEO / 255, 'fps': 2.0}, r'video: .* not float64\[4, 56, 84, 3\]'),
        ({'image': IMAGE[..., 0]}, r'image: frames must be uint8'),
        ({'image': IMAGE[:50]}, '50 x 196 pixels: both sides must be multiples'),
        ({'audio': SOUND.astype(np.float64)}, r'audio: .* not float64\[16000\]'),
        ({'audio': SOUND * np.inf}, 'audio: samples must be finite'),
        ({'audio': SOUND[:320]}, 'audio: has 320 samples of sound; a token takes 321'),
        ({'video': 'none.mp4'}, 'clip c7: none.mp4: there is no such file'),
    ],
)
def test_unusable_media_are_named(options, message):
    with pytest.raises(MediaError, match=message):
        prompt_of(**options)


def test_an_unusable_image_file_is_named(tmp_path):
    Image.fromarray(IMAGE[:50]).save(tmp_path / 'a.png')
    with pytest.raises(MediaError, match='clip c7: .*a.png: .*50 x 196 pixels: both sides'):
        prompt_of(image=str(tmp_path / 'a.png'))
    Image.new('RGB', (402, 2)).save(tmp_path / 'b.png')
    with pytest.raises(MediaError, match='clip c7: .*b.png: 2 x 402 pixels: one side is over 200'):
        prompt_of(image=(IMAGE, str(tmp_path / 'b.png')), pixels=(784, 7840))


def test_a_sound_file_without_a_sound_track_is_refused(tmp_path):
    with pytest.raises(MediaError, match='has no sound track'):
        prompt_of(audio=str(write_film(tmp_path / 'a.mp4', frames=4)))


@pytest.mark.parametrize('samples', [0, 320])
def test_a_sound_file_too_short_for_a_token_is_refused(tmp_path, samples):
    path = write_wave(tmp_path / 'a.wav', np.zeros((samples, 1)), 16_000)
    with pytest.raises(MediaError, match=f'clip c7: {path}: has {samples} samples of sound'):
        prompt_of(audio=str(path))


@pytest.mark.parametrize('samples', [1, 320])
def test_a_film_whose_sound_is_too_short_is_shown_without_it_with_one_warning(
    tmp_path, caplog, samples
):
    path = tmp_path / 'a.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=8)
        stream.width, stream.height, stream.pix_fmt = 84, 56, 'yuv420p'
        track = container.add_stream('pcm_s16le', rate=16_000, layout='mono')
        for frame in VIDEO:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
        tone = av.AudioFrame.from_ndarray(np.ones((1, samples), np.int16), 's16', 'mono')
        tone.sample_rate, tone.pts = 16_000, 0
        container.mux(track.encode(tone))
        container.mux(track.encode())
    for _ in range(2):
        prompt = prompt_of(video=str(path))
        assert (prompt.token == ID['<|VIDEO|>']).any() and not len(prompt.sound)
    assert caplog.text.count(f'clip c7: is shown without its sound of {samples} samples') == 1
