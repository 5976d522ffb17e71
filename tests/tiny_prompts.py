"""Small clips in arrays, and the prompts that the byte tokenizer makes of them."""

import dataclasses

import numpy as np
from tiny_tokenizers import ID, tiny_tokenizer

from mer_jax.data.clips import Clip
from mer_jax.data.positions import Layout
from mer_jax.data.prompts import write_prompt

QUESTION = 'What does this person feel?'
TOKENIZER = tiny_tokenizer()
OMNI = Layout(
    family='omni',
    image=ID['<|IMAGE|>'],
    video=ID['<|VIDEO|>'],
    audio=ID['<|AUDIO|>'],
    vision_start=ID['<|vision_bos|>'],
    vision_end=ID['<|vision_eos|>'],
    audio_start=ID['<|audio_bos|>'],
    audio_end=ID['<|audio_eos|>'],
)
WITHOUT_SOUND = dataclasses.replace(OMNI, family='vl', audio=None, audio_start=None, audio_end=None)
DRAW = np.random.default_rng(0)
VIDEO = DRAW.integers(0, 256, (4, 56, 84, 3), np.uint8)
IMAGE = DRAW.integers(0, 256, (140, 196, 3), np.uint8)
SOUND = DRAW.normal(0, 0.1, 16_000).astype(np.float32)  # 100 log-mel frames, 25 tokens
SEEN = {'video': VIDEO, 'fps': 2.0}
MEDIA = (OMNI.video, OMNI.image, OMNI.audio)


def prompt_of(layout=OMNI, subtitle='', **options):
    """The prompt of a clip; options are fields of Clip and keywords of write_prompt."""
    names = {'video', 'audio', 'image', 'fps', 'words', 'reasoning', 'answer'} & set(options)
    clip = Clip('c7', subtitle=subtitle, **{name: options.pop(name) for name in names})
    return write_prompt(clip, TOKENIZER, layout, QUESTION, **options)
