"""The tokenizer of a checkpoint folder, with a chat template that knows media."""

import copy
import json
import logging
import pathlib

from mer_jax.errors import one_line
from mer_jax.storage.objects import local_folder
from mer_jax.storage.stand_ins import BEGIN, refuse_stand_in

log = logging.getLogger(__name__)

QWEN_TEMPLATE = (  # for a folder without a template; [names] are replaced by its media tokens
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    '<|im_end|>\n{% endif %}'
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'video' %}[vision_start][video][vision_end]"
    "{% elif item['type'] == 'image' %}[vision_start][image][vision_end]"
    "{% elif item['type'] == 'audio' %}[audio_start][audio][audio_end]"
    '{% endif %}{% endfor %}{% endif %}<|im_end|>\n'
    '{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)
FILES = ('tokenizer.json', 'vocab.json', 'merges.txt', 'tokenizer_config.json')
SMALL_TALK = [{'role': 'user', 'content': [{'type': 'text', 'text': 'Hello'}]}]


def read_tokenizer(folder: pathlib.Path, media_ids: dict[str, int]):
    """The tokenizer of a folder with the chat template of its processor.

    `media_ids` are the ids of the media tokens, used where the folder has no template. ValueError
    if the tokenizer cannot be read or the template cannot be rendered.
    """
    with local_folder(folder) as held:
        return read_local(held, folder, media_ids)


def read_local(held: pathlib.Path, folder: pathlib.Path, media_ids: dict[str, int]):
    """`read_tokenizer` from files of `folder` that are held in a local folder."""
    for name in FILES:
        if (held / name).exists():
            with (held / name).open('rb') as file:
                refuse_stand_in(folder / name, file.read(BEGIN))
    from transformers import AutoTokenizer  # imports PyTorch where that is installed: 1.5 s

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            held, local_files_only=True, trust_remote_code=False
        )
        _use(tokenizer)
    except Exception as error:  # damaged files raise errors of many types
        raise ValueError(
            f'{folder}: its tokenizer cannot be read ({one_line(error)}); the folder must hold '
            'config.json and tokenizer.json, or vocab.json and merges.txt, of the checkpoint'
        ) from None
    try:
        tokenizer.chat_template = chat_template(held, tokenizer, media_ids)
        tokenizer.apply_chat_template(SMALL_TALK, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program and may raise any error
        raise ValueError(
            f'{folder}: its chat template cannot be used ({one_line(error)}); put back that of the '
            'checkpoint, or remove it for the layout of Qwen2.5'
        ) from None
    return tokenizer


def _use(tokenizer) -> None:
    """Does with a tokenizer what a run does; an error of any type if its files do not fit."""
    copy.deepcopy(tokenizer).encode('Hello', add_special_tokens=False, split_special_tokens=True)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    if None in tokens:
        raise ValueError(f'id {tokens.index(None)} of {len(tokens)} has no token')


def chat_template(folder: pathlib.Path, tokenizer, media_ids: dict[str, int]) -> str:
    """The template of the processor, which knows media, else of the tokenizer, else Qwen2.5's."""
    path, template = folder / 'chat_template.json', tokenizer.chat_template
    if path.exists():
        template = json.loads(path.read_bytes())['chat_template']
    if not template:
        log.warning('%s: has no chat template; the layout of Qwen2.5 is used', folder)
        template = QWEN_TEMPLATE
        for name, number in media_ids.items():
            template = template.replace(f'[{name}]', tokenizer.convert_ids_to_tokens(number))
    if not isinstance(template, str):
        raise TypeError(f'it must be one text, and is of type {type(template).__name__}')
    return template
