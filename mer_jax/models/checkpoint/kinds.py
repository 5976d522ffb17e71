"""Kinds of folders on the hub that look like a checkpoint and cannot be loaded as one.

They are recognised by their small files, before a tensor is read: LoRA adapters and quantised
weights.
"""

import pathlib

from mer_jax.models.checkpoint.other_formats import other_weights
from mer_jax.models.checkpoint.safetensors import read_json
from mer_jax.storage.paths import naming

ADAPTER = 'adapter_config.json'
QUANTISED = ('quantization_config', 'compression_config')  # keys of a config.json
SECTIONS = ('thinker_config', 'text_config', 'vision_config', 'audio_config')
# Files of older tools, whose config.json says nothing, with the tool.
SIDE_FILES = {
    'quant_config.json': 'AutoAWQ',
    'quantize_config.json': 'AutoGPTQ',
    'hf_quant_config.json': 'ModelOpt',
}
TITLES = {'awq': 'AWQ', 'gptq': 'GPTQ', 'fp8': 'FP8', 'fbgemm_fp8': 'FP8'}


def refuse_other_kinds(folder: pathlib.Path) -> None:
    """Raises ValueError for a LoRA adapter, and for GGUF files without a config.json."""
    path = folder / ADAPTER
    with naming(folder):
        if not path.exists():
            if not (folder / 'config.json').exists() and any(folder.glob('*.gguf')):
                raise ValueError(f'{folder}: has {other_weights(folder)}')
            return
    base = read_json(path).get('base_model_name_or_path') or 'a model that it does not name'
    raise ValueError(
        f'{folder}: holds a LoRA adapter ({ADAPTER}) of {base!s:.120}, no model by itself: '
        'name that model as model.checkpoint and this folder as model.adapter (--adapter of '
        'mer_jax.predict), or merge it into that model with peft, PeftModel.from_pretrained('
        'model, adapter).merge_and_unload().save_pretrained(folder), copy tokenizer and templates '
        'of the model beside the merged weights, and name that folder; if these weights are merged '
        f'already, remove {ADAPTER}'
    )


def refuse_quantised(path: pathlib.Path, config: dict) -> None:
    """Raises ValueError if a config.json, or a file beside it, says that weights are quantised."""
    sections = [('', config)]
    for name, section in sections:
        sections += [
            (f'{name}{key}.', section[key])
            for key in SECTIONS
            if isinstance(section.get(key), dict)
        ]
        for key in QUANTISED:
            if section.get(key):
                said = (
                    f'{name}{key} says that its weights are quantised by {method_of(section[key])}'
                )
                raise ValueError(f'{path}: {said}, {_way_out(config)}')
    for file, tool in SIDE_FILES.items():
        with naming(path):
            exists = (path.parent / file).exists()
        if exists:
            raise ValueError(
                f'{path.parent / file}: says that the weights are quantised by {tool}, '
                f'{_way_out(config)}'
            )


def method_of(quantised) -> str:
    """The name of the method that a quantization_config describes."""
    if not isinstance(quantised, dict):
        return str(quantised)[:40]
    method = str(quantised.get('quant_method', quantised.get('quant_algo', '')))[:40].lower()
    if not method and any(key.startswith(('load_in_', 'bnb_')) for key in quantised):
        method = 'bitsandbytes'
    bits = quantised.get('bits', quantised.get('w_bit'))
    bits = 4 if quantised.get('load_in_4bit') else 8 if quantised.get('load_in_8bit') else bits
    named = TITLES.get(method, method or 'a method without a name')
    return f'{named} ({bits} bits)' if type(bits) is int else named


def _way_out(config: dict) -> str:
    """The rule that quantised weights break, and a way out that names the base model if known."""
    base = config.get('_name_or_path')
    named = f' (config.json names {base!r:.120})' if base and isinstance(base, str) else ''
    return (
        'and only floats of 16 to 64 bits can be read: take the checkpoint from which it was made'
        f'{named}, in bfloat16, or save model.dequantize() of `transformers`'
    )
