"""Tokenizers that tests share: one of bytes, and small ones built like those of Qwen2.5."""

import json

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mer_jax.data.stage.stage import stage_tokenizer

CONTROL = (
    '<|endoftext|> <|im_start|> <|im_end|> <|AUDIO|> <|audio_bos|> <|audio_eos|> '
    '<|vision_bos|> <|vision_eos|> <|IMAGE|> <|VIDEO|>'
).split()
ID = {name: 257 + i for i, name in enumerate(CONTROL)}  # in `tiny_tokenizer`
TEMPLATE = (
    '{% for message in messages %}<|im_start|>{{ message.role }}\n'
    '{% if message.content is string %}{{ message.content }}{% else %}'
    '{% for item in message.content %}'
    "{% if item.type == 'text' %}{{ item.text }}"
    "{% elif item.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    '{% else %}<|vision_bos|><|{{ item.type | upper }}|><|vision_eos|>{% endif %}'
    '{% endfor %}{% endif %}<|im_end|>\n{% endfor %}'
    '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)
OMNI_CONTROL = (
    '<|endoftext|> <|im_start|> <|im_end|> <|AUDIO|> <|audio_bos|> <|audio_eos|> <|vision_bos|> '
    '<|vision_eos|> <|vision_pad|> <|IMAGE|> <|VIDEO|> <tool_call>'
).split()
VL_CONTROL = (
    '<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|box_start|> <|vision_start|> '
    '<|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>'
).split()
# As in Qwen2.5, a chat without a system message gets one.
OMNI_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    '<|im_end|>\n{% endif %}' + TEMPLATE
)
VL_TEMPLATE = OMNI_TEMPLATE.replace('_bos', '_start').replace('_eos', '_end')
VL_TEMPLATE = VL_TEMPLATE.replace('<|{{ item.type | upper }}|>', '<|{{ item.type }}_pad|>')


def tiny_tokenizer(template=TEMPLATE):
    """A token for each byte, one for two line ends, and those of CONTROL with the ids of ID."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*alphabet, 'ĊĊ'])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [('Ċ', 'Ċ')]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in CONTROL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False
    )


def qwen(names, template):
    """A Qwen2 tokenizer with the byte pairs of the stage and control tokens of these names."""
    pairs = json.loads(stage_tokenizer().backend_tokenizer.to_str())['model']
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=pairs['vocab'], merges=[tuple(pair) for pair in pairs['merges']]
    )
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = {
    'omni': qwen(OMNI_CONTROL, OMNI_TEMPLATE),
    'vl': qwen(VL_CONTROL, VL_TEMPLATE),
    'stage': stage_tokenizer(),
}
