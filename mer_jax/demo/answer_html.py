"""Answers as HTML: words, reasoning with its cues, bars of the categories. All text is escaped."""

import base64
import html
import io
from collections.abc import Container

import numpy as np
from PIL import Image

from mer_jax.data.media.look import Look
from mer_jax.data.media.sound_line import RATE
from mer_jax.demo.answered import Answered
from mer_jax.demo.category_bars import CLOSED_SET, Bar
from mer_jax.demo.cues import kinds_in, mark, marked
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.prediction import Answer, disagreement

MOST_FRAMES = 8  # shown
MOST_BARS = 6  # of a wheel
TITLES = {'fast': 'Fast', 'slow': 'Slow'}
ABOUT = {'fast': 'answers at once', 'slow': 'reasons first'}
MEANING = {'emotion': 'word of the emotion wheels'}  # of kinds of cue
LEAST = 0.005  # confidence of a bar that no sample names
SHARE = 'share of the samples that name the category'
OPEN = (
    'confidence of the model: the probability that a word of the category begins where a word of '
    'the answer does'
)
CLOSED = 'confidence of the model: the probability of the label by the reasoning alone'
ONE = 'a share is 0 % or 100 %, and no estimate of a probability'
WAVE = 200  # columns of the picture of a sound


def message_page(text: str) -> str:
    """A message in place of answers."""
    return f'<div class="mer message" role="alert">{html.escape(text)}</div>'


def empty_page() -> str:
    """The place of the answers before the first one."""
    return (
        '<div class="mer"><div class="hint">The answers come here: the emotions that fast and slow '
        'thinking name, the reasoning with its cues marked, the share of the samples and the '
        'confidence for each category, and where fast and slow disagree. Take one of the examples '
        'to begin.</div></div>'
    )


def answer_page(answered: Answered, emotions: Container[str]) -> str:
    """The clip as it was read, where the modes agree, and the answer of each mode side by side."""
    columns = [_column(mode, answered, emotions) for mode in MODES]
    return (
        f'<div class="mer">{_clip(answered)}{_verdict(answered.answers)}'
        f'<div class="columns">{"".join(columns)}</div>{_legend(answered)}</div>'
    )


def _clip(answered: Answered) -> str:
    """Frames, sound and facts of the clip."""
    look = answered.look
    facts = [look.kind]
    if look.kind != 'picture':
        facts.append(f'{look.seconds:.2f} s')
    if look.kind == 'film':
        facts.append(f'{len(look.frames)} frames seen')
        silent = 'no sound' if look.samples is None else 'its sound is not heard by this model'
        facts.append('sound heard' if answered.hears else silent)
    facts += [f'read in {answered.reading:.2f} s', f'answered in {answered.answering:.2f} s']
    notes = list(look.notes)
    if answered.compiled:
        notes.append('the first clip of this size: its program was compiled before the answer')
    if answered.tokens > answered.trained:
        notes.append(
            f'its prompt has {answered.tokens} tokens, those of training had at most '
            f'{answered.trained}: the answer may be worse'
        )
    lines = ''.join(f'<li>{html.escape(note)}</li>' for note in notes)
    said = f'<div class="subtitle">“{html.escape(answered.subtitle)}”</div>'
    wave = _wave(look) if answered.hears else ''
    return (
        f'<div class="clip"><div class="film">{_frames(look)}{wave}</div>'
        f'<div><div class="name">{html.escape(look.file)}</div>'
        f'{said if answered.subtitle else ""}<div class="facts">{html.escape(" · ".join(facts))}'
        f'</div>{f"<ul>{lines}</ul>" if lines else ""}</div></div>'
    )


def _frames(look: Look) -> str:
    """The frames as pictures inside the page; of many, some at equal distances."""
    chosen = np.linspace(0, len(look.frames) - 1, min(len(look.frames), MOST_FRAMES)).round()
    found = []
    for number in chosen.astype(int):
        data = io.BytesIO()
        Image.fromarray(look.frames[number]).save(data, 'JPEG', quality=85)
        coded = base64.b64encode(data.getvalue()).decode()
        found.append(f'<img alt="frame {number + 1}" src="data:image/jpeg;base64,{coded}">')
    return ''.join(found)


def _wave(look: Look) -> str:
    """The sound as a curve of its loudest samples; '' without sound."""
    if look.samples is None or not len(look.samples):
        return ''
    parts = np.array_split(np.abs(look.samples), min(WAVE, len(look.samples)))
    loud = np.array([part.max() for part in parts])
    height_x = np.clip(loud / max(loud.max(), 0.01), 0, 1) * 19
    path = ''.join(f'M{x} {20 - height:.1f}V{20 + height:.1f}' for x, height in enumerate(height_x))
    seconds = len(look.samples) / RATE
    return (
        f'<svg class="wave" viewBox="0 0 {len(parts)} 40" preserveAspectRatio="none" role="img" '
        f'aria-label="sound of {seconds:.1f} s"><path d="{path}"/></svg>'
    )


def _verdict(answers: dict[str, Answer]) -> str:
    """Whether fast and slow name the same emotions, and which ones only one of them names."""
    only = disagreement(answers)
    both = [word for word in answers['fast'].emotions if word in answers['slow'].emotions]
    parts = [('Both', both)] + [(f'Only {mode}', only[mode]) for mode in MODES]
    said = [f'<b>{name}:</b> {html.escape(", ".join(words))}' for name, words in parts if words]
    if not any(only.values()):
        told = 'Fast and slow agree' if both else 'Neither names an emotion'
        return f'<div class="verdict agree"><b>{told}</b></div>'
    told = 'disagree in part' if both else 'disagree'
    return f'<div class="verdict"><b>Fast and slow {told}.</b> {" · ".join(said)}</div>'


def _column(mode: str, answered: Answered, emotions: Container[str]) -> str:
    """The answer of one mode."""
    answer, samples = answered.answers[mode], answered.samples
    words = ''.join(
        f'<span class="word">{html.escape(word)}'
        f'{f"<small>{votes} of {samples}</small>" if samples > 1 else ""}</span>'
        for word, votes in answer.emotions.items()
    )
    return (
        f'<section class="mode {mode}"><h3>{TITLES[mode]} <small>{ABOUT[mode]}</small></h3>'
        f'<div class="named">{words or "names no emotion"}</div>'
        f'{_reasoning(answer, emotions) if mode == "slow" else ""}'
        f'{_form(answer, samples)}{_wheels(answered.bars[mode])}{_texts(answer)}</section>'
    )


def _reasoning(answer: Answer, emotions: Container[str]) -> str:
    """The reasoning of the first sample, a step a line, its cues marked; and what marks mean."""
    steps = [line for line in answer.reasoning.splitlines() if line.strip()]
    if not steps:
        return '<div class="reasoning">gives no reasoning</div>'
    lines = [f'<li>{marked(line, emotions)}</li>' for line in steps]
    body = f'<ol>{"".join(lines)}</ol>' if len(lines) > 1 else marked(steps[0], emotions)
    kinds = kinds_in(answer.reasoning, emotions)
    keys = ' '.join(mark(kind, MEANING.get(kind, kind)) for kind in kinds)
    more = ' (of the first sample)' if len(answer.samples) > 1 else ''
    legend = f'<div class="key">Reasoning{more}. Cues named: {keys or "none"}</div>'
    scores = ' · '.join(f'{name} {value:.2f}' for name, value in answer.reflection.items())
    told = f'<div class="key">Reflection: {html.escape(scores)}</div>' if scores else ''
    return f'<div class="reasoning">{body}</div>{legend}{told}'


def _form(answer: Answer, samples: int) -> str:
    """A note on samples that lack the form of an answer; '' if none does."""
    if answer.formed >= samples:
        return ''
    return f'<div class="key">{samples - answer.formed} of {samples} answers lack their form</div>'


def _wheels(bars: dict[str, list[Bar]]) -> str:
    """The bars of each wheel, of which the first is open."""
    found = []
    for number, (wheel, some) in enumerate(bars.items()):
        shown = [bar for bar in some if bar.share or (bar.confidence or 0) >= LEAST]
        rows = ''.join(map(_row, shown[:MOST_BARS])) or '<div>no known category</div>'
        title = 'Labels' if wheel == CLOSED_SET else f'Categories: {wheel}'
        head = f'<summary>{html.escape(title)}</summary>'
        found.append(f'<details{"" if number else " open"}>{head}<div>{rows}</div></details>')
    return ''.join(found)


def _row(bar: Bar) -> str:
    """A category with its share of the samples and, if it is known, the confidence in it."""
    sure = f'{bar.confidence:.2f}' if bar.confidence is not None else '–'
    return (
        f'<div class="bar"><span>{html.escape(bar.category)}</span>'
        f'<span class="track"><i class="share" style="width:{bar.share:.1%}"></i>'
        f'<i class="sure" style="width:{bar.confidence or 0:.1%}"></i></span>'
        f'<span class="numbers">{bar.share:.0%}<em>{sure}</em></span></div>'
    )


def _texts(answer: Answer) -> str:
    """The whole texts of the samples, folded."""
    lines = ''.join(f'<li>{html.escape(text)}</li>' for text in answer.samples)
    return f'<details class="texts"><summary>Whole answers</summary><ol>{lines}</ol></details>'


def _legend(answered: Answered) -> str:
    """Explains the bars."""
    chances = CLOSED if any(CLOSED_SET in bars for bars in answered.bars.values()) else OPEN
    told = f'{answered.samples} samples of each mode ({answered.grown} grow together)'
    if answered.samples == 1:
        told = f'1 sample of each mode ({answered.grown} grow together): {ONE}'
    lines = ('<i class="share"></i> ' + SHARE, '<i class="sure"></i> ' + chances, told)
    return f'<div class="legend">{"".join(f"<span>{line}</span>" for line in lines)}</div>'
