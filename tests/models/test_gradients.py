"""Gradients of whole Thinkers against `transformers`, every weight by its name, towers included."""

import copy
import dataclasses
import functools

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import parity  # noqa: E402, after torch is known to be there
import tiny_folder  # noqa: E402
import tiny_hf  # noqa: E402

from mer_jax.models.checkpoint.load import UNREAD  # noqa: E402
from mer_jax.models.checkpoint.save import planned  # noqa: E402
from mer_jax.models.decoder import extend  # noqa: E402
from mer_jax.models.omni import perceive, read_prompts  # noqa: E402

pytestmark = pytest.mark.slow  # quick: gradients of layers in models/test_decoder.py
SHOWN = ('text', 'video and image', 'two images', 'video, then sound', 'sound in torn video')
RTOL = 1e-4  # of the largest gradient of a weight


@pytest.fixture(scope='module', params=['vl_tied', 'omni_odd_chunk'])
def pair(request, tmp_path_factory):
    pair = parity.make_pair(request.param, tmp_path_factory.mktemp('checkpoint'))
    return dataclasses.replace(pair, shown=[one for one in pair.shown if one.clip.id in SHOWN])


@pytest.fixture(scope='module')
def direction_bgsv(pair):
    """The direction in which the logits behind each branch token are weighed into one number."""
    shape = len(pair.shown), parity.BRANCHES, parity.LENGTH, parity.ROWS
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames='remat')
def our_gradient(policy, prompts, token_bgs, direction_bgsv, remat):
    """The gradient of the weighed logits, a tree like the policy."""

    def weighed(policy):
        policy = policy.replace(spec=dataclasses.replace(policy.spec, remat=remat))
        keys = read_prompts(policy.decoder, prompts, perceive(policy, prompts.media), remat)
        hidden = extend(policy.decoder, token_bgs, prompts.next_position, keys, prompts.mask, remat)
        return (policy.decoder.logits(hidden) * direction_bgsv).sum()

    return jax.grad(weighed)(policy)


def their_gradient(pair, token_bgs, direction_bgsv):
    """A model whose weights are the gradients of the reference."""
    pair.model.zero_grad()
    for shown, token_gs, direction_gsv in zip(pair.shown, token_bgs, direction_bgsv, strict=True):
        for branch, direction_sv in zip(token_gs, torch.from_numpy(direction_gsv), strict=True):
            given = parity.tensors(pair, parity.arguments(pair, shown, branch[1:]), shown.inside)
            logits_sv = pair.model(**given).logits[0, len(shown.prompt.token) :]
            (logits_sv * direction_sv).sum().backward()
    found = copy.deepcopy(pair.model).requires_grad_(False)
    for weight, own in zip(found.parameters(), pair.model.parameters(), strict=True):
        weight.copy_(torch.zeros_like(weight) if own.grad is None else own.grad)
    return found


def named_gradients(pair, direction_bgsv, remat):
    """Ours, under the names of the releases."""
    given = parity.as_batch(pair), parity.given_branches(pair), direction_bgsv
    tree = our_gradient(pair.policy, *given, remat)
    return {plan.name: plan.make() for plan in planned(tree, '', None)}


@pytest.fixture(scope='module')
def gradients(pair, direction_bgsv):
    return named_gradients(pair, direction_bgsv, False)


def assert_close(found, wanted):
    """Each weight's gradient within the bound, none of them zero."""
    for name in found:
        largest = np.abs(wanted[name]).max()
        assert found[name].shape == wanted[name].shape
        assert 0 < largest and np.abs(found[name] - wanted[name]).max() <= RTOL * largest, name


def test_gradients_of_all_weights_are_those_of_transformers(
    pair, direction_bgsv, gradients, tmp_path
):
    model = their_gradient(pair, parity.given_branches(pair), direction_bgsv)
    tiny_hf.save_hf(model, tmp_path / 'gradients')
    wanted = tiny_folder.tensors(tmp_path / 'gradients')
    assert gradients.keys() == wanted.keys() - {UNREAD}
    assert_close(gradients, wanted)


def test_recomputed_layers_give_the_same_gradients(pair, direction_bgsv, gradients):
    assert_close(named_gradients(pair, direction_bgsv, True), gradients)
