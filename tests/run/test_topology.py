"""Topologies by name, and the messages where one cannot be had."""

import jax
import pytest
from jax.experimental import topologies

from mer_jax.run.topology import CHIPS, GIB, NoCompiler, memory_of_machine, open_topology, size_of


@pytest.mark.parametrize(
    ('name', 'chips'), [('v5e:4x4', 16), ('v6e:8x8', 64), ('v5p:2x2x4', 16), ('cpu:16', 16)]
)
def test_a_name_says_how_many_chips(name, chips):
    assert size_of(name) == chips


@pytest.mark.parametrize(
    'name', ['v5e', 'v5e:4', 'v5p:4x4', 'h100:8', 'cpu:0', 'cpu:4x4', 'v5e:0x4']
)
def test_another_name_is_refused_with_examples(name):
    with pytest.raises(ValueError, match=f'--topology={name}: .* e.g. v5e:4x4'):
        size_of(name)


def test_virtual_devices_share_the_memory_of_the_machine():
    topology = open_topology('cpu:8')
    assert topology.devices == jax.devices()
    assert topology.chip.hbm == memory_of_machine() // 8


def test_without_libtpu_the_message_says_how_to_install_it(monkeypatch):
    def absent(name, platform):
        raise RuntimeError('JAX TPU support not installed; cannot generate TPU topology.')

    monkeypatch.setattr(topologies, 'get_topology_desc', absent)
    with pytest.raises(NoCompiler, match='pip install -r requirements-plan.txt.*cpu:16'):
        open_topology('v5e:4x4')


def test_a_shape_that_libtpu_does_not_know_is_refused(monkeypatch):
    def unknown(name, platform):
        raise RuntimeError('no such slice')

    monkeypatch.setattr(topologies, 'get_topology_desc', unknown)
    with pytest.raises(ValueError, match='--topology=v5e:3x5: .*no such slice'):
        open_topology('v5e:3x5')


def test_chips_have_the_memory_that_their_compiler_grants():
    memory = {name: chip.hbm / GIB for name, chip in CHIPS.items()}
    assert memory == {'v5e': 15.75, 'v5p': 95, 'v6e': 31.25}
