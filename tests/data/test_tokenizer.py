"""The tokenizer of a checkpoint folder: which template it gets, and how damage is named."""

import json
import re
import shutil

import pytest

from mer_jax.data.tokenizer import read_tokenizer
from mer_jax.models.spec import read_token_ids


@pytest.fixture
def copied(omni_folder, tmp_path):
    """A copy of a small checkpoint folder, and the ids of its media tokens."""
    shutil.copytree(omni_folder, tmp_path / 'other')
    return tmp_path / 'other', read_token_ids(omni_folder)


def test_a_template_of_the_processor_comes_before_that_of_the_tokenizer(copied):
    folder, ids = copied
    (folder / 'chat_template.json').write_text('{"chat_template": "{{ messages }}"}')
    assert read_tokenizer(folder, ids).chat_template == '{{ messages }}'


@pytest.mark.parametrize(
    ('name', 'text', 'told'),
    [
        ('tokenizer_config.json', '[]', 'its tokenizer cannot be read (AttributeError'),
        ('tokenizer.json', '{', 'its tokenizer cannot be read'),
        ('chat_template.json', '{}', "its chat template cannot be used (KeyError: 'chat_template'"),
        ('chat_template.json', '{"chat_template": 5}', 'must be one text, and is of type int'),
        ('chat_template.json', '{"chat_template": {"default": ""}}', 'and is of type dict'),
        (
            'chat_template.json',
            '{"chat_template": "{% for"}',
            'cannot be used (TemplateSyntaxError',
        ),
        ('chat_template.jinja', '{{ messages[9].role }}', 'cannot be used (UndefinedError'),
    ],
)
def test_damage_to_a_tokenizer_or_its_template_is_named_on_one_line(copied, name, text, told):
    folder, ids = copied
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)) as raised:
        read_tokenizer(folder, ids)
    assert str(raised.value).startswith(f'{folder}: ') and '\n' not in str(raised.value)


@pytest.mark.parametrize('name', ['tokenizer_config.json', 'tokenizer.json'])
def test_a_tokenizer_that_loads_and_cannot_be_used_is_refused(copied, name):
    folder, ids = copied
    held = json.loads((folder / name).read_text())
    if name == 'tokenizer.json':
        vocabulary = held['model']['vocab']
        vocabulary[next(iter(vocabulary))] = len(vocabulary) + 40  # its id has no token
    else:
        held['model_max_length'] = []
    (folder / name).write_text(json.dumps(held))
    with pytest.raises(ValueError, match='its tokenizer cannot be read') as raised:
        read_tokenizer(folder, ids)
    assert str(raised.value).startswith(f'{folder}: ')


def test_a_tokenizer_that_is_a_pointer_of_git_lfs_is_named(copied):
    folder, ids = copied
    (folder / 'tokenizer.json').write_text('version https://git-lfs.github.com/spec/v1\noid a\n')
    with pytest.raises(ValueError, match='other/tokenizer.json is a git-lfs pointer'):
        read_tokenizer(folder, ids)


def test_what_transformers_finds_wrong_with_a_config_is_told_on_one_line(copied):
    folder, ids = copied
    config = json.loads((folder / 'config.json').read_text())
    config['text_config']['layer_types'] = ['full_attention']  # of two layers
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='cannot be read .*layer_types.*config.json') as raised:
        read_tokenizer(folder, ids)
    assert '\n' not in str(raised.value)
