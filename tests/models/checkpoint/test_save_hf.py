"""Exports read by `transformers`: the same tensors, the same logits, nothing missing."""

import jax
import numpy as np
import pytest
import tiny_hf
from safetensors.numpy import load_file
from tiny_folder import assert_same, load, tensors
from tiny_hf import torch
from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from mer_jax.models.checkpoint.save import export, hf_config, save_omni
from mer_jax.models.decoder import extend, prefill
from mer_jax.models.spec import read_spec, read_token_ids

TOKENS = np.random.default_rng(0).integers(0, 100, (1, 12))
UNREAD = 'audio_tower.audio_bos_eos_token.weight'


QUICK = ('vl_wide_heads', 'omni')
SHAPES = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in tiny_hf.SHAPES
]


def thinker_class(spec):
    if spec.family == 'vl':
        return Qwen2_5_VLForConditionalGeneration
    return Qwen2_5OmniThinkerForConditionalGeneration


@torch.no_grad()
def reference_logits(model):
    """Logits f[v] of `transformers` behind the last token."""
    ids = torch.tensor(TOKENS)
    sorts = {'mm_token_type_ids': torch.zeros_like(ids)} if 'VL' in type(model).__name__ else {}
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), **sorts).logits[0, -1].numpy()


@jax.jit
def our_logits(decoder):
    """Our logits f[v] of the last token as a branch; the tokens before it are the prompt."""
    count = TOKENS.shape[1] - 1
    position = np.broadcast_to(np.arange(count), (1, 3, count))
    mask = np.ones((1, count), bool)
    x = decoder.embed(TOKENS[:, :-1], 'float32')
    keys = prefill(decoder, x, position, mask)
    last = extend(decoder, TOKENS[:, None, -1:], np.array([count]), keys, mask)
    return decoder.logits(last)[0, 0, 0]


def reloaded(model_class, folder):
    """The model that `transformers` reads from the folder, with no tensor missing or left over."""
    model, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A function that makes, once, the folder and the model of a shape."""
    made = {}

    def source(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            full = name.startswith('full_')
            make = tiny_hf.make_full_omni if full else tiny_hf.make_hf
            model = make(name.removeprefix('full_'))
            tiny_hf.save_hf(model, folder, max_shard_size='40KB' if 'odd' in name else '5GB')
            if full:
                torch.save({'Chelsie': {}}, folder / 'spk_dict.pt')
            made[name] = folder, model
        return made[name]

    return source


@pytest.fixture(scope='module')
def omni(source):
    """A Thinker with its spec and folder."""
    folder, _ = source('omni')
    return *load(folder), folder


@pytest.mark.parametrize('name', SHAPES)
def test_an_export_has_every_bit_of_its_source_and_the_same_logits(source, tmp_path, name):
    folder, model = source(name)
    loaded, spec = load(folder)
    wanted = reference_logits(model)
    found = our_logits(loaded.decoder)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    export(tmp_path / 'out', loaded, folder)
    assert_same(tensors(tmp_path / 'out'), tensors(folder))
    assert read_spec(tmp_path / 'out') == spec
    again = reference_logits(reloaded(thinker_class(spec), tmp_path / 'out'))
    np.testing.assert_array_equal(again, wanted)


@pytest.mark.parametrize('name', SHAPES)
def test_a_model_without_a_source_gets_a_new_config(source, tmp_path, name):
    folder, model = source(name)
    loaded, spec = load(folder)
    ids = read_token_ids(folder)
    save_omni(tmp_path / 'out', loaded, hf_config(spec, ids))
    assert_same(tensors(tmp_path / 'out'), tensors(folder), but=[UNREAD])
    assert (read_spec(tmp_path / 'out'), read_token_ids(tmp_path / 'out')) == (spec, ids)
    again = reloaded(thinker_class(spec), tmp_path / 'out')
    np.testing.assert_array_equal(reference_logits(again), reference_logits(model))


@pytest.mark.parametrize(
    'name', ['full_omni', pytest.param('full_omni_tied', marks=pytest.mark.slow)]
)
def test_a_full_omni_is_read_by_both_classes_of_transformers(source, tmp_path, name):
    folder, model = source(name)
    loaded, spec = load(folder)
    export(tmp_path / 'out', loaded, folder)
    assert_same(
        load_file(tmp_path / 'out/model.safetensors'), load_file(folder / 'model.safetensors')
    )
    wanted = reference_logits(model.thinker)
    full = Qwen2_5OmniForConditionalGeneration.from_pretrained(tmp_path / 'out').eval()
    np.testing.assert_array_equal(reference_logits(full.thinker), wanted)
    thinker = reloaded(Qwen2_5OmniThinkerForConditionalGeneration, tmp_path / 'out')
    np.testing.assert_array_equal(reference_logits(thinker), wanted)


def test_transformers_finds_all_tensors_in_files_of_limited_size(omni, source, tmp_path):
    loaded, spec, folder = omni
    ids = read_token_ids(folder)
    save_omni(tmp_path / 'out', loaded, hf_config(spec, ids), shard_bytes=160_000)
    files = sorted((tmp_path / 'out').glob('*.safetensors'))
    assert len(files) > 2
    sizes = [sum(array.nbytes for array in load_file(path).values()) for path in files]
    assert max(sizes) <= 160_000
    again = reloaded(Qwen2_5OmniThinkerForConditionalGeneration, tmp_path / 'out')
    np.testing.assert_array_equal(reference_logits(again), reference_logits(source('omni')[1]))
