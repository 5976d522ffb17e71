"""Tokenizers of the embedded stage: byte pairs, with Qwen2.5-Omni's special tokens and chat."""

import importlib.resources

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

VOCABULARY = 768  # tokens of each tokenizer, the special ones included
SPECIAL = (
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    '<|AUDIO|>',
    '<|audio_bos|>',
    '<|audio_eos|>',
    '<|vision_bos|>',
    '<|vision_eos|>',
    '<|vision_pad|>',
    '<|IMAGE|>',
    '<|VIDEO|>',
)
# How Qwen2 cuts text before byte pairs are merged.
PRE_TOKEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif item['type'] == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif item['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ raise_exception('a content item must be text, video, image or audio') }}"
    '{% endif %}{% endfor %}{% endif %}<|im_end|>\n'
    '{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)


def read_tokenizer(file: str) -> PreTrainedTokenizerFast:
    """The tokenizer in a file of this package."""
    text = importlib.resources.files(__package__).joinpath(file).read_text('utf-8')
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(text),
        eos_token='<|im_end|>',
        pad_token='<|endoftext|>',
        extra_special_tokens=list(SPECIAL),
        chat_template=CHAT_TEMPLATE,
    )


def train_tokenizer(corpus: list[str]) -> Tokenizer:
    """Trains a tokenizer on these texts: byte pairs, cut and spelt as in Qwen2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKEN), behavior='isolated'),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer
