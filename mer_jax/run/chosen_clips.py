"""Clips to train on, to validate on and to evaluate on, as a config names them."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import NamedTuple

from mer_jax.data.benchmarks import BENCHMARKS, Found, read_splits
from mer_jax.data.clip_sources import StageClips, hold_out, second_hash
from mer_jax.data.clips import Clip, read_manifest
from mer_jax.run.gold_labels import labelled
from mer_jax.storage.paths import is_remote

log = logging.getLogger(__name__)


class ChosenClips(NamedTuple):
    """The clips of a run; none of one side is on another."""

    train: Sequence[Clip]
    test: Sequence[Clip]  # held out
    validation: Sequence[Clip]  # empty where every.validate=0


class NamedClips(NamedTuple):
    """The clips that config.data.manifest names, with its own splits if it has them."""

    clips: list[Clip]  # to train on; other sides are split off these unless they are given
    test: list[Clip] | None = None
    validation: list[Clip] | None = None


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
        named = read_named(c.data.manifest)
    except OSError as error:
        raise ValueError(
            f'data.manifest={c.data.manifest!r}: cannot be read ({error}); name a file of JSON '
            'lines, one clip a line, or KEY:FOLDER of a published set'
        ) from None
    named = NamedClips(
        clips=usable(c, named.clips, '' if named.test is None else 'to train on'),
        test=usable(c, named.test, 'held out'),
        validation=usable(c, named.validation, 'to validate on') if c.every.validate else None,
    )
    chosen = split(c, named)
    check_sides(c, named, chosen)
    by_label = c.data.manifest.partition(':')[0] in BENCHMARKS
    few = few_by_hash if by_label else first
    return ChosenClips(
        chosen.train,
        few(chosen.test, c.evaluate.clips),
        few(chosen.validation, c.validation.clips),
    )


def usable(c, clips: list[Clip] | None, use: str) -> list[Clip] | None:
    """The clips with a gold word that the method can judge, and the questions to be asked."""
    if clips is None:
        return None
    clips = labelled(c, clips, use)
    if c.data.own_questions:
        return clips
    return [dataclasses.replace(clip, question='') for clip in clips]


def split(c, named: NamedClips) -> ChosenClips:
    """The clips of each side: as they are given, the others split off by a hash of the source."""
    held_out = c.data.held_out if named.test is None else 0.0
    watch = c.every.validate and named.validation is None
    train, test, validation = hold_out(named.clips, held_out, c.data.validation if watch else 0.0)
    return ChosenClips(
        train,
        test if named.test is None else named.test,
        validation if named.validation is None else named.validation,
    )


def check_sides(c, named: NamedClips, chosen: ChosenClips) -> None:
    """Checks that no side is empty, and that imitation has gold traces."""
    train, test, validation = chosen
    if named.test is not None and (not train or not test):
        raise ValueError(
            f'data.manifest={c.data.manifest}: its splits give {len(train)} clips to train on and '
            f'{len(test)} to evaluate; both need at least one: add images'
        )
    if not train or not test:
        raise ValueError(
            f'data.held_out={c.data.held_out} splits the {len(named.clips)} clips of '
            f'{c.data.manifest} into {len(train)} to train on and {len(test)} to evaluate; '
            'both need at least one: change the share or add clips'
        )
    if c.every.validate and len(validation) < 2:
        counts = f'{len(validation)} of the {len(named.clips)} clips of {c.data.manifest}'
        if named.validation is not None:
            counts = f'{len(validation)} clips of the validation split of {c.data.manifest}'
        raise ValueError(
            f'data.validation={c.data.validation} leaves {counts} to validate on, and a standard '
            'error needs two; raise the share, add clips, or set every.validate=0 and '
            "evaluate.policy='last'"
        )
    if c.cold_start.steps and not any(clip.reasoning for clip in train):
        raise ValueError(
            f'cold_start.steps={c.cold_start.steps}: imitation needs gold traces, and no clip of '
            f"{c.data.manifest} has 'reasoning'; add some, or set cold_start.steps=0 and start "
            'from model.checkpoint'
        )


def first(clips: list[Clip], count: int) -> list[Clip]:
    """The first clips, at most so many."""
    return clips[:count]


def few_by_hash(clips: list[Clip], count: int) -> list[Clip]:
    """At most so many clips, in their order, chosen by a hash of their ids.

    Published lists and folders are sorted by label, so their first clips have few labels.
    """
    ranks = sorted(second_hash(clip.id.encode()) for clip in clips)
    most = ranks[min(count, len(ranks)) - 1] if ranks else 0.0
    return [clip for clip in clips if second_hash(clip.id.encode()) <= most][:count]


def read_named(source: str) -> NamedClips:
    """The clips of a manifest, or of a published set named KEY:FOLDER, e.g. ov_merd_plus:/data.

    The folder holds those of the sets, as for `python -m mer_jax.data.benchmarks --root FOLDER`. An
    image set comes with its own splits, and KEY:FILE takes a list of training images instead.
    """
    key, _, place = source.partition(':')
    refuse_bucket(key, place, source)
    if key not in BENCHMARKS or not place:
        return NamedClips(read_manifest(source))
    if BENCHMARKS[key].splits is None:
        return NamedClips(with_gold(BENCHMARKS[key].read(place), source))
    splits = read_splits(BENCHMARKS[key], place)
    if splits.shared:
        log.warning(
            '%s: %d clips left out, as their images are in the validation or test split',
            source,
            splits.shared,
        )
    train = with_gold(splits.train, f'{source}, to train on')
    others = [
        None if found is None else with_gold(found, f'{source}, {use}')
        for found, use in ((splits.test, 'held out'), (splits.validation, 'to validate on'))
    ]
    return NamedClips(train, *others)


def refuse_bucket(key: str, place: str, source: str) -> None:
    """Raises ValueError for a published set in a bucket: its folder would have to be searched."""
    if key in BENCHMARKS and is_remote(place):
        raise ValueError(
            f'data.manifest={source!r}: a published set must be in a local folder, and a manifest '
            'may be in a bucket; copy the folder, or write a manifest of it'
        )


def with_gold(found: Found, source: str) -> list[Clip]:
    """The clips that have gold words; the log says how many have none, or no media file."""
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
