"""The search for keys with which a run fits: microbatches of one prompt, and tensor parallelism."""

import sys

from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.plan_report import Planned, gib, make_plan, too_large
from mer_jax.run.setting import Setting
from mer_jax.run.topology import Topology


def search(
    setting: Setting, variant: str, topology: Topology, media: str, plan: dict[str, Planned]
) -> tuple[Setting, dict[str, Planned]]:
    """The setting and the plan of the first changes with which all fits, else those given.

    Each attempt compiles the programs that were too large, and all of them once these fit. It is
    told on standard error.
    """
    refused = too_large(plan, topology.chip)
    for change in changes(setting):
        told = ' '.join(f'--config.{key}={value}' for key, value in change.items())
        try:
            other = changed(setting, variant, topology, change)
        except ValueError as error:
            print(f'{told}: {error}', file=sys.stderr)
            continue
        tried = make_plan(other, topology, media, only=refused)
        if not too_large(tried, topology.chip):
            tried = make_plan(other, topology, media)
        peaks = [
            f'{name} {gib(tried[name].memory.peak)} GiB' for name in too_large(tried, topology.chip)
        ]
        print(f'{told}: {"too large: " + ", ".join(peaks) if peaks else "fits"}', file=sys.stderr)
        if not peaks:
            return other, tried
    return setting, plan


def changes(setting: Setting) -> list[dict[str, int]]:
    """Changes of a config by dotted keys, those that slow a run least first."""
    microbatch = {} if setting.config.learn.microbatch == 1 else {'learn.microbatch': 1}
    heads, tensor = setting.spec.text.num_key_value_heads, setting.mesh.shape['tensor']
    wider = [tensor * times for times in (2, 4, 8)]
    wider = [size for size in wider if heads % size == 0 and setting.mesh.size % size == 0]
    found = [microbatch] if microbatch else []
    for size in wider:
        found += [{'mesh.tensor': size}]
        found += [{'mesh.tensor': size} | microbatch] if microbatch else []
    return found


def changed(setting: Setting, variant: str, topology: Topology, change: dict[str, int]) -> Setting:
    """The setting of a changed config; ValueError if the changes do not fit it."""
    c = setting.config.copy_and_resolve_references()
    with c.unlocked():
        c.update_from_flattened_dict(change)
    return planned_setting(c, variant, topology.devices)
