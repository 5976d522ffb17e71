"""A VL checkpoint that says whole answers of EMO-R3 by chance, as a folder, for tests."""

import json
import pathlib

import tiny_hf
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mer_jax.data.stage.picture_tokenizer import picture_tokenizer
from mer_jax.run.emo_r3_defaults import EMOSET
from mer_jax.run.origin import STAGE_IDS

# Each is one token: a policy with random weights says some of them in every answer.
PHRASES = [
    f'<step1>{cue}</step1><step2>{feeling}</step2><step3>{side}</step3>\\boxed{{{word}}}'
    for word in EMOSET
    for cue in ('people', 'trees', 'light', 'nobody')  # as a reply, the last one holds a no
    for feeling in ('calm', 'tense')
    for side in ('high', 'low')
]


def phrase_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the stage's pictures, and a token for each phrase that no text is cut to."""
    known = picture_tokenizer()
    parts = json.loads(known.backend_tokenizer.to_str())
    vocabulary = parts['model']['vocab']
    for added in parts['added_tokens']:  # they follow the vocabulary
        added['id'] += len(PHRASES)
    vocabulary |= {phrase: len(vocabulary) + i for i, phrase in enumerate(PHRASES)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(parts)),
        eos_token='<|im_end|>',
        pad_token='<|endoftext|>',
        chat_template=known.chat_template,
    )


def media_ids(tokenizer) -> dict[str, int]:
    """The ids of the media tokens by their names in a config."""
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in STAGE_IDS.items()}


def write_checkpoint(folder: pathlib.Path, name: str = 'vl_tied') -> None:
    """A float32 checkpoint of that shape, with its tokenizer."""
    tokenizer = phrase_tokenizer()
    rows = -(-len(tokenizer) // 64) * 64
    model = tiny_hf.make_hf(name, seed=1, tokens=media_ids(tokenizer), vocab_size=rows)
    tiny_hf.save_hf(model, folder)
    tokenizer.save_pretrained(folder)
