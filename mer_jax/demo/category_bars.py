"""How many samples name each category, beside the confidence of the model in it."""

import dataclasses
from collections.abc import Sequence

from mer_jax.data.clips import label_of
from mer_jax.data.wheels.wheel import Wheels

CLOSED_SET = 'labels'  # the name of the bars of a closed set


@dataclasses.dataclass(frozen=True)
class Bar:
    """A category: the share of samples that name it and, if it is known, the confidence in it."""

    category: str
    share: float
    confidence: float | None


def shares(
    words: Sequence[Sequence[str]],
    confidence: dict[str, dict[str, float]],
    wheels: Wheels | None,
    labels: Sequence[str],
) -> dict[str, list[Bar]]:
    """The bars of each wheel, or of the labels of a closed set; the highest first.

    `words` are those of each sample, and `confidence` is that of an Answer. Categories without
    confidence that no sample names are left out.
    """
    if labels:
        (sure,) = confidence.values() or ({},)
        said = [[label_of(word) for word in one] for one in words]
        share = {label: sum(label in one for one in said) / len(said) for label in labels}
        return {CLOSED_SET: bars(share, sure)}
    if wheels is None:
        return {}
    cell_nwc = wheels.cells(words)
    found = {}
    for wheel, names, share_c in zip(
        wheels.names, wheels.categories(), cell_nwc.mean(0), strict=True
    ):
        share = dict(zip(names, share_c.tolist(), strict=False))
        found[wheel] = bars(share, confidence.get(wheel, {}))
    return found


def bars(share: dict[str, float], confidence: dict[str, float]) -> list[Bar]:
    """The bars of all categories that samples name or the model is asked about."""
    made = [Bar(name, value, confidence.get(name)) for name, value in share.items()]
    known = [bar for bar in made if bar.share or bar.confidence is not None]
    return sorted(known, key=lambda bar: (-bar.share, -(bar.confidence or 0)))
