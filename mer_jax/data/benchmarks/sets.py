"""The table of benchmarks: task, metric, label set, count, folders, layout and source of each."""

import dataclasses
import os
from pathlib import Path

from mer_jax.data.answer_words import NO_VALUE, says_none
from mer_jax.data.benchmarks.layouts import (
    CodedNames,
    Corpus,
    Entry,
    FolderPerClass,
    FoldList,
    Gold,
    Layout,
    ListedImages,
    OpenWords,
    Questions,
)
from mer_jax.data.clips import Clip


@dataclasses.dataclass(frozen=True)
class Found:
    """The clips and gold labels in the folder of a benchmark, and the gaps."""

    folder: str
    clips: list[Clip]  # those with a media file, in the order of the labels
    gold: dict[str, Gold]  # of every labelled name: {'openset': …}, {'emo': …} or {'val': …}
    absent: list[str]  # names without a media file, which are not among the clips
    repeated: list[str]  # names that occur more than once; the first one counts
    unlisted: list[str]  # gold words outside the label set, kept as they are


@dataclasses.dataclass(frozen=True)
class Splits:
    """Layouts of the splits of a set whose training images are published."""

    train: Layout
    validation: Layout
    test: Layout
    whole: Layout | None = None  # of a folder that nobody split


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A published test set."""

    key: str
    title: str
    task: str  # of mer_jax.score: open, basic, sentiment, multilabel or accuracy
    metric: str  # what papers report
    labels: tuple[str, ...]  # the label set, in the order of its indices; () if words are open
    count: int | None  # labelled examples as published
    folders: tuple[str, ...]  # possible names of its folder below the root
    layout: Layout
    get: str  # where to get it
    splits: Splits | None = None
    also: tuple[str, ...] = ()  # other spellings of the labels in published files

    def folder(self, root: str | os.PathLike) -> Path:
        """The benchmark's folder below `root`; FileNotFoundError names the expected folders."""
        for name in self.folders:
            if (Path(root) / name).is_dir():
                return Path(root) / name
        raise FileNotFoundError(
            f'{root}: {self.title} was expected in {" or ".join(self.folders)}; get it: {self.get}'
        )

    def read(self, root: str | os.PathLike) -> Found:
        """Reads the benchmark below `root`, which holds the folders of all benchmarks.

        Counts are not compared with the published ones. FileNotFoundError if the folder or its
        label file is missing, ValueError if that file cannot be read or names a file outside the
        folder.
        """
        return self.found(self.folder(root), self.layout)

    def found(self, folder: Path, layout: Layout) -> Found:
        """The clips and gold labels in the set's own folder, or those of one of its splits."""
        entries, repeated = {}, []
        for entry in map(_without_none, layout.entries(folder, self.labels)):
            if entry.name in entries:
                repeated.append(entry.name)
            else:
                entries[entry.name] = entry
        shown = [entry for entry in entries.values() if entry.video or entry.audio or entry.image]
        words = {word for entry in entries.values() for word in _words(entry) if self.labels}
        return Found(
            folder=str(folder),
            clips=[_clip(entry) for entry in shown],
            gold={name: entry.gold for name, entry in entries.items() if entry.gold},
            absent=sorted(entries.keys() - {entry.name for entry in shown}),
            repeated=repeated,
            unlisted=sorted(words - {*self.labels, *self.also}),
        )

    def clips(self, root: str | os.PathLike) -> list[Clip]:
        """The clips below `root` that have a media file, with their gold words."""
        return self.read(root).clips


def _without_none(entry: Entry) -> Entry:
    """An entry without its gold if that says that there is no label."""
    gold = entry.gold
    if gold.get('val') == NO_VALUE or says_none(str(gold.get('emo', 'given'))):
        return entry._replace(gold={})
    return entry


def _clip(entry: Entry) -> Clip:
    media = {'video': entry.video, 'audio': entry.audio, 'image': entry.image}
    texts = {'subtitle': entry.subtitle, 'question': entry.question}
    return Clip(id=entry.name, words=_words(entry), **texts, **media)


def _words(entry: Entry) -> tuple[str, ...]:
    """The gold words of an entry; for a number, the word for its sign."""
    if 'openset' in entry.gold:
        return tuple(entry.gold['openset'])
    if 'val' in entry.gold:
        value = entry.gold['val']
        return ('positive' if value > 0 else 'negative' if value < 0 else 'neutral',)
    return (entry.gold['emo'],) if entry.gold else ()


_AFFECTGPT = 'layout and download notes at https://github.com/zeroQiaoba/AffectGPT'
_MER = f'agreement form at https://huggingface.co/MERChallenge; {_AFFECTGPT}'
_MME = 'https://huggingface.co/datasets/Karl28/MME-Emotion (https://github.com/FunAudioLLM/MME-Emotion)'
_MER_SIX = ('worried', 'happy', 'neutral', 'angry', 'surprised', 'sad')
_POLARITY = ('positive', 'negative', 'neutral')
_STRENGTHS = (
    'very strong negative,strong negative,negative,weak negative,neutral,weak positive,positive,'
    'strong positive,very strong positive'
)
_BODY = (
    'excitement,engagement,fatigue,disquietment,anticipation,fear,affection,confidence,happiness,'
    'disconnection,annoyance,pain,sympathy,embarrassment,suffering,pleasure,sadness,sensitivity,'
    'peace,anger,esteem,doubt/confusion,disapproval,surprise,aversion,yearning'
)
_WEBEMO = (
    'affection,cheerfulness,confusion,contentment,disappointment,disgust,enthrallment,envy,'
    'exasperation,gratitude,horror,irritability,lust,neglect,nervousness,optimism,pride,rage,'
    'relief,sadness,shame,suffering,surprise,sympathy,zest'
)
_WEBEMO_SPELT = (('cheerfullness', 'cheerfulness'), ('irritabilty', 'irritability'))


def _basic(key, title, labels, count, folder, layout, get, also=()):
    names = (folder, key)
    return Benchmark(key, title, 'basic', 'hit rate', labels, count, names, layout, get, also=also)


def _sentiment(key, title, count, folder, get):
    layout = Corpus('label.npz', 'test_corpus', 'val')
    names = (folder, key)
    return Benchmark(key, title, 'sentiment', 'WAF', _POLARITY, count, names, layout, get)


def _open(key, title, metric, count, folders, layout, get):
    return Benchmark(key, title, 'open', metric, (), count, folders, layout, get)


def _mme(name, labels, several=False):
    return Benchmark(
        key='mme_' + name.lower().replace('-', '_'),
        title=f'MME-Emotion {name}',
        task='multilabel' if several else 'accuracy',
        metric='recognition score of a judge',
        labels=tuple(labels.split(',')) if labels else (),
        count=None,  # published for the eight together: 6,500
        folders=('MME-Emotion', 'MME-Emotion-Dataset', 'mme_emotion'),
        layout=Questions(name, several),
        get=_MME,
    )


def _accuracy(key, title, metric, labels, count, folders, layout, get, splits=None):
    labels = tuple(labels.split(','))
    return Benchmark(key, title, 'accuracy', metric, labels, count, folders, layout, get, splits)


def _folders_of_splits(spelt=()):
    """Splits in folders of their own; without any, all classes lie in `images` or at the top."""

    def folders(*inner, start=''):
        return FolderPerClass(inner, spelt, start, others=True)

    return Splits(
        train=folders('train', 'images/train', start='train/'),
        validation=folders(
            'val', 'validation', 'images/val', 'images/validation', start='validation/'
        ),
        test=folders('test', 'images/test'),
        whole=folders('images', '.'),
    )


_TABLE = (
    _basic(
        key='mer2023',
        title='MER2023',
        labels=_MER_SIX,
        count=411,
        folder='mer2023-dataset-process',
        layout=Corpus('label-6way.npz', 'test1_corpus', 'emo'),
        get=_MER,
        also=('surprise',),
    ),
    _basic(
        key='mer2024',
        title='MER2024',
        labels=_MER_SIX,
        count=1169,
        folder='mer2024-dataset-process',
        layout=Corpus(
            'label-6way.npz', 'test1_corpus', 'emo', transcript='transcription_merge.csv'
        ),
        get=_MER,
        also=('surprise',),
    ),
    _basic(
        key='meld',
        title='MELD',
        labels=('anger', 'joy', 'sadness', 'neutral', 'disgust', 'fear', 'surprise'),
        count=2610,
        folder='meld-process',
        layout=Corpus('label.npz', 'test_corpus', 'emo'),
        get=f'https://github.com/declare-lab/MELD; {_AFFECTGPT}',
    ),
    _basic(
        key='iemocap_four',
        title='IEMOCAP-four',
        labels=('happy', 'sad', 'neutral', 'anger'),
        count=1241,
        folder='iemocap-process',
        layout=Corpus('label_4way.npz', 'whole_corpus', 'emo', session='5'),
        get=f'release form at https://sail.usc.edu/iemocap/; {_AFFECTGPT}',
    ),
    _sentiment(
        key='cmu_mosi',
        title='CMU-MOSI',
        count=686,
        folder='cmumosi-process',
        get=f'http://multicomp.cs.cmu.edu/resources/cmu-mosi-dataset/; {_AFFECTGPT}',
    ),
    _sentiment(
        key='cmu_mosei',
        title='CMU-MOSEI',
        count=4659,
        folder='cmumosei-process',
        get=f'http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/; {_AFFECTGPT}',
    ),
    _sentiment(
        key='sims',
        title='CH-SIMS',
        count=457,
        folder='sims-process',
        get=f'https://github.com/thuiar/MMSA; {_AFFECTGPT}',
    ),
    _sentiment(
        key='sims_v2',
        title='CH-SIMS v2',
        count=1034,
        folder='simsv2-process',
        get=f'https://thuiar.github.io/sims.github.io/chsims; {_AFFECTGPT}',
    ),
    _open(
        key='ov_merd_plus',
        title='OV-MERD+',
        metric='F of the emotion wheels, level 1',
        count=532,
        folders=('ovmerdplus-process', 'ov_merd_plus'),
        layout=OpenWords('ovlabel.csv', 'subtitle_eng.csv'),
        get=_MER,
    ),
    _open(
        key='ov_merd',
        title='OV-MERD (the older part of OV-MERD+)',
        metric='M-avg of the emotion wheels',
        count=332,
        folders=('ovmerdplus-process', 'ov_merd_plus'),
        layout=OpenWords('ovlabel.csv', 'subtitle_eng.csv', start='sample_'),
        get=_MER,
    ),
    _open(
        key='mer2025_ov',
        title='MER2025-OV (labels are hidden; submit predictions)',
        metric='F of the emotion wheels, level 1',
        count=20_000,
        folders=('mer2025-dataset', 'mer2025_ov'),
        layout=OpenWords('track2_test.csv', 'subtitle_chieng.csv'),
        get=_MER,
    ),
    _mme('ER-Lab', 'anger,sadness,surprise,happiness,excited,fear,frustration,neutral,other'),
    _mme('ER-Wild', ''),
    _mme('Noise-ER', 'happy,neutral,angry,surprise,sad,worried'),
    _mme('FG-ER', _BODY, several=True),
    _mme('ML-ER', '', several=True),
    _mme('SA', 'positive,negative,neutral'),
    _mme('FG-SA', _STRENGTHS),
    _mme(
        'IR',
        'neutral,questioning,consoling,suggesting,encouraging,agreeing,wishing,acknowledging',
    ),
    _accuracy(
        key='emoset',
        title='EmoSet-118K',
        metric='accuracy of the boxed word',
        labels='amusement,awe,contentment,excitement,anger,disgust,fear,sadness',
        count=17_716,
        folders=('EmoSet-118K', 'EmoSet', 'emoset'),
        layout=ListedImages('test.json'),
        get='https://github.com/JingyuanYY/EmoSet',
        splits=Splits(*map(ListedImages, ('train.json', 'val.json', 'test.json'))),
    ),
    _accuracy(
        key='emotion6',
        title='Emotion6',
        metric='accuracy of the boxed word',
        labels='anger,disgust,fear,joy,sadness,surprise',
        count=1980,
        folders=('Emotion6', 'emotion6'),
        layout=FolderPerClass(('test', 'images/test', 'images', '.')),
        get='the authors (Peng et al., CVPR 2015); academic research only',
        splits=_folders_of_splits(),
    ),
    _accuracy(
        key='webemo',
        title='WebEmo',
        metric='accuracy of the boxed word',
        labels=_WEBEMO,
        count=None,
        folders=('WEBEmo', 'WebEmo', 'webemo'),
        layout=FolderPerClass(
            inner=('test', 'images/test', 'images', '.'),
            spelt=_WEBEMO_SPELT,
        ),
        get='the authors (Panda et al., ECCV 2018)',
        splits=_folders_of_splits(_WEBEMO_SPELT),
    ),
    _accuracy(
        key='dfew',
        title='DFEW, fold 1',
        metric='WAR, UAR',
        labels='happy,sad,neutral,angry,surprise,disgust,fear',
        count=2341,
        folders=('DFEW', 'DFEW-part2', 'dfew'),
        layout=FoldList(
            lists=(
                'EmoLabel_DataSplit/test(single-labeled)/set_1.csv',
                'test(single-labeled)/set_1.csv',
            ),
            films=('Clip/original', 'original', 'videos', 'video'),
        ),
        get='password by e-mail, https://dfew-dataset.github.io/download.html',
    ),
    _accuracy(
        key='mafw',
        title='MAFW, single labels, fold 1',
        metric='WAR, UAR',
        labels=(
            'anger,disgust,fear,happiness,neutral,sadness,surprise,contempt,anxiety,helplessness,'
            'disappointment'
        ),
        count=1839,
        folders=('MAFW', 'MAFW Dataset', 'mafw'),
        layout=FoldList(
            lists=(
                'Train & Test Set/single/no_caption/set_1/test.txt',
                'single/no_caption/set_1/test.txt',
            ),
            films=('data/clips', 'clips', 'videos', 'video'),
        ),
        get='form by e-mail, https://mafw-database.github.io/MAFW/',
    ),
    _accuracy(
        key='ravdess',
        title='RAVDESS, speech',
        metric='WAR, UAR',
        labels='neutral,calm,happy,sad,angry,fearful,disgust,surprised',
        count=1440,
        folders=('RAVDESS', 'ravdess', 'ravdess_data'),
        layout=CodedNames(),
        get='https://zenodo.org/record/1188976',
    ),
)

BENCHMARKS: dict[str, Benchmark] = {benchmark.key: benchmark for benchmark in _TABLE}
