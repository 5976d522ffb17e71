"""Arms of the tables of claims.py, and the claims that compare them.

Written before the runs: a claim says which arm should be above which, by which score of which
answers. `published` is what the paper printed, on other data and with other models.
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
    """`score` of `answers` in `arm` should be above that of `over_answers` in `over`."""

    name: str
    text: str
    arm: str
    over: str
    score: str
    answers: str = 'slow'
    over_answers: str = 'slow'
    published: str = ''


def calibrated(*changes: str) -> Arm:
    """MER-R1 with other keys of the calibration."""
    return Arm(MER_R1, tuple(f'learn.calibration.{change}' for change in changes))


ARMS = {
    'mer_r1': {
        COLD_START: Arm('configs/mer_r1.py', ('steps=0',)),
        'baseline': Arm(BASELINE),
        'rd': Arm(MER_R1, ('learn.disentangle=reward', 'learn.calibration.space=off')),
        'rd_ad': calibrated('space=off'),
        'full': Arm(MER_R1),
        'word_level': calibrated('level=word'),
        'recall_side': calibrated('sides=recall'),
        'precision_side': calibrated('sides=precision'),
        'reward_space': calibrated('space=reward'),
        'mixed_space': calibrated('space=mixed'),
        'dr_grpo': Arm(BASELINE, ('learn.standardise=False', 'learn.aggregate=constant')),
        'gspo': Arm(BASELINE, ('learn.ratio=sequence', 'learn.minibatches=2')),
        'dapo': Arm(BASELINE, ('learn.clip_high=0.28', 'learn.drop_silent=True')),
    },
    'emo_r3': {
        COLD_START: Arm(EMO_R3, ('steps=0',)),
        'grpo': Arm(ACCURACY),
        'structured': Arm(EMO_R3, ('learn.weights.reflection=0.0',)),
        'full': Arm(EMO_R3),
        'own_word': Arm(EMO_R3, ('learn.reflection.truth=own',)),
        'probability': Arm(EMO_R3, ('learn.reflection.reward=probability',)),
        'sampled': Arm(EMO_R3, ('learn.reflection.by=sample',)),
    },
}


def above(name: str, text: str, arm: str, over: str, published: str, score: str = 'f') -> Claim:
    """A claim about slow answers of two arms."""
    return Claim(name, text, arm, over, score, published=published)


CLAIMS = {
    'mer_r1': (
        Claim('a1', 'before RL fast answers have the higher recall', COLD_START, COLD_START,
              'recall', 'fast', 'slow', '58.49 / 58.11 (baseline)'),
        Claim('a2', 'before RL slow answers have the higher precision', COLD_START, COLD_START,
              'precision', 'slow', 'fast'),
        above('b1', 'disentangled rewards beat the baseline', 'rd', 'baseline', '71.15 / 70.55'),
        above('b2', 'disentangled advantages beat rewards', 'rd_ad', 'rd', '71.60 / 71.15'),
        above('b3', 'calibration beats none', 'full', 'rd_ad', '73.15 / 71.60'),
        above('b', 'MER-R1 beats the baseline', 'full', 'baseline', '73.15 / 70.55'),
        above('c1', 'category beats word level', 'full', 'word_level', '83.50 / 81.81'),
        above('c2', 'both sides beat recall alone', 'full', 'recall_side', '83.50 / 82.87'),
        above('c3', 'both sides beat precision alone', 'full', 'precision_side', ''),
        above('c4', 'mixed beats reward space', 'mixed_space', 'reward_space', '83.11 / 81.91'),
        above('c5', 'advantage beats mixed space', 'full', 'mixed_space', '83.50 / 83.11'),
        Claim('d1', 'after MER-R1 slow recall is above fast', 'full', 'full', 'recall', 'slow',
              'fast', '61.80 / 60.86'),
        Claim('d2', 'after the baseline fast recall is above slow', 'baseline', 'baseline',
              'recall', 'fast', 'slow', '58.49 / 58.11'),
        Claim('f1', 'after MER-R1 slow F is above fast', 'full', 'full', 'f', 'slow', 'fast'),
        Claim('f2', 'after the baseline slow F is above fast', 'baseline', 'baseline', 'f', 'slow',
              'fast'),
        above('g1', 'MER-R1 beats Dr. GRPO', 'full', 'dr_grpo', ''),
        above('g2', 'MER-R1 beats GSPO', 'full', 'gspo', ''),
        above('g3', 'MER-R1 beats clip and filter of DAPO', 'full', 'dapo', ''),
    ),
    'emo_r3': (
        above('g1', 'structured thinking beats GRPO', 'structured', 'grpo', '', 'accuracy'),
        above('g2', 'reflection beats structured thinking', 'full', 'structured', '', 'accuracy'),
        above('g', 'EMO-R3 beats GRPO', 'full', 'grpo', '75.50 / 74.60 in domain', 'accuracy'),
        above('g3', 'the gold word beats the own answer', 'full', 'own_word', '', 'accuracy'),
        above('g4', 'choice beats probability', 'full', 'probability', '', 'accuracy'),
        above('g5', 'scored beat sampled reflections', 'full', 'sampled', '', 'accuracy'),
    ),
}  # fmt: skip
