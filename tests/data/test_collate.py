"""Batches: every token shows the same as in its prompt, and prompts that do not fit are refused."""

import dataclasses

import numpy as np
import pytest
from tiny_prompts import IMAGE, MEDIA, SEEN, SOUND, prompt_of
from tiny_tokenizers import ID

from mer_jax.data.collate import batch_prompts


def shown(patch, sound_pair, place, token):
    """The four patches, or the pair of frames, that each placeholder token of a prompt shows."""
    rows = patch.shape[0] * patch.shape[1] // 4
    cells = patch.reshape(rows, 4 * 1176)
    return [
        cells[at] if at < rows else sound_pair[at - rows]
        for at, one in zip(place, token, strict=True)
        if one in MEDIA
    ]


@pytest.mark.parametrize('pad', ['left', 'right'])
@pytest.mark.parametrize(
    'sizes', [{}, {'frames': 9, 'patches': 256, 'chunks': 4, 'audio_tokens': 60}]
)
def test_every_token_of_a_batch_shows_the_same_as_in_its_own_prompt(pad, sizes):
    prompts = [
        prompt_of(subtitle='one', audio=SOUND, **SEEN),
        prompt_of(image=IMAGE, audio=SOUND[:5000]),
        prompt_of(subtitle='nothing to see'),
    ]
    t = max(len(prompt.token) for prompt in prompts) + 3
    batch = batch_prompts(prompts, t, ID['<|endoftext|>'], pad, **sizes)
    seen = batch.media
    assert seen.patch.shape == (3, sizes.get('frames', 2), sizes.get('patches', 256), 1176)
    assert seen.patch_mask.shape == seen.patch.shape[:3]
    assert seen.sound.shape[1] == seen.sound_length.shape[1] == sizes.get('chunks', 1)
    assert seen.sound_pair.shape == (3, sizes.get('audio_tokens', 25), 2)
    assert batch.start.tolist() == [prompts[0].start] * 3
    for i, prompt in enumerate(prompts):
        mask = batch.mask[i]
        length = len(prompt.token)
        assert mask.sum() == length and mask[0 if pad == 'right' else -1]
        np.testing.assert_array_equal(batch.token[i, mask], prompt.token)
        np.testing.assert_array_equal(batch.position[i][:, mask], prompt.position)
        assert (batch.token[i, ~mask] == ID['<|endoftext|>']).all()
        assert (seen.place[i, ~mask] == -1).all()
        assert batch.next_position[i] == prompt.next_position
        alone = shown(prompt.patch, prompt.sound_pair, prompt.place, prompt.token)
        place = seen.place[i, mask]
        for a, b in zip(
            alone, shown(seen.patch[i], seen.sound_pair[i], place, prompt.token), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_prompts_are_padded_left_unless_told_otherwise():
    prompt = prompt_of()
    length = len(prompt.token)
    batch = batch_prompts([prompt], length + 2, 0)
    assert batch.mask[0].tolist() == [False] * 2 + [True] * length


def test_a_batch_has_features_only_if_all_its_prompts_have_them():
    prompt = prompt_of(image=IMAGE)
    feature = np.arange(35 * 2, dtype=np.float32).reshape(35, 2)
    kept = dataclasses.replace(prompt, feature=feature)
    assert batch_prompts([kept, prompt], 90, 0).media.feature is None
    stacked = batch_prompts([kept, kept], 90, 0).media.feature
    assert stacked.shape == (2, 90, 2) and not stacked[:, 35:].any()
    np.testing.assert_array_equal(stacked[1, :35], feature)


def test_a_batch_of_text_alone_has_no_media():
    seen = batch_prompts([prompt_of()] * 2, 90, 0).media
    assert seen.patch.shape == (2, 0, 0, 1176) and seen.sound.shape == (2, 0, 200, 128)
    assert (seen.place == -1).all()


def test_a_prompt_that_is_too_long_and_an_unknown_side_are_refused():
    prompt = prompt_of(**SEEN)
    length = len(prompt.token)
    batch_prompts([prompt], length, 0)
    with pytest.raises(ValueError, match=f'clip c7: .* {length} tokens, .* t={length - 1}'):
        batch_prompts([prompt], length - 1, 0)
    with pytest.raises(ValueError, match="pad='middle' must be"):
        batch_prompts([prompt], length, 0, 'middle')
