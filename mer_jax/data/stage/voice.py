"""Voices of the embedded stage: syllables with a pitch, a loudness, a pace and a timbre."""

from typing import NamedTuple

import numpy as np

from mer_jax.data.stage.words import Feeling

RATE = 16_000  # samples a second
SECONDS = 2
STEP = 160  # samples between two values of pitch and loudness; between them they are linear
AMOUNT = (0.7, 0.85, 1.0)  # share of an expression that is heard: weak, medium, strong
HISS = 0.002  # of the microphone
CYCLE = 1024  # samples of a wave table


class Tone(NamedTuple):
    """The sound of a voice; the defaults are those of a neutral voice."""

    pitch: float = 0.0  # octaves above the speaker's own
    rise: float = 0.0  # octaves a second
    swing: float = 0.0  # octaves up and down with each syllable
    tremor: float = 0.0  # octaves, nine times a second
    loud: float = 0.25  # of full scale
    pace: float = 3.5  # syllables a second
    pause: float = 0.35  # share of a syllable that is silent
    edge: float = 1.2  # overtones fall with the power 2.4 − edge of their number
    breath: float = 0.05  # width of the hiss, against the loudness
    creak: float = 0.0  # depth of a flutter, 25 times a second


TONES = {  # pitch, rise, swing, tremor, loud, pace, pause, edge, breath, creak
    'joy': Tone(0.55, 0.0, 0.3, 0.0, 0.5, 5.0, 0.3, 1.5, 0.02, 0.0),
    'love': Tone(-0.1, 0.1, 0.1, 0.0, 0.16, 2.5, 0.1, -0.4, 0.02, 0.0),
    'pride': Tone(-0.35, -0.1, 0.05, 0.0, 0.6, 3.0, 0.45, 0.9, 0.01, 0.0),
    'surprise': Tone(0.3, 1.3, 0.2, 0.0, 0.45, 2.0, 0.2, 1.3, 0.05, 0.0),
    'sadness': Tone(-0.25, -0.6, 0.0, 0.0, 0.1, 1.5, 0.3, 0.4, 0.05, 0.0),
    'anger': Tone(0.2, -0.2, 0.1, 0.0, 0.95, 6.0, 0.35, 2.2, 0.12, 0.0),
    'fear': Tone(1.05, 0.1, 0.0, 0.16, 0.25, 7.0, 0.4, 0.8, 0.1, 0.0),
    'disgust': Tone(-0.8, -0.3, 0.1, 0.0, 0.35, 2.0, 0.25, 1.6, 0.05, 0.9),
    'shame': Tone(0.0, -0.2, 0.0, 0.0, 0.05, 2.2, 0.4, 0.2, 0.9, 0.0),
}
NEUTRAL = np.array(Tone())
OFFSET = {family: np.array(tone) - NEUTRAL for family, tone in TONES.items()}

_CLOCK = np.arange(0, SECONDS // 2 + STEP / RATE / 2, STEP / RATE)  # of half a recording
_RAMP = np.arange(STEP, dtype=np.float32) / STEP
_ORDER = np.arange(1, 17)
_CYCLE_HC = np.sin(_ORDER[:, None] * (np.arange(CYCLE) * (2 * np.pi / CYCLE)))


def recording(rng: np.random.Generator, shown: tuple[Feeling, ...]) -> np.ndarray:
    """Two seconds of one voice, f32[32000]; two feelings have one second each."""
    own_pitch = 150 * 2 ** (0.5 * rng.random() - 0.25)
    own_level = 0.85 + 0.3 * rng.random()
    begin = rng.random()
    halves = []
    for second, feeling in enumerate((shown[0], shown[-1])):
        tone = Tone(*(NEUTRAL + OFFSET[feeling.family] * AMOUNT[feeling.strength]).tolist())
        halves.append(_speech(rng, tone, own_pitch, begin + second * tone.pace))
    sound = np.concatenate(halves) * np.float32(own_level)
    sound += (rng.random(len(sound), np.float32) - 0.5) * np.float32(2 * HISS)
    return np.clip(sound, -1, 1, out=sound)


def _speech(rng: np.random.Generator, tone: Tone, own_pitch: float, begin: float) -> np.ndarray:
    """One second of syllables in one tone, beginning at syllable `begin`, f32[16000]."""
    syllable = begin + tone.pace * _CLOCK
    through = syllable - np.floor(syllable)
    octave = tone.pitch + tone.rise * (_CLOCK - 0.5) + tone.swing * np.sin(2 * np.pi * through)
    octave += tone.tremor * np.sin(2 * np.pi * 9 * _CLOCK)
    voiced = np.clip(through / (1 - tone.pause), 0, 1)
    level = tone.loud * np.sqrt(np.sin(np.pi * voiced).clip(0))
    level *= 1 - tone.creak * (0.5 + 0.5 * np.sin(2 * np.pi * 25 * _CLOCK))
    level_t = _interpolated(level)
    phase_t = np.cumsum(_interpolated(own_pitch * CYCLE / RATE * 2.0**octave), dtype=np.float64)
    weight_h = _ORDER ** (tone.edge - 2.4)
    wave_c = ((weight_h / weight_h.sum()) @ _CYCLE_HC).astype(np.float32)
    sound = np.take(wave_c, phase_t.astype(np.int32) & (CYCLE - 1))
    sound += (rng.random(len(sound), np.float32) - 0.5) * np.float32(tone.breath)
    sound *= level_t
    return sound


def _interpolated(points: np.ndarray) -> np.ndarray:
    """Points interpolated linearly, one value a sample."""
    points = points.astype(np.float32)
    return (points[:-1, None] + np.diff(points)[:, None] * _RAMP).ravel()
