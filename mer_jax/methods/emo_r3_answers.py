"""EMO-R3's answers for people and programs: the word, the steps, the scores of reflection."""

import numpy as np

from mer_jax.methods.emo_r3_reading import Parsed, Reading

SCORES = ('accuracy', 'form', 'coherence', 'consistency', 'tokens')


def describe(labels, reading: Reading, answers, mask_bgs, _) -> list:
    """Each answer as a dictionary, [b][g]: text, steps, word, scores.

    A fast answer has no steps and so no scores of reflection. `confidence` holds the probabilities
    of the labels in the question of coherence, if its answers were scored.
    """
    length_bg = np.asarray(mask_bgs).sum(-1)
    return [
        [one(labels, reading, answer, (i, j), int(length_bg[i, j])) for j, answer in enumerate(row)]
        for i, row in enumerate(answers)
    ]


def one(labels, reading: Reading, answer: Parsed, at: tuple[int, int], tokens: int) -> dict:
    """The answer at this place of the reading, as a dictionary."""
    found = {
        'text': answer.text,
        'think': '\n'.join(answer.steps),
        'words': [] if answer.word is None else [answer.word],
        'formed': answer.formed,
        'accuracy': float(reading.right[at]),
        'form': float(reading.formed[at]),
        'tokens': float(tokens),
        'confidence': {},
    }
    if answer.fast:
        return found
    found['coherence'] = float(reading.coherence[at])
    found['consistency'] = float(reading.consistency[at])
    if reading.chance is not None and reading.story_length[at]:
        pairs = zip(labels, reading.chance[at].tolist(), strict=True)
        found['confidence']['coherence'] = dict(sorted(pairs, key=lambda pair: -pair[1]))
    return found
