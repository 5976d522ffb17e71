"""Folders of the hub that look like a checkpoint: adapters and quantised weights."""

import json

import pytest

from mer_jax.models.checkpoint.kinds import method_of, refuse_other_kinds, refuse_quantised
from mer_jax.models.spec import read_spec, read_token_ids

ADAPTER = {'base_model_name_or_path': 'Qwen/Qwen2.5-VL-7B-Instruct', 'peft_type': 'LORA', 'r': 8}
AWQ = {'quant_method': 'awq', 'bits': 4, 'group_size': 128, 'version': 'gemm'}


@pytest.mark.parametrize('beside', [(), ('config.json', 'model.safetensors')])
def test_an_adapter_is_named_with_its_base_and_the_merge(tmp_path, beside):
    (tmp_path / 'adapter_config.json').write_text(json.dumps(ADAPTER))
    for name in beside:  # no tensor and no size is read
        (tmp_path / name).write_text('{"model_type": "qwen2_5_vl"}')
    told = r'holds a LoRA adapter .* of Qwen/Qwen2.5-VL-7B-Instruct, .*merge_and_unload\(\)'
    for read in (refuse_other_kinds, read_spec, read_token_ids):
        with pytest.raises(ValueError, match=told) as error:
            read(tmp_path)
        assert str(tmp_path) in str(error.value)


def test_an_adapter_without_a_base_and_a_folder_without_an_adapter(tmp_path):
    refuse_other_kinds(tmp_path)
    (tmp_path / 'adapter_config.json').write_text('{}')
    with pytest.raises(ValueError, match='of a model that it does not name'):
        refuse_other_kinds(tmp_path)


def test_a_folder_of_gguf_files_alone_is_named(tmp_path):
    (tmp_path / 'Qwen2.5-Omni-7B-Q8_0.gguf').write_bytes(b'GGUF')
    with pytest.raises(ValueError, match='has only Qwen2.5-Omni-7B-Q8_0.gguf, in the format of ll'):
        read_spec(tmp_path)
    (tmp_path / 'config.json').write_text('{}')  # `scan` names it if there are no safetensors
    refuse_other_kinds(tmp_path)


@pytest.mark.parametrize(
    ('config', 'told'),
    [
        ({'quantization_config': AWQ}, r'quantization_config says .* quantised by AWQ \(4 bits\)'),
        ({'text_config': {'quantization_config': AWQ}}, 'json: text_config.quantization_config'),
        (
            {'thinker_config': {'text_config': {'quantization_config': AWQ}}},
            'json: thinker_config.text_config.quantization_config says',
        ),
        ({'compression_config': {'quant_method': 'compressed-tensors'}}, 'by compressed-tensors'),
        ({'quantization_config': AWQ, '_name_or_path': 'Qwen/Q'}, "config.json names 'Qwen/Q'"),
    ],
)
def test_quantised_weights_are_named_before_a_tensor_is_read(tmp_path, config, told):
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'qwen2_5_vl'} | config))
    (tmp_path / 'model.safetensors').write_bytes(b'no tensors')
    with pytest.raises(ValueError, match=told) as error:
        read_spec(tmp_path)
    assert 'bfloat16' in str(error.value) and 'dequantize' in str(error.value)


@pytest.mark.parametrize(
    ('file', 'tool'),
    [
        ('quant_config.json', 'AutoAWQ'),
        ('quantize_config.json', 'AutoGPTQ'),
        ('hf_quant_config.json', 'ModelOpt'),
    ],
)
def test_a_file_of_an_older_tool_is_enough(tmp_path, file, tool):
    (tmp_path / file).write_text('{}')
    with pytest.raises(ValueError, match=f'{file}: says .* quantised by {tool}'):
        refuse_quantised(tmp_path / 'config.json', {})


@pytest.mark.parametrize(
    ('quantised', 'named'),
    [
        ({'quant_method': 'gptq', 'bits': 8}, 'GPTQ (8 bits)'),
        ({'quant_method': 'bitsandbytes', 'load_in_4bit': True}, 'bitsandbytes (4 bits)'),
        ({'load_in_8bit': True, 'load_in_4bit': False}, 'bitsandbytes (8 bits)'),
        ({'bnb_4bit_quant_type': 'nf4'}, 'bitsandbytes'),
        ({'quant_method': 'fp8', 'activation_scheme': 'dynamic'}, 'FP8'),
        ({'quant_algo': 'NVFP4'}, 'nvfp4'),
        ({'group_size': 128}, 'a method without a name'),
        ('awq', 'awq'),
    ],
)
def test_a_method_is_named_by_its_keys(quantised, named):
    assert method_of(quantised) == named


@pytest.mark.parametrize('empty', [None, {}])
def test_an_empty_section_is_no_quantisation(tmp_path, empty):
    refuse_quantised(tmp_path / 'config.json', {'quantization_config': empty})
