"""The order of devices of several slices on a mesh."""

import dataclasses

import jax
import pytest

from mer_jax.sharding import count_slices, make_mesh, over_slices


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device of a slice, as far as a mesh needs it."""

    slice_index: int
    id: int
    coords: tuple[int, int, int] = (0, 0, 0)
    platform: str = 'tpu'
    device_kind: str = 'TPU v5 lite'
    core_on_chip: int = 0
    process_index: int = 0


def chips(slices, columns=2, rows=2):
    """The chips of so many slices, those of the last slice first."""
    return [
        Chip(s, (s * rows + y) * columns + x, (x, y, 0))
        for s in reversed(range(slices))
        for y in range(rows)
        for x in range(columns)
    ]


@pytest.mark.parametrize('shape', [(2, 4, 1), (2, 2, 2), (4, 2, 1), (2, 1, 4)])
def test_data_alone_leads_from_slice_to_slice(shape):
    found = over_slices(shape, chips(2))
    assert found.shape == shape and len(set(found.flat)) == 8
    half = shape[0] // 2
    assert {chip.slice_index for chip in found[:half].flat} == {0}
    assert {chip.slice_index for chip in found[half:].flat} == {1}


@pytest.mark.parametrize('kind', ['TPU v5 lite', 'TPU v6 lite'])
@pytest.mark.parametrize('slices', [1, 2])
def test_an_axis_may_be_no_product_of_those_of_the_machine(monkeypatch, kind, slices):
    held = [
        dataclasses.replace(chip, device_kind=kind) for chip in chips(slices, columns=4, rows=4)
    ]
    monkeypatch.setattr(jax.sharding, 'Mesh', lambda placed, axes, axis_types: placed)
    found = make_mesh(2 * slices, 8, 1, held)
    assert found.shape == (2 * slices, 8, 1) and len(set(found.flat)) == 16 * slices
    for eight in found.reshape(-1, 8):  # neighbours, in one half of a slice
        assert len({chip.slice_index for chip in eight}) == 1
        spans = [len({chip.coords[axis] for chip in eight}) for axis in (0, 1)]
        assert sorted(spans) == [2, 4]


@pytest.mark.parametrize('shape', [(1, 8, 1), (1, 4, 2), (3, 4, 1)])
def test_a_mesh_whose_data_is_no_multiple_of_the_slices_is_refused(shape):
    slices = 2 if shape[0] == 1 else 4
    with pytest.raises(ValueError) as raised:
        over_slices(shape, chips(slices))
    for part in (f'mesh.data={shape[0]}', f'{slices} slices', f'mesh.data={slices} and mesh.fsdp'):
        assert part in str(raised.value)


def test_weights_may_be_spread_over_gpus_of_several_hosts():
    gpus = [dataclasses.replace(chip, platform='gpu', device_kind='H100') for chip in chips(2)]
    assert [gpu.id for gpu in over_slices((1, 8, 1), gpus).flat] == list(range(8))
    halves = over_slices((2, 4, 1), gpus)
    assert [{gpu.slice_index for gpu in half.flat} for half in halves] == [{0}, {1}]


def test_devices_of_one_host_are_one_slice():
    assert count_slices(jax.devices()) == 1 and count_slices(chips(3)) == 3
