"""The tokenizer of the stage's pictures, and the texts on which it is trained."""

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mer_jax.data.stage.generator import generator
from mer_jax.data.stage.picture import PICTURES, annotate, draw_scene
from mer_jax.data.stage.picture_words import LABELS, QUESTION, steps
from mer_jax.data.stage.tokenizer import read_tokenizer, train_tokenizer
from mer_jax.data.stage.words import FAMILIES

TOKENIZER_FILE = 'picture_tokenizer.json'
# How tags and the box are cut in '<step1>a face.</step1><step2>one.</step2>…</step3>\boxed{awe}'.
MARKS = ('<step', 'step', '.</', '</', '><', '>\\', '>', '\\', 'boxed', '{', '}', *'123')
REFLECTION = (  # the questions with which EMO-R3 looks again at an answer, and the replies
    'Which emotion best describes the text above?',
    f'Answer with one word out of: {", ".join(LABELS)}.',
    f'Answer with one word out of: {", ".join(LABELS)}, none.',
    'Can the following text describe the image? Answer yes or no.',
    'yes',
    'no',
    'none',
)
INSTRUCTION = (  # words with which prompts ask for the steps
    'Think step by step about the emotional meaning of the picture, then give the final answer.',
    'First say what triggers the emotion: the action, the face, the environment.',
    'Then say how a human would feel, and whether it is positive or negative.',
    'Put your answer in the box, after three steps with low or high arousal. Use only this format.',
)


def picture_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the pictures; its special tokens and chat are those of the films."""
    return read_tokenizer(TOKENIZER_FILE)


def build_picture_tokenizer() -> Tokenizer:
    """Trains the tokenizer on sentences about pictures."""
    return train_tokenizer(_corpus())


def _corpus() -> list[str]:
    """The sentences on which the tokenizer is trained."""
    lines = [*MARKS, QUESTION, *REFLECTION, *INSTRUCTION] * 200
    lines += [line for role in ('system', 'user', 'assistant') for line in [role + '\n'] * 200]
    lines += [line for label in LABELS for line in [label, f', {label}'] * 100]
    # The words of films are rare here: they fill the rest of the vocabulary and displace nothing.
    lines += [text for words in FAMILIES.values() for word in words for text in (word, f', {word}')]
    for domain in PICTURES:
        for index in range(500):
            rng = generator(0, 'train', index, domain)
            # Without the tags, so that '>' never merges with the next word.
            lines += steps(annotate(rng, draw_scene(rng), domain, '').reasoning)
    return lines
