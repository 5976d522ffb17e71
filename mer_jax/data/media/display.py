"""The display matrix of a frame: how a stored picture is turned or mirrored to be upright."""

import av
import numpy as np
from av.sidedata.sidedata import Type

UPRIGHT = (False, False, False)


def turns_of(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether rows and columns are swapped, then rows, then columns reversed, to show a frame.

    (x, y) is shown at (a x + c y, b x + d y); the numbers a, b, c, d are rounded to a quarter turn.
    A matrix with a negative determinant mirrors the picture.
    """
    held = next((data for data in frame.side_data if data.type == Type.DISPLAYMATRIX), None)
    if held is None or held.buffer_size < 36:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(bytes(held)[:36], '<i4').astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, bool(b < 0), bool(c < 0)
    return False, bool(d < 0), bool(a < 0)


def turned(pixels: np.ndarray, turns: tuple[bool, bool, bool]) -> np.ndarray:
    """A picture [H, W, 3] after the turns of `turns_of`."""
    swapped, upward, leftward = turns
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if upward else 1, :: -1 if leftward else 1]


def shown_size(frame: av.VideoFrame) -> tuple[int, int]:
    """The (height, width) at which a frame is shown."""
    swapped = turns_of(frame)[0]
    return (frame.width, frame.height) if swapped else (frame.height, frame.width)
