"""Sequences of clips to train on and to evaluate: the embedded stage, and a split of a manifest."""

import dataclasses
import hashlib
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


def hold_out(
    clips: Sequence[Clip], share: float, validation: float = 0.0
) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Clips to train on, clips held out, and a share of the rest to validate on.

    A hash of a clip's source decides, of its id where it has none. So clips of one source are never
    on two sides, and a side depends neither on other clips nor on their order.
    """
    train, held, validated = [], [], []
    for clip in clips:
        source = (clip.source or clip.id).encode()
        if zlib.crc32(source) / 2**32 < share:
            held.append(clip)
        elif second_hash(source) < validation:
            validated.append(clip)
        else:
            train.append(clip)
    return train, held, validated


def second_hash(source: bytes) -> float:
    """A number in [0, 1) that is independent of the CRC.

    The CRC of `source` with another prefix would not be: CRC is linear, and such numbers of sources
    of one length differ by one constant.
    """
    return int.from_bytes(hashlib.sha256(source).digest()[:4], 'big') / 2**32
