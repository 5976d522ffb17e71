"""Sums over items from which mer_jax.evaluation.metrics computes each figure, task by task.

Gold and named words are parallel lists with one entry for each item. Items are read in blocks, so
that memory does not grow with their number, and summed in the groups in which they are resampled.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mer_jax.data.wheels.wheel import Wheels
from mer_jax.evaluation.metrics import f_score, groups, ratio, set_terms

BLOCK = 2**13
Words = Sequence[Sequence[str]]

MOST_LABELS = 2000


@dataclasses.dataclass(frozen=True)
class MetricSums:
    """The sums over items, and counts of the items and words that they leave out."""

    sums_m: np.ndarray  # f[m, ...], by group of items
    kept: int  # items whose label counts
    unmapped: int  # kept items whose answer has no known word
    unknown: Mapping[str, int]  # how often each unknown word was named
    unknown_gold: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of each word in several maps, as a set with one bit for each class."""

    row: Mapping[str, int]
    bit_nx: np.ndarray  # u64[n, x], 64 classes a column; the last row is that of unknown words
    first_j: np.ndarray  # i[j], the first column of each map

    def sets(self, answers: Words) -> np.ndarray:
        """The classes of the words of each answer: u64[n, x]."""
        return self.rows_and_sets(answers)[1]

    def rows_and_sets(self, answers: Words) -> tuple[np.ndarray, np.ndarray]:
        """The row of each word of all answers, −1 for an unknown one: i[m]; and `sets`."""
        size_n = np.fromiter(map(len, answers), np.int64, len(answers))
        found = map(self.row.get, _all_words(answers), itertools.repeat(-1))
        row_m = np.fromiter(found, np.int64, size_n.sum())
        set_nx = np.zeros((len(answers), self.bit_nx.shape[1]), np.uint64)
        said_n = size_n > 0  # reduceat would give an empty answer the first word of the next answer
        if said_n.any():
            start_n = (np.cumsum(size_n) - size_n)[said_n]
            set_nx[said_n] = np.bitwise_or.reduceat(self.bit_nx[row_m], start_n)
        return row_m, set_nx

    def known_from(self, first: int) -> np.ndarray:
        """Whether the maps from number `first` on have the word of each row: bool[n]."""
        return self.bit_nx[:, self.first_j[first] :].any(-1)

    def sizes(self, set_nx: np.ndarray) -> np.ndarray:
        """The number of classes of each map in the sets: i[n, j]."""
        return np.add.reduceat(np.bitwise_count(set_nx), self.first_j, -1, np.int64)

    def common_sizes(self, named_nx: np.ndarray, gold_nx: np.ndarray) -> list[np.ndarray]:
        """|named ∩ gold|, |named| and |gold| in each map: i[n, j] each."""
        return [self.sizes(set_nx) for set_nx in (named_nx & gold_nx, named_nx, gold_nx)]


def classes_of(maps: Sequence[Mapping[str, int]]) -> Classes:
    """The Classes of several maps word → class."""
    row = _numbered(_all_words(maps))
    columns = [max(word_class.values(), default=0) // 64 + 1 for word_class in maps]
    first_j = np.cumsum(columns) - columns
    bit_nx = np.zeros((len(row) + 1, sum(columns)), np.uint64)
    for first, word_class in zip(first_j, maps, strict=True):
        row_m = np.fromiter((row[word] for word in word_class), np.int64, len(word_class))
        class_m = np.fromiter(word_class.values(), np.int64, len(word_class))
        bit_nx[row_m, first + class_m // 64] = np.uint64(1) << (class_m % 64).astype(np.uint64)
    return Classes(row, bit_nx, first_j)


def wheel_maps(wheels: Wheels, level: int) -> list[dict[str, int]]:
    """The map word → category of each wheel."""
    return [
        {
            word: place
            for word, place in zip(wheels.row, place_n.tolist(), strict=False)
            if place >= 0
        }
        for place_n in wheels.place_lnw[level - 1].T
    ]


def open_sums(gold: Words, named: Words, wheels: Wheels) -> MetricSums:
    """Sums for `open_figures`: f[m, 2 + 2 w, 3].

    An item is kept if M1, M2 or any wheel knows a word of its label.
    """
    classes = classes_of(
        [_merged(wheels.base), _merged(wheels.synonym)]
        + [word_class for level in (1, 2) for word_class in wheel_maps(wheels, level)]
    )
    group_n = groups(len(gold))
    sums_m = np.zeros((_group_count(group_n), 2 + 2 * len(wheels.names), 3))
    kept = unmapped = 0
    unknown, unknown_gold = collections.Counter(), collections.Counter()
    known_n = classes.known_from(2)  # behind M1 and M2 are the wheels
    for block in _blocks(len(gold)):
        set_nx = []
        for words, count in ((named[block], unknown), (gold[block], unknown_gold)):
            row_m, said_nx = classes.rows_and_sets(words)
            set_nx.append(said_nx)
            other_m = np.take(~known_n, row_m, mode='wrap')  # −1 is the last row
            count.update(itertools.compress(_all_words(words), other_m.tobytes()))
        sizes = classes.common_sizes(*set_nx)
        term_njx = set_terms(*sizes)
        _add(sums_m, group_n[block], term_njx)
        kept_n, named_n = sizes[2].any(-1), sizes[1][:, 2:].any(-1)
        kept += int(kept_n.sum())
        unmapped += int((kept_n & ~named_n).sum())
    return MetricSums(sums_m, kept, unmapped, unknown, unknown_gold)


def basic_sums(gold: Sequence[str], named: Words, wheels: Wheels, level: int = 1) -> MetricSums:
    """Sums for `basic_figures`: f[m, w, 4]; an item is kept if some wheel knows its label."""
    classes = classes_of(wheel_maps(wheels, level))
    candidates = classes.sets([sorted(set(gold))])
    group_n = groups(len(gold))
    sums_m = np.zeros((_group_count(group_n), len(wheels.names), 4))
    kept = unmapped = 0
    unknown = collections.Counter()
    for block in _blocks(len(gold)):
        said = named[block]
        named_nx = classes.sets(said)
        gold_nx = classes.sets([[word] for word in gold[block]])
        hit_nw, said_nw, known_nw = classes.common_sizes(named_nx, gold_nx)
        m_nw = ratio(hit_nw, classes.sizes(named_nx & candidates))
        _add(
            sums_m,
            group_n[block],
            np.stack([known_nw, hit_nw, m_nw * known_nw, ratio(hit_nw, said_nw)], -1),
        )
        kept_n = known_nw.any(-1)
        kept += int(kept_n.sum())
        unmapped += int((kept_n & ~said_nw.any(-1)).sum())
        unknown.update(_unknown(said, wheels.row))
    unknown_gold = _unknown([[word] for word in gold if word], wheels.row)
    return MetricSums(sums_m, kept, unmapped, unknown, unknown_gold)


def sentiment_sums(gold: Sequence[float | None], named: Sequence[str]) -> MetricSums:
    """Counts for `sentiment_figures`: f[m, 2, 2]; an item is kept if gold is below or above 0.

    A named sentiment is positive, negative or neutral; any other text, also an empty one, is
    unmapped. Negative, neutral and unmapped answers all count as not positive.
    """
    gold, named = _chosen([value and (value < 0 or value > 0) for value in gold], gold, named)
    known = ('positive', 'negative', 'neutral')
    unmapped = [text for text in named if text not in known]
    unknown = collections.Counter(filter(None, unmapped))
    gold_n = np.fromiter((value > 0 for value in gold), np.int64, len(gold))
    named_n = np.fromiter((word == 'positive' for word in named), np.int64, len(gold))
    group_n = groups(len(gold))
    sums_m = np.zeros((_group_count(group_n), 2, 2))
    np.add.at(sums_m, (group_n, gold_n, named_n), 1)
    return MetricSums(sums_m, len(gold), len(unmapped), unknown)


def accuracy_sums(gold: Sequence[str], named: Words) -> MetricSums:
    """Counts for `accuracy_figures`: f[m, c, 3]; classes are the words that occur as gold.

    An answer is right if it is the gold word and nothing else; an answer of several words names no
    class. An item without a label is not kept.
    """
    gold, named = _chosen(gold, gold, named)
    classes = _numbered(gold)
    _refuse_many(classes)
    gold_n = np.fromiter((classes[word] for word in gold), np.int64, len(gold))
    named_n = np.fromiter(
        (classes.get(words[0], -1) if len(words) == 1 else -1 for words in named),
        np.int64,
        len(gold),
    )
    group_n, known_n = groups(len(gold)), named_n >= 0
    right_n = gold_n == named_n
    sums_m = np.zeros((_group_count(group_n), len(classes), 3))
    np.add.at(sums_m[..., 0], (group_n[right_n], gold_n[right_n]), 1)
    np.add.at(sums_m[..., 1], (group_n, gold_n), 1)
    np.add.at(sums_m[..., 2], (group_n[known_n], named_n[known_n]), 1)
    return MetricSums(sums_m, len(gold), int((~known_n).sum()), _unknown(named, classes))


def _refuse_many(labels: Mapping[str, int]) -> None:
    """Raises ValueError for more than MOST_LABELS, as each of them is counted in every group."""
    if len(labels) > MOST_LABELS:
        raise ValueError(
            f'{len(labels)} different labels, at most {MOST_LABELS} are counted: is it the right '
            'column, and are these words open (--task open)?'
        )


def multilabel_sums(gold: Words, named: Words) -> MetricSums:
    """Sums for `multilabel_figures`: f[m, 6 + 3 c]; labels are the words that occur as gold.

    Words are compared as they are. An item without a label is not kept.
    """
    gold, named = _chosen(gold, gold, named)
    labels = _numbered(_all_words(gold))
    _refuse_many(labels)
    vocabulary = _numbered(itertools.chain(labels, _all_words(named)))  # labels keep their numbers
    width, group_n = len(vocabulary), groups(len(gold))
    sums_m = np.zeros((_group_count(group_n), 6))
    counts_m = np.zeros((_group_count(group_n), len(labels), 3))
    unmapped = 0
    for block in _blocks(len(gold)):
        said, right = (_word_set(words[block], vocabulary) for words in (named, gold))
        sets = (np.intersect1d(said, right, assume_unique=True), right, said)
        hit_n, right_n, said_n = (_sizes(keys, len(gold[block]), width) for keys in sets)
        term_nx = set_terms(hit_n, said_n, right_n)
        others = [
            f_score(term_nx[:, 1], term_nx[:, 2]),
            ratio(hit_n, said_n + right_n - hit_n),
            (hit_n == said_n) & (hit_n == right_n),
        ]
        _add(sums_m, group_n[block], np.column_stack([term_nx, *others]))
        for k, keys in enumerate(sets):
            item, word = keys // width, keys % width
            known = word < len(labels)
            np.add.at(counts_m[..., k], (group_n[block][item[known]], word[known]), 1)
        unmapped += len(gold[block]) - len(np.unique(item[known]))  # of the named sets, the last k
    sums_m = np.concatenate([sums_m, counts_m.reshape(len(sums_m), 3 * len(labels))], -1)
    return MetricSums(sums_m, len(gold), unmapped, _unknown(named, labels))


def _chosen(chosen: Iterable, *lists: Sequence) -> list[list]:
    """The chosen items of each list."""
    chosen = list(map(bool, chosen))
    return [list(itertools.compress(items, chosen)) for items in lists]


def _blocks(count: int) -> list[slice]:
    return [slice(first, first + BLOCK) for first in range(0, count, BLOCK)]


def _group_count(group_n: np.ndarray) -> int:
    """The number of groups."""
    return int(group_n.max(initial=-1)) + 1


def _add(sums_m: np.ndarray, group_n: np.ndarray, term_n: np.ndarray) -> None:
    """Adds the terms of each item to the sums of its group."""
    columns = sums_m.reshape(len(sums_m), -1)
    for k, term in enumerate(term_n.reshape(len(term_n), -1).T):
        columns[:, k] += np.bincount(group_n, term, len(sums_m))


def _all_words(answers: Words) -> Iterable[str]:
    return itertools.chain.from_iterable(answers)


def _numbered(words: Iterable[str]) -> dict[str, int]:
    """A number for each different word."""
    return {word: number for number, word in enumerate(dict.fromkeys(words))}


def _merged(word_of: Mapping[str, str]) -> dict[str, int]:
    """A number for each form, the same for all forms of one word."""
    numbers = _numbered(word_of.values())
    return {form: numbers[word] for form, word in word_of.items()}


def _unknown(named: Words, known: Mapping[str, int]) -> collections.Counter:
    """How often each unknown word was named."""
    return collections.Counter(itertools.filterfalse(known.__contains__, _all_words(named)))


def _word_set(answers: Words, numbers: Mapping[str, int]) -> np.ndarray:
    """The set of known words of each item: sorted i[m], item · len(numbers) + number."""
    find, width = numbers.get, len(numbers)
    size_n = np.fromiter(map(len, answers), np.int64, len(answers))
    number_m = np.fromiter((find(word, -1) for word in _all_words(answers)), np.int64, size_n.sum())
    item_m = np.repeat(np.arange(len(answers)), size_n)
    return np.unique((item_m * width + number_m)[number_m >= 0])


def _sizes(keys: np.ndarray, count: int, width: int) -> np.ndarray:
    """The number of words in the set of each item: i[n]."""
    return np.bincount(keys // max(width, 1), minlength=count)
