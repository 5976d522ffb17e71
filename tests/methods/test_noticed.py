"""Calibration beside terms that are not scaled, and echoes of answers that begin with a token."""

import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.texts import Text
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods.mer_r1 import CalibrationRule, Rules, advantage
from mer_jax.methods.mer_r1_reading import FAST_OPENING, Reader
from mer_jax.methods.mer_r1_rewards import Calibration


def row(*values):
    return np.array([values], np.float32)


def test_without_scaling_the_sides_of_the_calibration_are_not_scaled_either():
    terms = {'recall': row(0, 0, 1, 1), 'precision': row(0, 1, 0, 1)}
    terms |= {'f': row(0, 0, 0, 4), 'form': row(1, 0, 0, 1)}
    sides = Calibration(recall=row(4, 0, 0, 0), precision=row(0, 8, 0, 0))
    rules = Rules(
        weights={'recall': 1, 'precision': 1, 'f': 1, 'form': 0},
        calibration=CalibrationRule(weight=0.5, space='advantage'),
        standardise=False,
    )
    # Less their means, the terms give -1, 0, 0, 1, the sides 3, -1, -1, -1 and -2, 6, -2, -2.
    np.testing.assert_allclose(advantage(terms, sides, rules), row(-0.5, 2.5, -1.5, -0.5))


def test_where_a_token_ends_with_the_tag_the_whole_opening_is_encoded_at_once():
    def encode(text):
        return [50] if text == FAST_OPENING else [ord(letter) for letter in text]

    text = Text((1, 2, 3, 4), (b'<think>', b'x</think><answer', b'>', b'sad</answer>'))
    reader = Reader(load_wheels(('ekman',)), encode, end=0, anchors=2, echo_tokens=5)
    reading, _ = reader.read([[text]], [Clip('c7', words=('sad',))])
    assert reading.echo[0, 0, 1:].tolist() == [50, 4, 0, 0]
    assert (reading.anchor[0, 0, 0], reading.echo_anchor[0, 0, 0]) == (4, 2)
