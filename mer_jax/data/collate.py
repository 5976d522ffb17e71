"""Prompts of several clips padded to one batch."""

import numpy as np

from mer_jax import group
from mer_jax.data.prompts import CELL, Prompt


def batch_prompts(
    prompts: list[Prompt],
    t: int,
    pad_token: int,
    pad: str = 'left',
    *,
    frames: int = 0,
    patches: int = 0,
    chunks: int = 0,
    audio_tokens: int = 0,
) -> group.Prompts:
    """Prompts padded to `t` tokens on the side `pad` ('left' or 'right'), as numpy arrays.

    Media are padded to the largest of the batch, and at least to `frames`, `patches` (of a frame),
    `chunks` and `audio_tokens`, so that all batches can have the same shapes.
    """
    if pad not in ('left', 'right'):
        raise ValueError(f"pad={pad!r} must be 'left' or 'right'")
    patch = _stack([prompt.patch for prompt in prompts], (frames, patches, 0))
    token = np.full((len(prompts), t), pad_token, np.int32)
    mask = np.zeros((len(prompts), t), bool)
    position = np.zeros((len(prompts), 3, t), np.int32)
    place = np.full((len(prompts), t), -1, np.int32)
    for row, prompt in enumerate(prompts):
        length = len(prompt.token)
        if length > t:
            raise ValueError(
                f'clip {prompt.id}: its prompt has {length} tokens, more than the limit t={t}; '
                'raise the limit, or lower the frame rate or the bound on pixels'
            )
        span = slice(t - length, t) if pad == 'left' else slice(length)
        token[row, span], mask[row, span] = prompt.token, True
        position[row, :, span] = prompt.position
        place[row, span] = _moved_place(prompt, *patch.shape[1:3])
    return group.Prompts(
        token=token,
        mask=mask,
        position=position,
        start=np.array([prompt.start for prompt in prompts], np.int32),
        next_position=np.array([prompt.next_position for prompt in prompts], np.int32),
        media=group.Media(
            patch=patch,
            patch_mask=_stack([prompt.patch_mask for prompt in prompts], patch.shape[1:3]),
            patch_row_col=_stack([p.patch_row_col for p in prompts], (*patch.shape[1:3], 2)),
            sound=_stack([prompt.sound for prompt in prompts], (chunks, 0, 0)),
            sound_length=_stack([prompt.sound_length for prompt in prompts], (chunks,)),
            sound_pair=_stack([prompt.sound_pair for prompt in prompts], (audio_tokens, 2)),
            place=place,
            feature=_stack_features(prompts, t),
        ),
    )


def _stack_features(prompts: list[Prompt], t: int) -> np.ndarray | None:
    """The features f[b, t, d] if all prompts have them, else None."""
    if any(prompt.feature is None for prompt in prompts):
        return None
    return _stack([prompt.feature for prompt in prompts], (t, 0))


def _stack(arrays: list[np.ndarray], least: tuple[int, ...]) -> np.ndarray:
    """Arrays as one, each axis padded with zeros to its largest size and at least to `least`."""
    sizes = np.max([least, *(array.shape for array in arrays)], 0)
    stacked = np.zeros((len(arrays), *sizes), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return stacked


def _moved_place(prompt: Prompt, frames: int, patches: int) -> np.ndarray:
    """A prompt's `place` in media padded to `frames` of `patches` each: i[t]."""
    own_frames, own_patches = prompt.patch_mask.shape
    frame, cell = np.divmod(prompt.place, max(own_patches // CELL, 1))
    heard = prompt.place - own_frames * own_patches // CELL
    moved = np.where(heard < 0, frame * (patches // CELL) + cell, frames * patches // CELL + heard)
    return np.where(prompt.place < 0, -1, moved)


def size_class(n: int) -> int:
    """The smallest of 0, 1, 2, 3, 4, 6, 8, 12, 16, … (2^k and 3 · 2^k) that is not below n."""
    if n < 3:
        return n
    power = 1 << (n - 1).bit_length()  # the power of two that is not below n
    return power * 3 // 4 if power * 3 // 4 >= n else power
