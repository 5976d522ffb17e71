"""The memory of a run: told before its first step, and refused where a device cannot hold it."""

import jax
import pytest
from small_plan import shrunk

from mer_jax.run import memory_check
from mer_jax.run.defaults import mer_r1
from mer_jax.run.memory_check import check_memory, memory_of_device
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.topology import memory_of_machine


@pytest.fixture
def setting():
    return planned_setting(shrunk(mer_r1()), '', jax.devices()[:1])


def told_by(setting, capsys) -> str:
    check_memory(setting)
    return capsys.readouterr().err


def test_weights_moments_and_reference_are_told(setting, capsys):
    told = told_by(setting, capsys)
    assert 'memory of a device' in told and 'weights' in told
    assert 'moments' in told and 'reference' in told and 'temporaries' not in told


def test_arrays_that_a_device_cannot_hold_are_refused_with_sizes_and_a_way_out(
    setting, monkeypatch
):
    monkeypatch.setattr(memory_check, 'memory_of_device', lambda device: 1000)
    with pytest.raises(ValueError, match='a device holds <0.01 GiB, and this run needs more') as e:
        check_memory(setting)
    assert 'together' in str(e.value) and 'memory_check=off' in str(e.value)
    with setting.config.unlocked():
        setting.config.memory_check = 'off'
    check_memory(setting)


@pytest.mark.slow
def test_programs_are_compiled_told_and_refused_where_their_peak_is_too_large(
    setting, capsys, monkeypatch
):
    with setting.config.unlocked():
        setting.config.memory_check = 'programs'
    told = told_by(setting, capsys)
    assert 'update' in told and 'roll_out' in told and 'temporaries' in told
    arrays = sum(
        memory_check.bytes_of(tree) for tree in memory_check.lasting_arrays(setting).values()
    )
    monkeypatch.setattr(memory_check, 'memory_of_device', lambda device: arrays + 1000)
    with pytest.raises(ValueError, match='Keys that would help') as e:
        check_memory(setting)
    assert 'update' in str(e.value)


def test_cpu_devices_share_the_memory_of_the_machine():
    assert memory_of_device(jax.devices()[0]) == memory_of_machine() // jax.local_device_count()
