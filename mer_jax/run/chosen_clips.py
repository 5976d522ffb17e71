"""Clips to train on, to validate on and to evaluate on, as a config names them."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.clip_sources import StageClips, hold_out
from mer_jax.data.clips import Clip, read_manifest

log = logging.getLogger(__name__)


class ChosenClips(NamedTuple):
    """The clips of a run; none of one side is on another."""

    train: Sequence[Clip]
    test: Sequence[Clip]  # held out
    validation: Sequence[Clip]  # empty where every.validate=0


def choose_clips(c) -> ChosenClips:
    """The clips of the stage or of a manifest; ValueError where a side has too few."""
    if not c.data.manifest:
        watched = c.validation.clips if c.every.validate else 0
        return ChosenClips(
            StageClips(c.seed, 'train', c.data.clips, c.data.stage),
            StageClips(c.seed, 'test', c.evaluate.clips, c.data.stage),
            StageClips(c.seed, 'validation', watched, c.data.stage),
        )
    try:
        clips = read_clips(c.data.manifest)
    except OSError as error:
        raise ValueError(
            f'data.manifest={c.data.manifest!r}: cannot be read ({error}); name a file of JSON '
            'lines, one clip a line, or KEY:FOLDER of a published set'
        ) from None
    validated = c.data.validation if c.every.validate else 0.0
    train, test, validation = hold_out(clips, c.data.held_out, validated)
    if not train or not test:
        raise ValueError(
            f'data.held_out={c.data.held_out} splits the {len(clips)} clips of '
            f'{c.data.manifest} into {len(train)} to train on and {len(test)} to evaluate; '
            'both need at least one: change the share or add clips'
        )
    if c.every.validate and len(validation) < 2:
        raise ValueError(
            f'data.validation={c.data.validation} leaves {len(validation)} of the {len(clips)} '
            f'clips of {c.data.manifest} to validate on, and a standard error needs two; raise the '
            "share, add clips, or set every.validate=0 and evaluate.policy='last'"
        )
    if c.cold_start.steps and not any(clip.reasoning for clip in train):
        raise ValueError(
            f'cold_start.steps={c.cold_start.steps}: imitation needs gold traces, and no clip of '
            f"{c.data.manifest} has 'reasoning'; add some, or set cold_start.steps=0 and start "
            'from model.checkpoint'
        )
    return ChosenClips(train, test[: c.evaluate.clips], validation[: c.validation.clips])


def read_clips(source: str) -> list[Clip]:
    """The clips of a manifest, or of a published set named KEY:FOLDER, e.g. ov_merd_plus:/data.

    The folder holds those of the sets, as for `python -m mer_jax.data.benchmarks --root FOLDER`.
    """
    key, _, root = source.partition(':')
    if key not in BENCHMARKS or not root:
        return read_manifest(source)
    found = BENCHMARKS[key].read(root)
    clips = [clip for clip in found.clips if clip.words]
    log.warning(
        '%s: %d clips with gold words; left out: %d without, %d labels without a media file, %d '
        'repeated',
        source,
        len(clips),
        len(found.clips) - len(clips),
        len(found.absent),
        len(found.repeated),
    )
    return clips
