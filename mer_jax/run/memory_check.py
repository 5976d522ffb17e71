"""The memory of a run on its devices, told and checked before its weights are made."""

import sys

import jax

from mer_jax.run.plan_compile import Planned, make_plan
from mer_jax.run.plan_memory import bytes_of
from mer_jax.run.plan_programs import lasting_arrays
from mer_jax.run.plan_report import gib, hints, table, too_large
from mer_jax.run.setting import Setting
from mer_jax.run.topology import CPU_RATES, Chip, Topology, memory_of_machine


def check_memory(setting: Setting) -> None:
    """Prints what a device has to hold; ValueError if it cannot.

    `memory_check` says how: 'arrays' adds up weights, moments and reference; 'programs' compiles
    every program for its largest batch, as `mer_jax.plan` does; 'auto' takes 'programs' on TPUs and
    GPUs, whose compilations are long and kept, and 'arrays' on CPUs; 'off' checks nothing.
    """
    how, device = setting.config.memory_check, setting.mesh.local_devices[0]
    if how == 'off':
        return
    if how == 'auto':
        how = 'arrays' if device.platform == 'cpu' else 'programs'
    limit = memory_of_device(device)
    arrays = {name: bytes_of(tree) for name, tree in lasting_arrays(setting).items()}
    held = ', '.join(f'{name} {gib(size)} GiB' for name, size in arrays.items())
    tell(f'memory of a device, {gib(limit)} GiB: {held}')
    if sum(arrays.values()) > limit:
        raise ValueError(refusal(f'{held}, together {gib(sum(arrays.values()))} GiB', limit))
    if how == 'programs':
        check_programs(setting, limit)


def check_programs(setting: Setting, limit: int) -> None:
    """Compiles all programs for their largest batches; ValueError for those that do not fit."""
    chip, devices = Chip(limit, *CPU_RATES), setting.mesh.devices.ravel().tolist()
    plan = make_plan(setting, Topology('here', devices, chip), 'largest')
    tell(memory_table(plan))
    if refused := too_large(plan, chip):
        peaks = ', '.join(f'{name} {gib(plan[name].memory.peak)} GiB' for name in refused)
        keys = '\n'.join(f'    {hint}' for hint in hints(setting, refused))
        raise ValueError(f'{refusal(peaks, limit)}. Keys that would help:\n{keys}')


def memory_table(plan: dict[str, Planned]) -> str:
    """The memory of each program in GiB a device."""
    rows = [('GiB a device', 'arguments', 'temporaries', 'beside', 'peak')]
    for name, one in plan.items():
        held = one.memory
        sizes = held.arguments, held.temporaries, held.beside, held.peak
        rows.append((name, *map(gib, sizes)))
    return table(rows)


def tell(text: str) -> None:
    """Prints a text on standard error, once for all processes."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def memory_of_device(device: jax.Device) -> int:
    """The bytes that programs may use on a device; CPU devices share the machine's memory."""
    stats = device.memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit']
    return memory_of_machine() // jax.local_device_count()


def refusal(held: str, limit: int) -> str:
    """The beginning of the message about a run that a device cannot hold."""
    return (
        f'a device holds {gib(limit)} GiB, and this run needs more: {held}; take more devices, a '
        'smaller model or other keys (python -m mer_jax.plan tells which), or '
        '--config.memory_check=off to try all the same'
    )
