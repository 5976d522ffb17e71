"""Adapters of `peft` and of this package, read by each other, on tiny checkpoints."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_folder
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip('torch')
peft = pytest.importorskip('peft')

import tiny_hf  # noqa: E402, after torch is known to be there

from mer_jax.models.checkpoint.load import (  # noqa: E402
    is_stacked,
    load_omni,
    parts,
    stored_names,
    weights,
)
from mer_jax.models.checkpoint.peft import (  # noqa: E402
    WEIGHTS,
    read_adapter,
    read_lora,
    save_adapter,
)
from mer_jax.models.checkpoint.safetensors import released_name  # noqa: E402
from mer_jax.models.decoder import extend, prefill  # noqa: E402
from mer_jax.models.lora import (  # noqa: E402
    TARGETS,
    Lora,
    adapters_of,
    attach,
    merged,
    new_adapters,
)
from mer_jax.models.spec import read_spec  # noqa: E402

# `peft` asks a model for a property that `transformers` will rename.
pytestmark = pytest.mark.filterwarnings('ignore:`is_gradient_checkpointing` is deprecated')

CASES = {
    'vl_tied': Lora(rank=3, alpha=5.0, targets=('q_proj', 'o_proj', 'down_proj')),
    'omni': Lora(rank=4, alpha=8.0, towers=True),
}
LINEAR = (  # of the decoder and of both towers, as `peft` names them
    *(*TARGETS, 'q', 'k', 'v', 'attn.proj', 'mlp.0', 'mlp.2'),
    *('out_proj', 'fc1', 'fc2', 'audio_tower.proj'),
)
T = 5  # tokens of the prompt
IDS = np.random.default_rng(0).integers(2, 118, (2, 9))


@pytest.fixture(scope='module', params=CASES)
def case(request, tmp_path_factory):
    """A model of `transformers`, the policy read from its folder, and adapters to train."""
    folder = tmp_path_factory.mktemp('base')
    model = tiny_hf.make_hf(request.param)
    tiny_hf.save_hf(model, folder)
    policy = load_omni(folder, tiny.shapes(read_spec(folder)))
    return request.param, str(folder), policy, CASES[request.param]


def filled(adapters, seed: int = 1):
    """Adapters whose B is not zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.2, x.shape), 'float32'), adapters)


@jax.jit
def our_logits(policy):
    """Logits f[b, s, v] of the last tokens."""
    decoder, mask = policy.decoder, np.ones((len(IDS), T), bool)
    position = np.tile(np.arange(T), (len(IDS), 3, 1))
    keys = prefill(decoder, decoder.embed(IDS[:, :T], jnp.float32), position, mask)
    start = np.full(len(IDS), T)
    return decoder.logits(extend(decoder, IDS[:, None, T:], start, keys, mask))[:, 0]


@torch.no_grad()
def their_logits(model):
    return model(input_ids=torch.from_numpy(IDS)).logits[:, T:].numpy()


def assert_same_weights(model, policy):
    """Every weight of a merged model of `peft` is that of the merged policy."""
    theirs = model.merge_and_unload().state_dict()
    theirs = {released_name(name): weight.numpy() for name, weight in theirs.items()}
    for _, module, prefix in parts(jax.device_get(jax.jit(merged)(policy))):
        for path, weight in weights(module):
            ours = weight[...] if is_stacked(path) else weight[...][None]
            for name, row in zip(stored_names(path, weight, prefix), ours, strict=True):
                row = row.reshape(-1, *row.shape[weight.inputs :])
                row = np.moveaxis(row, 0, -1) if weight.inputs else row.reshape(-1)
                wanted = theirs[name].reshape(row.shape)
                np.testing.assert_allclose(row, wanted, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_our_adapter_gives_the_same_logits_and_weights_in_peft(case, tmp_path):
    name, base, policy, lora = case
    adapters = filled(new_adapters(jax.random.key(0), policy, lora))
    policy = attach(policy, adapters, lora)
    save_adapter(tmp_path / 'adapter', policy, lora, base)
    model = peft.PeftModel.from_pretrained(tiny_hf.make_hf(name), tmp_path / 'adapter')
    held = peft.get_peft_model_state_dict(model)
    assert held.keys() == load_file(tmp_path / 'adapter' / WEIGHTS).keys()
    ours = np.asarray(our_logits(policy))
    blank = attach(policy, jax.tree.map(jnp.zeros_like, adapters), lora)
    assert np.abs(ours - our_logits(blank)).max() > 0.1
    np.testing.assert_allclose(ours, their_logits(model), atol=1e-5)
    assert_same_weights(model, policy)


def test_an_adapter_of_peft_gives_the_same_logits_and_weights_here(case, tmp_path):
    name, _, policy, lora = case
    towers = r'.*patch_embed.*' if lora.towers else r'.*(visual|audio_tower).*'
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(LINEAR if lora.towers else lora.targets),
        exclude_modules=towers,
        lora_dropout=0.1,
    )
    model = peft.get_peft_model(tiny_hf.make_hf(name), config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if 'lora_' in key:
                weight.normal_(0, 0.2)
    model.save_pretrained(tmp_path)
    found = read_lora(tmp_path)
    assert (found.rank, found.alpha, found.towers) == (lora.rank, lora.alpha, lora.towers)
    assert sorted(found.targets) == sorted(lora.targets)
    like = adapters_of(attach(policy, new_adapters(jax.random.key(0), policy, lora), lora))
    policy = attach(policy, read_adapter(tmp_path, like), lora)
    np.testing.assert_allclose(our_logits(policy), their_logits(model), atol=1e-5)
    assert_same_weights(model, policy)


def test_new_adapters_are_drawn_as_in_peft(case):
    *_, policy, lora = case
    ours = {
        path: np.asarray(weight[...])
        for path, weight in new_adapters(jax.random.key(0), policy, lora).items()
    }
    a = ours['decoder.model.layers.self_attn.q_proj.lora_A.weight']
    bound = a.shape[1] ** -0.5
    assert 0.9 * bound < np.abs(a).max() <= bound and np.abs(a.mean()) < bound / 5
    assert not any(value.any() for path, value in ours.items() if 'lora_B' in path)


SMALL = Lora(rank=2, alpha=4.0)


@functools.cache
def shapes_of_adapters(lora=SMALL):
    omni = tiny.shapes(tiny_folder.SPEC)
    return omni, jax.eval_shape(lambda: new_adapters(jax.random.key(0), omni, lora)), lora


@pytest.fixture
def saved(tmp_path):
    """A small adapter in a folder, and its values."""
    omni, adapters, lora = shapes_of_adapters()
    policy = attach(tiny.policy(0, tiny_folder.SPEC), filled(adapters), lora)
    save_adapter(tmp_path / 'adapter', policy, lora, 'base')
    return tmp_path / 'adapter', adapters_of(policy)


def test_a_saved_adapter_is_read_back(saved):
    folder, adapters = saved
    assert read_lora(folder) == dataclasses.replace(SMALL, targets=read_lora(folder).targets)
    assert sorted(read_lora(folder).targets) == sorted(TARGETS)
    like = adapters_of(attach(*shapes_of_adapters()))
    jax.tree.map(np.testing.assert_array_equal, read_adapter(folder, like), adapters)
    with pytest.raises(ValueError, match='adapter_config.json exists already|exists already'):
        save_adapter(folder, attach(*shapes_of_adapters()), Lora(), 'base')


@pytest.mark.parametrize('layout', ['model.', 'thinker.model.'])
def test_names_of_other_layouts_are_read(saved, layout):
    folder, adapters = saved
    path = folder / WEIGHTS
    renamed = {
        name.replace('.model.language_model.', f'.{layout}').replace(
            'A.weight', 'A.default.weight'
        ): x
        for name, x in load_file(path).items()
    }
    save_file(renamed, path)
    found = read_adapter(folder, adapters_of(attach(*shapes_of_adapters())))
    jax.tree.map(np.testing.assert_array_equal, found, adapters)


def edited(folder, **values):
    path = folder / 'adapter_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_scale_by_the_root_of_the_rank_is_read_as_the_alpha_that_gives_it(saved):
    edited(saved[0], use_rslora=True)
    assert read_lora(saved[0]).scale == pytest.approx(4.0 / 2**0.5)


@pytest.mark.parametrize(
    ('values', 'told'),
    [
        ({'peft_type': 'LOHA'}, "peft_type='LOHA' must be LORA"),
        ({'use_dora': True}, 'use_dora=True is not supported'),
        ({'rank_pattern': {'q_proj': 4}}, 'rank_pattern=.* is not supported'),
        ({'bias': 'all'}, "bias='all' is not supported"),
        ({'modules_to_save': ['lm_head']}, 'modules_to_save=.* is not supported'),
        ({'r': 0}, 'r=0 must be at least 1'),
        ({'lora_alpha': float('nan')}, 'lora_alpha=nan above 0'),
    ],
)
def test_an_adapter_of_another_kind_is_named_with_its_key(saved, values, told):
    edited(saved[0], **values)
    with pytest.raises(ValueError, match=told):
        read_lora(saved[0])


def test_a_folder_without_an_adapter_or_with_a_pickle_is_named(saved, tmp_path):
    with pytest.raises(ValueError, match=r'holds no adapter_config.json; name a folder that peft'):
        read_lora(tmp_path)
    (saved[0] / 'adapter_model.safetensors').rename(saved[0] / 'adapter_model.bin')
    with pytest.raises(ValueError, match='adapter_model.bin, and a pickle can run any program'):
        read_lora(saved[0])


def test_an_adapter_of_another_model_or_of_some_layers_is_named(saved):
    folder, _ = saved
    omni, adapters, lora = shapes_of_adapters()
    for wider in (Lora(rank=3, alpha=4.0), Lora(rank=2, alpha=4.0, towers=True)):
        like = adapters_of(attach(omni, shapes_of_adapters(wider)[1], wider))
        with pytest.raises(ValueError, match='has shape|is missing'):
            read_adapter(folder, like)
    fewer = Lora(rank=2, alpha=4.0, targets=('q_proj',))
    with pytest.raises(ValueError, match='has no place in the model'):
        read_adapter(folder, adapters_of(attach(omni, shapes_of_adapters(fewer)[1], fewer)))
