"""Positions and expanded placeholders, by hand and against `transformers`."""

import dataclasses
import types

import numpy as np
import pytest

from mer_jax.data.positions import Layout, audio_tokens, expand, positions

OMNI = Layout(
    family='omni',
    image=90,
    video=91,
    audio=92,
    vision_start=93,
    vision_end=94,
    audio_start=95,
    audio_end=96,
)
VL = Layout(family='vl', image=90, video=91, vision_start=93, vision_end=94)
IMAGE, VIDEO, AUDIO = [93, 90, 94], [93, 91, 94], [95, 92, 96]


def test_text_counts_up_equally_on_the_three_axes():
    assert positions([1, 2, 3], [], [], [], OMNI).tolist() == [[0, 1, 2]] * 3


def test_an_image_fills_a_box_and_text_continues_after_its_longer_side():
    ids = expand([1, *IMAGE, 2], [(1, 4, 6)], [0.0], [], OMNI, False)
    assert ids.tolist() == [1, 93, *[90] * 6, 94, 2]
    assert positions(ids, [(1, 4, 6)], [0.0], [], OMNI).tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


def test_a_patch_of_one_second_advances_25_positions_and_a_token_of_sound_one():
    ids = expand([*VIDEO, *AUDIO], [(2, 2, 2)], [1.0], [8], OMNI, False)
    assert ids.tolist() == [93, 91, 91, 94, 95, 92, 92, 96]
    assert positions(ids, [(2, 2, 2)], [1.0], [8], OMNI).tolist() == [
        [0, 1, 26, 27, 28, 29, 30, 31],
        [0, 1, 1, 27, 28, 29, 30, 31],
        [0, 1, 1, 27, 28, 29, 30, 31],
    ]


def test_sound_in_a_video_alternates_with_it_every_two_seconds_and_shares_start_and_end():
    ids = expand([1, *VIDEO, 2], [(2, 2, 2)], [2.0], [204], OMNI, True)
    assert ids.tolist() == [1, 93, 95, 91, *[92] * 50, 91, 92, 96, 94, 2]
    time = positions(ids, [(2, 2, 2)], [2.0], [204], OMNI)[0]
    assert time.tolist() == [0, 1, 1, 2, *range(2, 52), 52, 52, 53, 53, 54]


def test_end_tokens_follow_the_last_turn_even_if_the_video_reaches_further():
    ids = expand(VIDEO, [(2, 2, 2)], [1.9], [40], OMNI, True)  # 10 tokens of sound: 0 … 9
    time = positions(ids, [(2, 2, 2)], [1.9], [40], OMNI)[0]
    assert time.tolist() == [0, 0, 1, 48, *range(1, 11), 11, 11]


def test_a_frame_is_split_if_frames_lie_two_spans_apart():
    ids = expand(VIDEO, [(2, 2, 4)], [4.0], [480], OMNI, True)  # at 0 and 100; 120 of sound
    turns = [91] * 2 + [92] * 50 + [91] + [92] * 50 + [91] + [92] * 20
    assert ids.tolist() == [93, 95, *turns, 96, 94]


def test_time_is_truncated_from_float32():
    time = positions([93, *[91] * 6, 94], [(6, 2, 2)], [0.08], [], OMNI)[0]
    assert time[1:7].tolist() == [1, 3, 5, 7, 9, 10]  # 5 · 0.08 · 25 is 10 in float64, but not here


def test_without_the_max_rule_text_after_a_long_vl_video_overlaps_it():
    ids = expand([*VIDEO, 1], [(4, 2, 4)], [2.0], [], VL, False)
    wide = positions(ids, [(4, 2, 4)], [2.0], [], VL)[0]
    tight = positions(ids, [(4, 2, 4)], [2.0], [], dataclasses.replace(VL, max_rule=False))[0]
    assert wide[1:9].tolist() == tight[1:9].tolist() == [1, 1, 5, 5, 9, 9, 13, 13]
    assert wide[9:].tolist() == [14, 15]
    assert tight[9:].tolist() == [3, 4]


def test_an_ordinary_film_at_two_frames_a_second_overlaps_its_text_without_the_max_rule():
    # Six patches of a second each, 2 x 3 cells: time 0, 2, …, 10, and a longer side of 3.
    ids = expand([7, *VIDEO, 8, 9], [(6, 4, 6)], [1.0], [], VL, False)
    grid = [(6, 4, 6)]
    wide = positions(ids, grid, [1.0], [], VL)
    tight = positions(ids, grid, [1.0], [], dataclasses.replace(VL, max_rule=False))
    assert wide[0, 2:-3].tolist() == [2 + 2 * t for t in range(6) for _ in range(6)]
    np.testing.assert_array_equal(wide[:, :-3], tight[:, :-3])
    assert wide[:, -3:].tolist() == [[13, 14, 15]] * 3  # 2 + 10 + 1
    assert tight[:, -3:].tolist() == [[5, 6, 7]] * 3  # 2 + 3


def test_images_and_the_omni_thinker_have_the_same_positions_by_both_rules():
    for layout, item, seconds in ((VL, IMAGE, 0.0), (OMNI, IMAGE, 0.0), (OMNI, VIDEO, 2.0)):
        grid = [(1 if item is IMAGE else 5, 4, 6)]
        ids = expand([7, *item, 8], grid, [seconds], [], layout, False)
        other = dataclasses.replace(layout, max_rule=False)
        np.testing.assert_array_equal(
            positions(ids, grid, [seconds], [], layout), positions(ids, grid, [seconds], [], other)
        )


@pytest.mark.parametrize(
    ('ids', 'grids', 'lengths', 'together', 'message'),
    [
        (IMAGE, [], [], False, '1 placeholders of images and videos, but media for 0'),
        (VIDEO, [(1, 2, 2)], [], True, '1 placeholders of sounds, but media for 0'),
        (AUDIO, [(1, 2, 2)], [9], False, '0 placeholders of images and videos, but media for 1'),
    ],
)
def test_media_without_a_placeholder_and_a_placeholder_without_media_are_refused(
    ids, grids, lengths, together, message
):
    with pytest.raises(ValueError, match=message):
        expand(ids, grids, [1.0] * len(grids), lengths, OMNI, together)


def test_positions_refuse_a_prompt_that_was_not_expanded():
    with pytest.raises(ValueError, match='1 tokens of images and videos, but media for 6'):
        positions(IMAGE, [(1, 4, 6)], [0.0], [], OMNI)
    with pytest.raises(ValueError, match='1 tokens of sounds, but media for 25'):
        positions(AUDIO, [], [], [100], OMNI)


def scene(draw, family):
    """A random row: ids with placeholders, and the sizes of their media in order of appearance."""
    together = family == 'omni' and bool(draw.integers(2))
    kinds = [IMAGE, VIDEO] + ([AUDIO] if family == 'omni' else [])
    ids, grids, seconds, lengths = [], [], [], []
    for item in [kinds[draw.integers(len(kinds))] for _ in range(draw.integers(1, 5))]:
        ids += [*draw.integers(1, 80, draw.integers(0, 6)).tolist(), *item]
        if item is not AUDIO:
            rows, columns = 2 * draw.integers(1, 7, 2)
            grids.append((int(draw.integers(1, 9)) if item is VIDEO else 1, rows, columns))
            rate = draw.choice([0.25, 0.5, 1, 2, 3, 7, 12.5, 25, 29.97])
            seconds.append(float(np.float32(2 / rate)) if item is VIDEO else 0.0)
        if item is AUDIO or (item is VIDEO and together):
            lengths.append(int(draw.integers(3, 900)))
    return ids + draw.integers(1, 80, 3).tolist(), grids, seconds, lengths, together


def by_kind(torch, ids, grids, seconds):
    """Image grids, video grids and video seconds of an unexpanded row, for `transformers`."""
    kinds = [token for token in ids if token in (90, 91)]
    shown = list(zip(kinds, grids, seconds, strict=True))
    image = [grid for kind, grid, _ in shown if kind == 90]
    video = [grid for kind, grid, _ in shown if kind == 91]
    moving = [second for kind, _, second in shown if kind == 91]
    grids = [torch.tensor(np.array(grid)) if grid else None for grid in (image, video)]
    return *grids, torch.tensor(moving, dtype=torch.float32)


def tiny():
    """Sizes for a reference model of which only the index code runs."""
    vision = {'depth': 1, 'hidden_size': 16, 'num_heads': 2, 'fullatt_block_indexes': [0]}
    text = {'vocab_size': 97, 'hidden_size': 16, 'num_hidden_layers': 1, 'bos_token_id': 1}
    heads = {'num_attention_heads': 2, 'num_key_value_heads': 1, 'intermediate_size': 16}
    tokens = {'vision_start_token_id': 93, 'vision_end_token_id': 94}
    return vision, text | heads | {'eos_token_id': 2}, tokens


def test_omni_positions_equal_get_rope_index_on_random_rows():
    torch = pytest.importorskip('torch')
    import transformers

    vision, text, tokens = tiny()
    config = transformers.Qwen2_5OmniThinkerConfig(
        vision_config=vision,
        text_config=text,
        audio_config={'d_model': 16, 'encoder_layers': 1, 'encoder_attention_heads': 2},
        image_token_index=90,
        video_token_index=91,
        audio_token_index=92,
        audio_start_token_id=95,
        audio_end_token_id=96,
        **tokens,
    )
    with torch.device('meta'):
        thinker = transformers.Qwen2_5OmniThinkerForConditionalGeneration(config)
    draw = np.random.default_rng(0)
    for _ in range(150):
        ids, grids, seconds, lengths, together = scene(draw, 'omni')
        row = expand(ids, grids, seconds, lengths, OMNI, together)
        image, video, moving = by_kind(torch, ids, grids, seconds)
        wanted, _ = thinker.get_rope_index(
            torch.tensor(row)[None].long(),
            image,
            video,
            torch.ones(1, len(row)).long(),
            together,
            torch.tensor(lengths),
            moving,
        )
        found = positions(row, grids, seconds, lengths, OMNI)
        np.testing.assert_array_equal(found, wanted[:, 0], f'{ids} {grids} {seconds} {lengths}')


@pytest.mark.parametrize('tokens_per_second', [2, 4, 25])
def test_vl_positions_equal_get_rope_index_on_random_rows(tokens_per_second):
    torch = pytest.importorskip('torch')
    import transformers

    vision, text, tokens = tiny()
    config = transformers.Qwen2_5_VLConfig(
        vision_config=vision | {'tokens_per_second': tokens_per_second},
        text_config=text,
        image_token_id=90,
        video_token_id=91,
        **tokens,
    )
    with torch.device('meta'):
        model = transformers.Qwen2_5_VLModel(config)
    layout = dataclasses.replace(VL, tokens_per_second=tokens_per_second, max_rule=False)
    draw = np.random.default_rng(tokens_per_second)
    for _ in range(80):
        ids, grids, seconds, _, _ = scene(draw, 'vl')
        row = expand(ids, grids, seconds, [], layout, False)
        image, video, moving = by_kind(torch, ids, grids, seconds)
        kinds = torch.tensor(np.select([row == 90, row == 91], [1, 2])[None])
        row_ids = torch.tensor(row)[None].long()
        wanted, _ = model.get_rope_index(row_ids, kinds, image, video, moving)
        found = positions(row, grids, seconds, [], layout)
        np.testing.assert_array_equal(found, wanted[:, 0], f'{ids} {grids} {seconds}')


def test_a_video_with_sound_expands_as_the_processor_does():
    pytest.importorskip('torch')
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor

    processor = types.SimpleNamespace(
        video_processor=types.SimpleNamespace(merge_size=2),
        audio_bos_token='[',
        audio_eos_token=']',
        video_token='v',
        audio_token='a',
        get_chunked_index=lambda *spans: Qwen2_5OmniProcessor.get_chunked_index(None, *spans),
    )
    letter = {95: '[', 96: ']', 91: 'v', 92: 'a'}
    draw = np.random.default_rng(2)
    for _ in range(150):
        grid = (int(draw.integers(1, 30)), *(2 * draw.integers(1, 5, 2)))
        seconds, frames = (
            2 / draw.choice([0.25, 0.5, 1, 2, 3, 8, 12.5, 30]),
            int(draw.integers(3, 2000)),
        )
        wanted = Qwen2_5OmniProcessor.replace_video_with_audio_token(
            processor,
            {'video_grid_thw': [grid], 'video_second_per_grid': [seconds]},
            0,
            {'num_audio_tokens': [audio_tokens(frames)]},
            0,
            position_id_per_seconds=25,
            seconds_per_chunk=2.0,
        )
        row = expand(VIDEO, [grid], [seconds], [frames], OMNI, True)
        assert ''.join(letter[token] for token in row[1:-1].tolist()) == wanted
