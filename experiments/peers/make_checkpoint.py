"""A random Qwen2.5-VL checkpoint of 12 million text weights with tokenizer and processor files.

    python experiments/peers/make_checkpoint.py DIR
    python experiments/peers/make_checkpoint.py DIR --published --layers 18      # for a GPU

`--published` takes the decoder of Qwen2.5-VL-3B, cut to so many layers, before the same tower.
Needs torch and transformers. Processor files, which trl_step.py alone reads, need torchvision too.
Every word of its vocabulary is one token.
"""

import argparse
import sys

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.utils import is_torchvision_available

VOCABULARY = 8192
SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|vision_end|>']
SPECIAL = [*SPECIAL, '<|vision_pad|>', '<|image_pad|>', '<|video_pad|>']
TEMPLATE = (
    '{% for message in messages %}<|im_start|> {{ message.role }} '
    '{% if message.content is string %}{{ message.content }}'
    '{% else %}{% for item in message.content %}'
    "{% if item.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif item.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    '{% else %} {{ item.text }} {% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}'
    '{% if add_generation_prompt %}<|im_start|> assistant {% endif %}'
)


SMALL = dict(
    vocab_size=VOCABULARY,
    hidden_size=256,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=4,
    intermediate_size=1024,
)
PUBLISHED = dict(  # of Qwen2.5-VL-3B
    vocab_size=151_936,
    hidden_size=2048,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    intermediate_size=11_008,
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose every id is one word, so that a text of n words has n tokens."""
    roles = ['system', 'user', 'assistant']
    words = [f'w{i}' for i in range(VOCABULARY - len(SPECIAL) - len(roles))]
    vocabulary = {word: i for i, word in enumerate([*words, *roles])}
    plain = Tokenizer(WordLevel(vocabulary, unk_token='w0'))
    plain.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        unk_token='w0',
        eos_token='<|im_end|>',
        pad_token='<|endoftext|>',
    )
    # In the order of SPECIAL, above the words.
    tokenizer.add_special_tokens({'additional_special_tokens': SPECIAL})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_config(
    tokenizer: PreTrainedTokenizerFast, sizes: dict, mrope_section: list[int]
) -> Qwen2_5_VLConfig:
    """The sizes of the model, with the token ids of the tokenizer."""
    number = tokenizer.convert_tokens_to_ids
    rope = dict(rope_type='default', rope_theta=1e6, mrope_section=mrope_section)
    text = dict(
        **sizes,
        rms_norm_eps=1e-6,
        rope_parameters=rope,
        tie_word_embeddings=False,
        eos_token_id=number('<|im_end|>'),
        pad_token_id=number('<|endoftext|>'),
    )
    vision = dict(
        hidden_size=128,
        depth=4,
        num_heads=4,
        intermediate_size=512,
        out_hidden_size=sizes['hidden_size'],
        window_size=112,
        fullatt_block_indexes=[3],
        tokens_per_second=2,
    )
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=False,
        image_token_id=number('<|image_pad|>'),
        video_token_id=number('<|video_pad|>'),
        vision_start_token_id=number('<|vision_start|>'),
        vision_end_token_id=number('<|vision_end|>'),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder')
    parser.add_argument('--published', action='store_true', help='the decoder of the 3B')
    parser.add_argument('--layers', type=int, default=36, help='of it, with --published')
    asked = parser.parse_args()
    folder, tokenizer = asked.folder, make_tokenizer()
    torch.manual_seed(0)
    if asked.published:
        config = make_config(
            tokenizer, PUBLISHED | {'num_hidden_layers': asked.layers}, [16, 24, 24]
        )
        with torch.device('cuda' if torch.cuda.is_available() else 'cpu'):
            model = Qwen2_5_VLForConditionalGeneration(config).bfloat16()
    else:
        config = make_config(tokenizer, SMALL, [4, 6, 6])
        model = Qwen2_5_VLForConditionalGeneration(config).float()
    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    model.save_pretrained(folder)
    if not is_torchvision_available():
        tokenizer.save_pretrained(folder)
        print('no torchvision: written without processor files', file=sys.stderr)
        return
    images, films = Qwen2VLImageProcessor(), Qwen2VLVideoProcessor()
    Qwen2_5_VLProcessor(images, tokenizer, films, chat_template=TEMPLATE).save_pretrained(folder)


if __name__ == '__main__':
    main()
