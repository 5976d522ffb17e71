"""Training, validation and test clips of a published image set, as its own splits give them."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from mer_jax.data.benchmarks.layouts import Layout, ListedImages
from mer_jax.data.benchmarks.sets import Benchmark, Found

LISTS = ('.json', '.jsonl', '.csv')  # endings of lists of images


class SplitClips(NamedTuple):
    """The splits of a set; no image of one is in another."""

    train: Found
    validation: Found | None  # None: not published
    test: Found | None
    shared: int  # clips left out because a later split holds their image


def read_splits(benchmark: Benchmark, place: str) -> SplitClips:
    """The splits below a root folder, or with a list of training images in place of the set's own.

    A list lies in the folder of the set or beside it. Without any split, all clips are in `train`.
    FileNotFoundError if no training clips are found, ValueError if a file cannot be read or the
    test split is the only one.
    """
    path, splits = Path(place), benchmark.splits
    if path.suffix in LISTS or path.is_file():
        folders = [path.parent / name for name in benchmark.folders]
        folder = next((inner for inner in folders if inner.is_dir()), path.parent)
        train = listed(benchmark, path)
    else:
        folder = benchmark.folder(path)
        train = found_if_any(benchmark, folder, splits.train)
    validation = found_if_any(benchmark, folder, splits.validation)
    test = found_if_any(benchmark, folder, splits.test)
    if train is None and test is not None:
        raise ValueError(
            f'{folder}: holds the test split of {benchmark.title} and no training split, and the '
            'test split is never trained on; add the training split, or name a list of training '
            f'images, {benchmark.key}:FILE.json'
        )
    if train is None:
        train = benchmark.found(folder, splits.whole or splits.train)
    return apart(train, validation, test)


def listed(benchmark: Benchmark, path: Path) -> Found:
    """The clips of a list of training images."""
    if path.suffix not in LISTS:
        raise ValueError(
            f'{path}: must be a folder, or a list of images in a file {", ".join(LISTS)}; save '
            'another table as JSON lines'
        )
    return benchmark.found(path.parent, ListedImages(path.name, benchmark.folders))


def found_if_any(benchmark: Benchmark, folder: Path, layout: Layout) -> Found | None:
    """The clips of a split; None if the folder does not hold it."""
    try:
        return benchmark.found(folder, layout)
    except FileNotFoundError:
        return None


def apart(train: Found, validation: Found | None, test: Found | None) -> SplitClips:
    """The splits without shared images: the test split keeps its own, then validation does."""
    seen, shared, kept = set(), 0, []
    for found in (test, validation, train):
        if found is None:
            kept.append(None)
            continue
        paths = [os.path.abspath(clip.image) for clip in found.clips]
        pairs = zip(found.clips, paths, strict=True)
        clips = [clip for clip, path in pairs if path not in seen]
        shared += len(paths) - len(clips)
        seen.update(paths)
        kept.append(dataclasses.replace(found, clips=clips))
    test, validation, train = kept
    return SplitClips(train, validation, test, shared)
