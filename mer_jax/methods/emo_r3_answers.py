"""EMO-R3's answers for people and programs: the word, the steps, the scores of reflection."""

from mer_jax.methods.emo_r3_reading import IN_BOX, Parsed, Reading, has_form

SCORES = ('accuracy', 'form', 'coherence', 'consistency', 'tokens')


def describe(labels, reading: Reading, answers, mask_bgs, _) -> list:
    """Each answer as a dictionary, [b][g]: text, steps, word, scores.

    A fast answer, whose opening is forced, has no steps and so no scores of reflection; its form is
    that of the box. `confidence` holds the probabilities of the labels in the question of
    coherence, if its answers were scored.
    """
    length_bg, fast_bg = mask_bgs.sum(-1), ~mask_bgs[:, :, 1]
    return [
        [
            basic(answer, reading.right[i, j], length_bg[i, j])
            | (in_box(answer) if fast_bg[i, j] else reflected(labels, answer, reading, (i, j)))
            for j, answer in enumerate(row)
        ]
        for i, row in enumerate(answers)
    ]


def basic(answer: Parsed, right, tokens) -> dict:
    """The part of the dictionary that all answers have."""
    return {
        'text': answer.text,
        'think': '\n'.join(answer.steps),
        'words': [] if answer.word is None else [answer.word],
        'accuracy': float(right),
        'tokens': float(tokens),
        'confidence': {},
    }


def in_box(answer: Parsed) -> dict:
    """The form of a fast answer."""
    formed = has_form(answer.text, IN_BOX)
    return {'formed': formed, 'form': float(formed)}


def reflected(labels, answer: Parsed, reading: Reading, at: tuple[int, int]) -> dict:
    """The form and the scores of reflection of a slow answer, at its place of the reading."""
    found = {
        'formed': answer.formed,
        'form': float(answer.formed),
        'coherence': float(reading.coherence[at]),
        'consistency': float(reading.consistency[at]),
    }
    if reading.chance is not None and reading.story_length[at]:
        pairs = zip(labels, reading.chance[at].tolist(), strict=True)
        found['confidence'] = {'coherence': dict(sorted(pairs, key=lambda pair: -pair[1]))}
    return found
