r"""EMO-R3 (arXiv 2602.23802): structured emotional thinking and a reflective emotional reward.

An answer is three steps and a boxed word: <step1>…</step1><step2>…</step2><step3>…</step3>
\boxed{word}. One reward is summed from its accuracy, its form, and the reflection of the policy on
its own steps: coherence (read without the picture, do the first two steps lead to the word?) and
consistency (does the first step describe the picture?). Formulas, sources and our readings of them:
docs/METHOD.md.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp

from mer_jax.data.clips import Clip, label_of
from mer_jax.methods.emo_r3_answers import SCORES, describe
from mer_jax.methods.emo_r3_reading import BOX, Reader, Reading, story_of, view_of
from mer_jax.methods.emo_r3_reflection import (
    NO,
    YES,
    answer_tokens,
    hear_chances,
    hear_said,
    look_by_sampling,
    look_by_scoring,
    nothing_seen,
)
from mer_jax.methods.method import SECOND_LOOK, Method, Words
from mer_jax.rl.group_relative import spread, standardise

OPENINGS = {'slow': '', 'fast': BOX}
TERMS = ('accuracy', 'reflection', 'format')
FIGURES = (*SECOND_LOOK, 'questions_too_long')  # of a step, besides those of TERMS
CHOICES = {  # keys of a config: the values that they can have
    'learn.form': ('steps', 'box'),
    'learn.std': ('population', 'unbiased'),
    'learn.reflection.by': ('score', 'sample'),
    'learn.reflection.reward': ('choice', 'probability'),
    'learn.reflection.truth': ('gold', 'own'),
    'learn.reflection.total': ('mean', 'sum'),
    'learn.reflection.of': ('both', *SECOND_LOOK),
}
AT_LEAST = {
    'learn.reflection.none': 0,
    'rollout.reflection_tokens': 16,
    'rollout.reply_tokens': 1,
}
AT_MOST = {
    'learn.reflection.none': 1,
    'rollout.reflection_tokens': 1_048_576,
    'rollout.reply_tokens': 1_048_576,
    'rollout.reply_temperature': 100.0,
}
ABOVE_ZERO = ('rollout.reply_temperature',)
SHARES_OF_TOKENS = ('rollout.reply_top_p',)
WORDS = {'data.labels': 'anger,fear,joy'}  # lists of words that a config must have: an example


@dataclasses.dataclass(frozen=True)
class Reflection:
    """How the policy reflects on its steps, and what it earns with that."""

    by: str = 'score'
    reward: str = 'choice'  # of reflection by scoring
    truth: str = 'gold'
    total: str = 'mean'
    of: str = 'both'
    none: float = 0.5


@dataclasses.dataclass(frozen=True)
class Rules:
    """Every switch of the method; config.learn, .rollout and .data hold the same keys."""

    labels: tuple[str, ...]
    weights: dict[str, float] = dataclasses.field(
        default_factory=lambda: {'accuracy': 0.8, 'reflection': 0.1, 'format': 0.1}
    )
    reflection: Reflection = Reflection()
    form: str = 'steps'
    std: str = 'population'
    standardise: bool = True
    reflection_tokens: int = 2048
    reply_tokens: int = 16
    reply_temperature: float = 0.6
    reply_top_p: float = 0.95


def make(rules: Rules, words: Words) -> Method:
    """EMO-R3 with these rules, for one tokenizer and one set of labels."""
    steps, rule = rules.form == 'steps', rules.reflection
    labels = tuple(map(label_of, rules.labels))
    reader = Reader(labels, words.ask, rules.reflection_tokens, steps, rule.truth)

    def judge(policy, prompts, rollout, reading, own, sampling):
        terms = reward_terms(reading, rule) | own
        figures = {
            'coherence': reading.coherence.mean(),
            'consistency': reading.consistency.mean(),
            'questions_too_long': reading.too_long.mean(),
        }
        return advantage(terms, rules), figures | spread(terms)

    look, hear = reflection_of(rules, labels, words)
    return Method(
        title='EMO-R3' if rules.weights['reflection'] else 'GRPO with accuracy and format',
        openings=OPENINGS,
        plotted=('accuracy', 'coherence', 'consistency', 'format'),
        scored=SCORES,
        terms=TERMS,
        unusable=functools.partial(unusable, labels),
        gold=gold_text,
        watch=nothing_seen,
        read=reader.read,
        judge=judge,
        describe=functools.partial(describe, labels),
        right=lambda gold, word: label_of(gold[0]) == word.lower(),
        labels=labels,
        look=look,
        hear=hear,
        lessons=functools.partial(Lessons, labels=labels),
    )


def reflection_of(rules: Rules, labels: tuple[str, ...], words: Words):
    """The second look of the method and the host's reading of it (Method.look, Method.hear)."""
    rule = rules.reflection
    if rule.by == 'sample':
        look = functools.partial(
            look_by_sampling,
            tokens=rules.reply_tokens,
            temperature=rules.reply_temperature,
            top_p=rules.reply_top_p,
        )
        return look, functools.partial(hear_said, texts=words.texts, labels=labels, none=rule.none)
    look = functools.partial(
        look_by_scoring,
        labels=answer_tokens(labels, words.encode, words.texts.end),
        yes_no=answer_tokens((YES, NO), words.encode, words.texts.end),
    )
    return look, functools.partial(hear_chances, by_choice=rule.reward == 'choice', none=rule.none)


def unusable(labels: tuple[str, ...], clip: Clip) -> str | None:
    """Why answers to a clip cannot be judged: its gold word is no label, or it shows nothing."""
    if is_lesson(clip):
        return None
    if not clip.words or label_of(clip.words[0]) not in labels:
        return (
            f'its gold word ({", ".join(clip.words) or "none"}) is not among '
            f'data.labels={",".join(labels)}; correct it, or add it to the labels'
        )
    if clip.image is None and clip.video is None:
        return 'has no image and no video; EMO-R3 asks whether its steps describe a picture'
    return None


def gold_text(clip: Clip, mode: str) -> str | None:
    """The rest of a gold branch after its opening; a slow one needs gold steps.

    The word is written as answers are compared with it, without outer blanks and in small letters.
    A lesson (`Lessons`) is answered with its word alone.
    """
    if is_lesson(clip):
        return clip.answer[0] if mode == 'slow' else None
    if mode == 'fast':
        return f'{label_of(clip.words[0])}}}'
    if not clip.reasoning:
        return None
    return f'{clip.reasoning}{BOX}{label_of((clip.answer or clip.words)[0])}}}'


def is_lesson(clip: Clip) -> bool:
    """Whether a clip is a question of the reflection with its answer; it has no gold words."""
    return bool(clip.question and clip.answer and not clip.words)


def reward_terms(reading: Reading, rule: Reflection) -> dict:
    """The reward terms of answers by name, each f[b, g]; see TERMS."""
    earned = {'coherence': reading.coherence, 'consistency': reading.consistency}
    names = SECOND_LOOK if rule.of == 'both' else (rule.of,)
    looks = sum(jnp.asarray(earned[name]) for name in names)
    return {
        'accuracy': jnp.asarray(reading.right, jnp.float32),
        'reflection': looks / len(names) if rule.total == 'mean' else looks,
        'format': jnp.asarray(reading.formed, jnp.float32),
    }


def acting_terms(_: dict) -> tuple[str, ...]:
    """The method's own terms whose weights act: all of them."""
    return TERMS


def advantage(terms: dict, rules: Rules):
    """The advantage f[b, g]: one weighted sum of all terms, standardised in its group.

    The unbiased deviation is √(g / (g − 1)) times the population's.
    """
    reward = sum(rules.weights[name] * term for name, term in terms.items())
    relative = standardise(reward, rules.standardise)
    if rules.standardise and rules.std == 'unbiased':
        g = reward.shape[1]
        relative *= ((g - 1) / g) ** 0.5
    return relative


class Lessons(Sequence):
    """Clips to imitate: of four, two answers and one question of each reflection, from gold steps.

    The question about the picture is false in half of the lessons: it quotes the first step of
    another clip, which names another trigger. A clip without gold steps teaches its answer alone.
    """

    def __init__(self, clips: Sequence[Clip], labels: tuple[str, ...]):
        self.clips, self.labels = clips, labels

    def __len__(self) -> int:
        return 4 * len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        number, kind = divmod(int(index), 4)
        clip = self.clips[number]
        if kind == 2 and (question := story_of(clip.reasoning, self.labels)):
            said = label_of((clip.answer or clip.words)[0])
            alone = dataclasses.replace(clip, image=None, video=None, audio=None)
            return lesson(alone, question, said)
        if kind == 3 and view_of(clip.reasoning):
            other = clip if number % 2 else self.another(number)
            return lesson(clip, view_of(other.reasoning), YES if other is clip else NO)
        return clip

    def another(self, number: int) -> Clip:
        """A clip with another gold word and first step than clip `number`; itself if none."""
        clip = self.clips[number]
        own = view_of(clip.reasoning)
        for step in range(1, min(len(self.clips), 16)):
            other = self.clips[(number + 7 * step) % len(self.clips)]
            asked = view_of(other.reasoning)
            if asked and asked != own and other.words != clip.words:
                return other
        return clip


def lesson(clip: Clip, question: str, said: str) -> Clip:
    """A clip about which a question is asked that one word answers; its subtitle is not shown."""
    return dataclasses.replace(
        clip, subtitle='', question=question, words=(), reasoning='', answer=(said,)
    )
