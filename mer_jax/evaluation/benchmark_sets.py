"""Sets of clips to answer: published sets below a folder, and a manifest."""

import dataclasses
import pathlib

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.clips import Clip, read_manifest
from mer_jax.storage.paths import is_remote, naming, path_of

MANIFEST = 'manifest'


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Clips to answer, and their gold labels as `mer_jax.score` reads them."""

    key: str
    title: str
    task: str
    clips: list[Clip]
    gold: dict[str, object]  # name → a list of words, a word or a number
    note: str  # what differs from the published set
    labels: tuple[str, ...] = ()  # the closed set of gold words, if there is one


def find_sets(c, closed: bool = False) -> tuple[list[TestSet], list[str]]:
    """The sets that can be read, and why others cannot; ValueError if there is none.

    `closed`: answers are one word of a closed set, so a manifest is scored by the first gold word
    of each clip.
    """
    root = path_of(c.data.root)
    with naming(root):
        listed, is_dir = (root / 'manifest.jsonl').exists(), root.is_dir()
    if not is_dir:
        raise ValueError(f'data.root={c.data.root!r}: must be a folder that holds the sets')
    found, absent, broken = [], [], []
    if listed:
        found.append(manifest_set(root, closed))
    for key in () if is_remote(root) else c.benchmarks:
        try:
            found.append(read_set(key, root))
        except FileNotFoundError as error:
            absent.append(str(error))
        except ValueError as error:  # damaged; the others are evaluated
            broken.append(f'{key} is damaged: {error}')
    if broken and not found:
        raise ValueError(f'{broken[0]}; mend it, or leave it out of benchmarks')
    if not found and is_remote(root):
        raise ValueError(
            f'data.root={c.data.root!r}: must hold manifest.jsonl, the only set that is read from '
            'a bucket; write one, or copy published sets to a local folder'
        )
    if not found:
        raise ValueError(
            f'data.root={c.data.root!r}: holds neither manifest.jsonl nor any of '
            f'{", ".join(c.benchmarks)}; python -m mer_jax.data.benchmarks --root {root} says what '
            'is expected where'
        )
    return found, broken + absent


def manifest_set(root: pathlib.Path, closed: bool) -> TestSet:
    """The clips of the manifest in a folder."""
    clips = read_manifest(root / 'manifest.jsonl')
    gold = {clip.id: list(clip.words) for clip in clips}
    if closed:
        gold = {name: words[0].strip().lower() for name, words in gold.items()}
    task = 'accuracy' if closed else 'open'
    return TestSet(MANIFEST, f'clips of {root.name}', task, clips, gold, '')


def read_set(key: str, root: pathlib.Path) -> TestSet:
    """A published set below the root, with the gold labels that are public."""
    benchmark = BENCHMARKS[key]
    found = benchmark.read(root)
    gold = {name: next(iter(label.values())) for name, label in found.gold.items()}
    notes = [f'{len(found.clips)} clips, {benchmark.count or "an unknown number"} published']
    if found.absent:
        notes.append(f'{len(found.absent)} labels without a media file')
    title, task, labels = benchmark.title, benchmark.task, benchmark.labels
    return TestSet(key, title, task, found.clips, gold, '; '.join(notes), labels)


def first_clips(test: TestSet, count: int) -> TestSet:
    """The first clips of a set with their gold labels."""
    clips = test.clips[:count]
    gold = {clip.id: test.gold[clip.id] for clip in clips if clip.id in test.gold}
    return dataclasses.replace(test, clips=clips, gold=gold)
