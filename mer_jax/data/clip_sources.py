"""Sequences of clips to train on and to evaluate: the embedded stage, and a split of a manifest."""

import dataclasses
import zlib
from collections.abc import Sequence

from mer_jax.data.clips import Clip
from mer_jax.data.stage.picture import PICTURES, picture
from mer_jax.data.stage.stage import draw

STAGES = ('films', *PICTURES)  # what the embedded stage draws


@dataclasses.dataclass(frozen=True)
class StageClips(Sequence):
    """Clips 0 … count − 1 of a split of the embedded stage, each drawn when it is indexed.

    They are films, or pictures of the domain 'home' or 'away'.
    """

    seed: int
    split: str
    count: int
    domain: str = 'films'

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        if self.domain == 'films':
            return draw(self.seed, self.split, int(index))
        return picture(self.seed, self.split, int(index), self.domain)


def hold_out(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips held out, split by a hash of each clip's id alone."""
    held = [zlib.crc32(clip.id.encode()) / 2**32 < share for clip in clips]
    kept = [clip for clip, out in zip(clips, held, strict=True) if not out]
    return kept, [clip for clip, out in zip(clips, held, strict=True) if out]
