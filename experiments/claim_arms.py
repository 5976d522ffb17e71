"""Arms of the tables of claims.py, and the claims that compare them.

Written before the runs: a claim says which arm should be above which, by which score of which
answers. `published` holds the two figures that the paper printed, on other data and with other
models (benchmark means of F, official means for the calibration, recall; accuracy).
"""

import dataclasses

MER_R1, BASELINE = 'configs/mer_r1.py', 'configs/grpo_f1.py'
EMO_R3, ACCURACY = 'configs/emo_r3.py', 'configs/grpo_accuracy.py'
COLD_START = 'cold_start'  # the arm that all others of a seed continue


@dataclasses.dataclass(frozen=True)
class Arm:
    """A run from the cold start of its seed: a config and the keys that differ from it."""

    config: str
    changes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Claim:
    """`score` of `answers` in `arm` should be above that of `over_answers` in `over`.

    `domain` is that of the clips: '' for the domain of training.
    """

    name: str
    text: str
    arm: str
    over: str
    score: str
    answers: str = 'slow'
    over_answers: str = 'slow'
    published: str = ''
    domain: str = ''


def calibrated(*changes: str) -> Arm:
    """MER-R1 with other keys of the calibration."""
    return Arm(MER_R1, tuple(f'learn.calibration.{change}' for change in changes))


KEPT = ('every.keep=6',)  # policies along the training, for interference.py
MAIN = 3  # arms of a table that come first: the cold start, the baseline, the full method
ARMS = {  # in the order in which they are run
    'mer_r1': {
        COLD_START: Arm(MER_R1, ('steps=0',)),
        'baseline': Arm(BASELINE, KEPT),
        'full': Arm(MER_R1, KEPT),
        'rd_ad': Arm(MER_R1, ('learn.calibration.space=off', *KEPT)),
        'rd': Arm(MER_R1, ('learn.disentangle=reward', 'learn.calibration.space=off', *KEPT)),
        'word_level': calibrated('level=word'),
        'recall_side': calibrated('sides=recall'),
        'precision_side': calibrated('sides=precision'),
        'reward_space': calibrated('space=reward'),
        'mixed_space': calibrated('space=mixed'),
        'both_openings': Arm(BASELINE, ('rollout.fast=4',)),
        'dr_grpo': Arm(BASELINE, ('learn.standardise=False', 'learn.aggregate=constant')),
        'gspo': Arm(
            BASELINE,
            ('learn.ratio=sequence', 'learn.aggregate=sequence', 'learn.minibatches=2'),
        ),
        'dapo': Arm(
            BASELINE, ('learn.clip_high=0.28', 'learn.drop_silent=True', 'learn.minibatches=2')
        ),
    },
    'emo_r3': {
        COLD_START: Arm(EMO_R3, ('steps=0',)),
        'grpo': Arm(ACCURACY),
        'full': Arm(EMO_R3),
        'structured': Arm(EMO_R3, ('learn.weights.reflection=0.0',)),
        'sft': Arm(EMO_R3, ('steps=0', 'cold_start.steps=200')),
        'coherence': Arm(EMO_R3, ('learn.reflection.of=coherence',)),
        'consistency': Arm(EMO_R3, ('learn.reflection.of=consistency',)),
        'own_word': Arm(EMO_R3, ('learn.reflection.truth=own',)),
        'probability': Arm(EMO_R3, ('learn.reflection.reward=probability',)),
        'sampled': Arm(EMO_R3, ('learn.reflection.by=sample',)),
    },
}
OTHER_DOMAIN = {'emo_r3': 'data.stage=away'}  # on which the runs of a table are evaluated too


def above(
    name: str, text: str, arm: str, over: str, published: str = '', score: str = 'f'
) -> Claim:
    """A claim about slow answers of two arms."""
    return Claim(name, text, arm, over, score, published=published)


def within(name: str, text: str, arm: str, score: str, above: str, published: str = '') -> Claim:
    """A claim about the two kinds of answers of one arm: those of `above` score higher."""
    other = 'slow' if above == 'fast' else 'fast'
    return Claim(name, text, arm, arm, score, above, other, published)


def accurate(name: str, text: str, arm: str, over: str, published: str = '') -> Claim:
    """A claim about the accuracy of slow answers of two arms on pictures like those of training."""
    return above(name, text, arm, over, published, 'accuracy')


def elsewhere(name: str, text: str, arm: str, over: str, published: str = '') -> Claim:
    """The same on other pictures."""
    return dataclasses.replace(accurate(name, text, arm, over, published), domain='away')


CLAIMS = {
    'mer_r1': (
        within('a1', 'before RL fast recall is above slow', COLD_START, 'recall', 'fast'),
        within('a2', 'before RL slow precision is above fast', COLD_START, 'precision', 'slow'),
        above('b1', 'disentangled rewards beat the baseline', 'rd', 'baseline', '71.15 / 70.55'),
        above('b2', 'disentangled advantages beat rewards', 'rd_ad', 'rd', '71.60 / 71.15'),
        above('b3', 'calibration beats none', 'full', 'rd_ad', '73.15 / 71.60'),
        above('b', 'MER-R1 beats the baseline', 'full', 'baseline', '73.15 / 70.55'),
        above('c1', 'category beats word level', 'full', 'word_level', '83.50 / 81.81'),
        above('c2', 'both sides beat recall alone', 'full', 'recall_side', '83.50 / 82.87'),
        above('c3', 'both sides beat precision alone', 'full', 'precision_side'),
        above('c4', 'mixed beats reward space', 'mixed_space', 'reward_space', '83.11 / 81.91'),
        above('c5', 'advantage beats mixed space', 'full', 'mixed_space', '83.50 / 83.11'),
        above('c6', 'the recall side alone beats none', 'recall_side', 'rd_ad', '82.87 / 82.20'),
        above('c7', 'the precision side alone beats none', 'precision_side', 'rd_ad'),
        within('d1', 'after MER-R1 slow recall is above fast', 'full', 'recall', 'slow',
               '61.80 / 60.86'),
        within('d2', 'after the baseline fast recall is above slow', 'baseline', 'recall', 'fast',
               '58.49 / 58.11'),
        within('d3', 'after both openings fast recall is above slow', 'both_openings', 'recall',
               'fast', '61.05 / 60.51 (VideoAuto-R1)'),
        above('d4', 'slow recall: MER-R1 beats the baseline', 'full', 'baseline', '61.80 / 58.11',
              'recall'),
        within('f1', 'after MER-R1 slow F is above fast', 'full', 'f', 'slow'),
        within('f2', 'after the baseline fast F is above slow', 'baseline', 'f', 'fast'),
        within('f3', 'before RL fast F is above slow', COLD_START, 'f', 'fast'),
        above('g1', 'MER-R1 beats Dr. GRPO', 'full', 'dr_grpo'),
        above('g2', 'MER-R1 beats GSPO', 'full', 'gspo'),
        above('g3', 'MER-R1 beats clip and filter of DAPO', 'full', 'dapo'),
        above('g4', 'MER-R1 beats training on both openings', 'full', 'both_openings'),
    ),
    'emo_r3': (
        accurate('g1', 'structured thinking beats GRPO', 'structured', 'grpo'),
        accurate('g2', 'reflection beats structured thinking', 'full', 'structured'),
        accurate('g', 'EMO-R3 beats GRPO', 'full', 'grpo', '75.50 / 74.60'),
        accurate('g3', 'the gold word beats the own answer', 'full', 'own_word'),
        accurate('g4', 'choice beats probability', 'full', 'probability'),
        accurate('g5', 'scored beat sampled reflections', 'full', 'sampled'),
        accurate('g6', 'coherence alone beats none', 'coherence', 'structured'),
        accurate('g7', 'consistency alone beats none', 'consistency', 'structured'),
        elsewhere('g8', 'EMO-R3 beats GRPO out of domain', 'full', 'grpo', '60.44 / 60.10'),
        elsewhere('g9', 'reflection beats structured thinking out of domain', 'full', 'structured'),
        accurate('h1', 'SFT beats EMO-R3 in domain', 'sft', 'full', '77.15 / 75.50'),
        elsewhere('h2', 'EMO-R3 beats SFT out of domain', 'full', 'sft', '60.44 / 34.51'),
        elsewhere('h3', 'EMO-R3 gains out of domain', 'full', COLD_START, '60.44 / 50.00'),
        elsewhere('h4', 'SFT loses out of domain', COLD_START, 'sft', '50.00 / 34.51'),
        elsewhere('h5', 'GRPO beats SFT out of domain', 'grpo', 'sft', '60.10 / 34.51'),
        Claim('h6', 'the direct answers of SFT beat EMO-R3 in domain', 'sft', 'full', 'accuracy',
              'fast', 'slow', '77.15 / 75.50'),
        Claim('h7', 'EMO-R3 beats the direct answers of SFT out of domain', 'full', 'sft',
              'accuracy', 'slow', 'fast', '60.44 / 34.51', 'away'),
    ),
}  # fmt: skip
